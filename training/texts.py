"""Sentences to train on, from what a machine with this project has.

Three sources: the documentation inside installed Python packages, sentences drawn from the trigram model that
PocketSphinx brings (everyday words, little sense), and frames filled with numbers and rare words, so that
every letter and shape of a word is met. All words are in PocketSphinx's dictionary; none of the test
sentences is among them.
"""

from __future__ import annotations

import functools
import random
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pocketsphinx
from tqdm import tqdm

from benchmarks.ears import sentences as test_sentences
from benchmarks.ears import words_of

SHARES = {"documentation": 0.4, "frames": 0.2}  # the rest are trigrams
CHARACTERS = (15, 110)  # of a sentence: 1 to 8 seconds
WORDS = (3, 18)

_DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_PLAIN = re.compile(r"[A-Z][A-Za-z',;: -]*[.!?]")
_CANDIDATES = 500  # words drawn for each word of a sentence, of which one is taken
_COMMONEST = 20_000
_FRAMES = (
    "The number is {number}.",
    "She counted {number} of them, and then {number} more.",
    "It costs {number} dollars and {number} cents.",
    "Call {digits} between {number} and {number}.",
    "Say {word}, not {word}.",
    "{word}, {word} and {word}.",
    "Is it {word} or {word}?",
    "The {word} of the {word} was {word}.",
    "They wrote {word} on the {word}.",
    "What does {word} mean?",
    "No {word} without {word}!",
    "First {word}, then {word}, and at last {word}.",
    "{word} met {word} in {word}.",
)
_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def make_texts(count: int, seed: int = 0) -> list[str]:
    """Returns that many different sentences in random order, the same for the same machine and seed.

    Sources that have fewer than their share give what they have; the trigram model makes up for it.
    """
    rng = random.Random(seed)  # noqa: S311
    forbidden = {" ".join(words_of(sentence)) for sentence in test_sentences()}
    found: dict[str, None] = {}

    def take(source: Iterator[str], until: int, name: str) -> None:
        with tqdm(total=until, initial=len(found), desc=name, disable=None) as bar:
            while len(found) < until and (sentence := next(source, None)) is not None:
                if sentence not in found and is_suitable(sentence, forbidden):
                    found[sentence] = None
                    bar.update()

    documentation = sorted(documentation_sentences(package_folders()))
    rng.shuffle(documentation)
    take(iter(documentation), round(count * SHARES["documentation"]), "documentation")
    take(frame_sentences(rng), len(found) + round(count * SHARES["frames"]), "frames")
    take(trigram_sentences(rng), count, "trigrams")
    texts = list(found)
    rng.shuffle(texts)
    return texts


def is_suitable(sentence: str, forbidden: set[str]) -> bool:
    """Says whether a sentence is plain, of a fitting length, in known words, and none of the forbidden."""
    words = words_of(sentence)
    return (
        CHARACTERS[0] <= len(sentence) <= CHARACTERS[1]
        and WORDS[0] <= len(words) <= WORDS[1]
        and _PLAIN.fullmatch(sentence) is not None
        and all(word in dictionary() for word in words)
        and " ".join(words) not in forbidden
    )


@functools.cache
def dictionary() -> frozenset[str]:
    """Returns the words that PocketSphinx can pronounce, some 130,000."""
    lines = (_model_folder() / "cmudict-en-us.dict").read_text().splitlines()
    return frozenset(line.split()[0] for line in lines)


def package_folders() -> list[Path]:
    """Returns where Python's own library and the installed packages lie."""
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]


def documentation_sentences(folders: Sequence[Path]) -> set[str]:
    """Returns the plain sentences in the docstrings of all Python files below some folders."""
    found: set[str] = set()
    for folder in folders:
        for file in tqdm(sorted(folder.rglob("*.py")), desc="docstrings", disable=None, leave=False):
            try:
                source = file.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            for docstring in _DOCSTRING.findall(source):
                text = " ".join(docstring.split())
                found.update(filter(_PLAIN.fullmatch, _SENTENCE_END.split(text)))
    return found


def frame_sentences(rng: random.Random) -> Iterator[str]:
    """Gives sentences of numbers and of words from the whole dictionary, without end."""
    words = sorted(word for word in dictionary() if re.fullmatch(r"[a-z]{3,12}", word))
    while True:
        frame = rng.choice(_FRAMES)
        frame = _fill(frame, "{number}", lambda: spell_number(int(10 ** rng.uniform(0, 4))))
        frame = _fill(frame, "{digits}", lambda: " ".join(rng.choices(_ONES[:10], k=4)))
        frame = _fill(frame, "{word}", lambda: rng.choice(words))
        yield frame[0].upper() + frame[1:]


def _fill(frame: str, field: str, make: Callable[[], str]) -> str:
    while field in frame:
        frame = frame.replace(field, make(), 1)
    return frame


def spell_number(number: int) -> str:
    """Writes a whole number from 0 to 999,999 in words."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f" {_ONES[ones]}" if ones else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    many, rest = divmod(number, size)
    return f"{spell_number(many)} {name}" + (f" {spell_number(rest)}" if rest else "")


def trigram_sentences(rng: random.Random) -> Iterator[str]:
    """Gives sentences drawn from PocketSphinx's model of English, without end.

    Each word is one of some that are drawn by how common they are, chosen by how well it follows.
    """
    config = pocketsphinx.Config()
    mathematics = pocketsphinx.LogMath()
    model = pocketsphinx.NGramModel(config, mathematics, str(_model_folder() / "en-us.lm.bin"))
    words, shares = _common_words(model, mathematics)
    numbers = np.random.default_rng(rng.getrandbits(64))
    end = "</s>"
    while True:
        history = ["<s>"]
        while len(history) <= WORDS[1]:
            at = numbers.choice(len(words), _CANDIDATES, p=shares)
            candidates = [*(words[each] for each in at), end]
            # How much likelier a word is here than anywhere. The end is a candidate once, as likely as it is.
            scores = np.array([_log_probability(model, mathematics, history, word) for word in candidates])
            scores[:-1] -= np.log(shares[at]) + np.log(_CANDIDATES)
            chances = np.exp(scores - scores.max())
            word = candidates[numbers.choice(len(candidates), p=chances / chances.sum())]
            if word == end:
                break
            history.append(word)
        sentence = " ".join(history[1:])
        if sentence:
            yield (
                sentence[0].upper() + re.sub(r"\bi\b", "I", sentence[1:]) + rng.choices(".?!", (8, 1, 1))[0]
            )


def _common_words(
    model: pocketsphinx.NGramModel, mathematics: pocketsphinx.LogMath
) -> tuple[list[str], np.ndarray]:
    """Returns the model's commonest words and their shares, which sum to 1."""
    shares = {
        word: np.exp(_log_probability(model, mathematics, [], word))  # 0 for words that the model lacks
        for word in dictionary()
        if re.fullmatch(r"[a-z']+", word)
    }
    words = sorted(shares, key=lambda word: (-shares[word], word))[:_COMMONEST]
    values = np.array([shares[word] for word in words])
    return words, values / values.sum()


def _log_probability(
    model: pocketsphinx.NGramModel, mathematics: pocketsphinx.LogMath, history: list[str], word: str
) -> float:
    """Returns the natural logarithm of a word's probability after the last two words."""
    # PocketSphinx takes the word first, then what was before it, the nearest first.
    return float(mathematics.log_to_ln(model.prob([word, *reversed(history[-2:])])))


def _model_folder() -> Path:
    return Path(pocketsphinx.get_model_path()) / "en-us"
