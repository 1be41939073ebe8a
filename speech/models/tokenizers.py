"""Text front ends: a chunk of text to the ids that T3 reads."""

from __future__ import annotations

import functools
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import regex
import torch
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from characters import has_speakable, normalize_unicode, printable_excerpt
from errors import InvalidRequest, ModelUnavailable, UnsupportedLanguage
from speech.models.spec import ModelSpec, TextRules
from speech.text import normalize_multilingual_text, normalize_text, normalize_turbo_text
from speech.text.spans import Span, spans_before
from speech.weights.checkpoint import Checkpoint

log = logging.getLogger(__name__)

UNKNOWN, SPACE = "[UNK]", "[SPACE]"
REQUIRED = ("[START]", "[STOP]")
DAMAGED = "download the weights again"
OF_ONE_REVISION = "use the files of one published revision"
# T3 has 2048 positions for text, and with so many its prompt leaves room for half a minute of speech. A
# chunk of Chinese takes some 600, other languages less than 300.
MAX_TEXT_TOKENS = 800

# A token that a text may hold by chance, and that the step of Chinese writes later.
_CANGJIE_KEY = re.compile(r"\[(cj_.)\]", re.IGNORECASE)
_NUMBER_SIGN = regex.compile(r"(?<=\p{Nd})(?=\p{No})")  # "1½" and "10²", whose digits NFKD would join
_CLUSTER = regex.compile(r"\P{M}\p{M}*|\p{M}+")  # a character and its marks
_SILENT = re.compile("[\u200c\u200d\ufe00-\ufe0f]")  # joiners, and what chooses a drawing
# Marks that say the same to a reader as plain ones.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("«»„‟〝〞〟「」『』״", '"'),
        **dict.fromkeys("‹›‚‛′׳", "'"),
        **dict.fromkeys("،、", ","),
        **dict.fromkeys("؛।॥。۔·", "."),
        **dict.fromkeys("‐‑‒―−־〜", "-"),
        "؟": "?",
        "⁄": "/",  # in a fraction
        "¡": "",  # the mark at the end says it
        "¿": "",
    }
)


class TextTokenizer(Protocol):
    """A model's text front end. For use by several threads."""

    @property
    def size(self) -> int:
        """Number of ids: every id that it writes is lower."""
        ...

    @property
    def unavailable(self) -> Mapping[str, str]:
        """The model's languages that cannot be spoken here: a sentence for each about what is missing."""
        ...

    def encode(self, text: str, language: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n], without marks of its start and end.

        language: one of the model's. Raises UnsupportedLanguage for one that is unavailable, and
        InvalidRequest for a text that the model cannot say.
        """
        ...

    def spans(self, text: str, language: str) -> tuple[Span, ...]:
        """Returns the characters of a chunk that each of the ids stands for, see ``spans_before``.

        Raises what ``encode`` raises for the text.
        """
        ...

    def unknown(self, text: str, language: str) -> str:
        """Returns the characters of a text, each once, that the model does not know."""
        ...


def load_tokenizer(
    spec: ModelSpec, checkpoint: Checkpoint, *, may_have_fewer_ids: bool = False
) -> TextTokenizer:
    """Loads the text front end that a model names. Raises ModelUnavailable.

    may_have_fewer_ids: whether it is known that T3 has ids that the tokenizer lacks. Otherwise the log warns
    of them, where the operator names the weights: the tokenizer may be another one than T3 was trained with.
    """
    tokenizer = _load_tokenizer(spec, checkpoint)
    if tokenizer.size < spec.text_vocabulary:
        is_suspicious = checkpoint.may_be_unpublished and not may_have_fewer_ids
        log.log(
            logging.WARNING if is_suspicious else logging.INFO,
            "the tokenizer of %s, %s, has %d tokens, and T3 %d text ids%s",
            spec.name,
            spec.files.tokenizer[0],
            tokenizer.size,
            spec.text_vocabulary,
            ": is it the one that T3 was trained with?" if is_suspicious else "",
        )
    return tokenizer


def _load_tokenizer(spec: ModelSpec, checkpoint: Checkpoint) -> TextTokenizer:
    files = [checkpoint.file(name) for name in spec.files.tokenizer]
    size = spec.text_vocabulary
    if spec.tokenizer == "turbo":
        return TurboTokenizer(*files, size=size)
    if spec.tokenizer == "english":
        return EnglishTokenizer(*files, size=size)
    from speech.text.readings import load_language_steps

    assert spec.text is not None
    table = None if spec.files.cangjie_table is None else checkpoint.file(spec.files.cangjie_table)
    languages = [code for code in spec.languages if code not in spec.text.without_step]
    of_languages = load_language_steps(languages, table if table and table.is_file() else None)
    for language, reason in of_languages.unavailable.items():
        log.warning("%s cannot speak %s: %s", spec.name, language, reason)
    if of_languages.unavailable.keys() >= set(spec.languages):
        raise ModelUnavailable(" ".join(of_languages.unavailable.values()))
    return MultilingualTokenizer(
        *files,
        size=size,
        rules=spec.text,
        languages=spec.languages,
        steps=of_languages.steps,
        unavailable=of_languages.unavailable,
    )


class EnglishTokenizer:
    """``punc_norm`` and ``EnTokenizer`` of chatterbox-tts 0.1.7, without what else their modules import."""

    unavailable: Mapping[str, str] = MappingProxyType({})

    def __init__(self, file: Path, *, size: int) -> None:
        """Reads the file. size: ids that the model has. Raises ModelUnavailable for another model's file."""
        self._tokenizer = _read_tokenizer(file, size, REQUIRED)
        self.size = _count_ids(self._tokenizer)

    def encode(self, text: str, language: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n], without start and stop.

        A character that the model does not know is the token of the unknown, as upstream has it.
        """
        ids = self._tokenizer.encode(normalize_text(text).replace(" ", SPACE)).ids
        return torch.tensor(ids, dtype=torch.int64)

    def spans(self, text: str, language: str) -> tuple[Span, ...]:
        """See ``TextTokenizer.spans``."""
        normalized = normalize_text(text)
        encoding = self._tokenizer.encode(normalized.replace(" ", SPACE))
        return spans_before(text, normalized, _with_plain_spaces(normalized, encoding.offsets))

    def unknown(self, text: str, language: str) -> str:
        """See ``TextTokenizer.unknown``."""
        text = normalize_text(text).replace(" ", SPACE)
        encoding, unknown_id = self._tokenizer.encode(text), self._tokenizer.token_to_id(UNKNOWN)
        spans = (span for span, id in zip(encoding.offsets, encoding.ids, strict=True) if id == unknown_id)
        return "".join(dict.fromkeys("".join(text[start:end] for start, end in spans)))


class MultilingualTokenizer:
    """``punc_norm`` and ``MTLTokenizer`` of the multilingual models, without the token of the unknown.

    A text goes through ``punc_norm``, through the step of its language (readings of kanji, Cangjie codes,
    stress) and into NFKD, in the case that the model was trained on, and its language's tag is put before it.

    A character that the vocabulary lacks is written in another way that says the same: with its accent as one
    character, as a small letter, as a plain mark or digit. What can be written in no way, such as emoji and
    letters of other scripts, is left out: ``unknown`` tells which, so that nothing is lost in silence.
    Upstream gives the model the token of the unknown for each, which it may read as anything.

    A token that controls the model, such as "[SPACE]" or "[fr]", is a word when a text holds it.
    """

    def __init__(
        self,
        file: Path,
        *,
        size: int,
        rules: TextRules,
        languages: tuple[str, ...],
        steps: Mapping[str, Callable[[str], str]],
        unavailable: Mapping[str, str],
    ) -> None:
        """Reads the file. Raises ModelUnavailable for one that is no tokenizer, or another model's.

        size: ids that the model has. steps: what happens to a text of a language first. unavailable: see
        ``TextTokenizer``.
        """
        self.unavailable = unavailable
        self._languages, self._rules, self._steps = languages, rules, steps
        tags = (_tag(language) for language in languages)
        self._tokenizer = _read_tokenizer(file, size, (*REQUIRED, UNKNOWN, SPACE, *tags))
        self.size = _count_ids(self._tokenizer)
        self._unknown_id = self._tokenizer.token_to_id(UNKNOWN)
        added = sorted(
            (token.content for token in self._tokenizer.get_added_tokens_decoder().values()), key=len
        )
        self._added = re.compile(f"({'|'.join(map(re.escape, reversed(added)))})")
        # Those that control the model, as a text may hold them by chance: marks, tags of languages, events.
        controls = (token[1:-1] for token in added if token[0] == "[" and not _CANGJIE_KEY.match(token))
        self._controls = re.compile(rf"\[({'|'.join(map(re.escape, controls))})\]")
        self._is_known = functools.lru_cache(maxsize=4096)(self._is_in_vocabulary)
        # Asked for ids and for what they lack, and readings take their time.
        self._spell = functools.lru_cache(maxsize=256)(self._spell_out)

    def encode(self, text: str, language: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n], without start and stop; see ``TextTokenizer.encode``."""
        spelled, left_out = self._spell(text, language)
        if left_out and not has_speakable(spelled):
            raise InvalidRequest(
                f"has nothing that the model can say in the language {language!r}: it does not know "
                f"{printable_excerpt(left_out)}",
                field="text",
                hint="send the language that the text is in, or another text",
            )
        ids = self._encode(_tag(language) + spelled).ids
        if len(ids) > MAX_TEXT_TOKENS:
            raise InvalidRequest(
                f"takes {len(ids)} tokens where the model reads {MAX_TEXT_TOKENS} in a segment: "
                f"{printable_excerpt(text)}",
                field="text",
                hint="write out what characters such as ligatures stand for",
            )
        return torch.tensor(ids, dtype=torch.int64)

    def spans(self, text: str, language: str) -> tuple[Span, ...]:
        """See ``TextTokenizer.spans``; the language's tag stands for none."""
        spelled, _ = self._spell(text, language)
        tag, *offsets = self._encode(_tag(language) + spelled).offsets
        moved = [(start - tag[1], end - tag[1]) for start, end in offsets]
        return ((0, 0), *spans_before(text, spelled, _with_plain_spaces(spelled, moved)))

    def unknown(self, text: str, language: str) -> str:
        """Returns the characters that ``encode`` leaves out, each once."""
        return self._spell(text, language)[1]

    def _spell_out(self, text: str, language: str) -> tuple[str, str]:
        """Returns a text in characters of the vocabulary, and the characters that were left out for that."""
        if language in self.unavailable:
            raise UnsupportedLanguage(self.unavailable[language])
        assert language in self._languages
        rules = self._rules
        text = normalize_multilingual_text(text, capitalizes=rules.capitalizes, more_ends=rules.more_ends)
        text = _NUMBER_SIGN.sub(" ", _CANGJIE_KEY.sub(r"\1", text))
        if rules.form == "lowercase":
            # Upstream gives the language's step NFKD here; dictionaries write words in composed characters.
            text = normalize_unicode("NFKC", text.lower())
        step = self._steps.get(language)
        text = self._controls.sub(r"\1", normalize_unicode("NFKD", text if step is None else step(text)))
        return (text, "") if self._is_in_vocabulary(text) else self._respell(text)

    def _respell(self, text: str) -> tuple[str, str]:
        """See ``_spell_out``. text: in NFKD."""
        spelled: list[str] = []
        left_out: dict[str, None] = {}
        for index, part in enumerate(self._added.split(text)):
            is_token = index % 2 == 1
            for cluster in [part] if is_token else _CLUSTER.findall(part):
                known = next(filter(self._is_known, _spellings(cluster)), None)
                if known is None:
                    known = "".join(filter(self._is_known, cluster))
                    unknown = (char for char in _SILENT.sub("", cluster) if not self._is_known(char))
                    left_out |= dict.fromkeys(unknown)
                spelled.append(known)
        return " ".join("".join(spelled).split()), "".join(left_out)

    def _is_in_vocabulary(self, text: str) -> bool:
        return self._unknown_id not in self._encode(text).ids

    def _encode(self, text: str) -> Encoding:
        return self._tokenizer.encode(text.replace(" ", SPACE))


def _with_plain_spaces(text: str, offsets: Iterable[Span]) -> list[Span]:
    """Returns places in a text of places in the same text with ``SPACE`` for each space."""
    places = [place for place, char in enumerate(text) for _ in (SPACE if char == " " else char)]
    places.append(len(text))
    return [(places[start], places[end]) for start, end in offsets]


def _tag(language: str) -> str:
    """The token with which a text of a language begins."""
    return f"[{language}]"


def _spellings(cluster: str) -> Iterator[str]:
    """Yields ways to write a character and its marks, in NFKD, that say the same; the best first."""
    for spelling in (cluster, cluster.lower(), _SILENT.sub("", cluster)):
        yield spelling
        yield normalize_unicode("NFC", spelling)
    yield "".join(_plain(char) for char in cluster)


def _plain(char: str) -> str:
    """The plain mark or the digit that a character stands for, or itself."""
    digit = unicodedata.digit(char, None)
    return char.translate(_PLAIN) if digit is None else str(digit)


class TurboTokenizer:
    """``punc_norm`` of chatterbox's ``tts_turbo.py``, and GPT-2's byte pairs with tags such as "[laugh]".

    ``<|endoftext|>`` in a text is spelled out: it is nothing that is said.
    """

    unavailable: Mapping[str, str] = MappingProxyType({})

    def __init__(self, vocabulary: Path, merges: Path, added: Path, *, size: int) -> None:
        """Reads the files. size: ids that the model has. Raises ModelUnavailable if they do not fit."""
        try:
            self._tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
        except Exception as error:  # tokenizers raises bare Exception for every kind of damage
            names = f"{vocabulary.name} and {merges.name}"
            raise ModelUnavailable(f"{names} cannot be read", hint=DAMAGED) from error
        self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        self.tags = _read_ids(added)
        # In the order of their ids, of which each gets the next. What is in the vocabulary is no tag.
        known = self._tokenizer.get_vocab()
        ordered = sorted(self.tags.keys() - known.keys(), key=self.tags.__getitem__)
        self._tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in ordered])
        ids = self._tokenizer.get_vocab()
        if any(ids[tag] != self.tags[tag] for tag in ordered) or len(ids) != size:
            raise ModelUnavailable(
                f"{added.name} and {vocabulary.name} have {len(ids)} tokens, and the model {size}",
                hint=OF_ONE_REVISION,
            )
        self.size = size

    def encode(self, text: str, language: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n]."""
        ids = self._tokenizer.encode(normalize_turbo_text(text), add_special_tokens=False).ids
        return torch.tensor(ids, dtype=torch.int64)

    def spans(self, text: str, language: str) -> tuple[Span, ...]:
        """See ``TextTokenizer.spans``."""
        normalized = normalize_turbo_text(text)
        encoding = self._tokenizer.encode(normalized, add_special_tokens=False)
        return spans_before(text, normalized, encoding.offsets)

    def unknown(self, text: str, language: str) -> str:
        """Returns nothing: every text has bytes."""
        return ""


def _read_tokenizer(file: Path, size: int, required: Collection[str]) -> Tokenizer:
    """Reads a tokenizer of ``size`` ids at most, with the required tokens. Raises ModelUnavailable."""
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception for every kind of damage
        raise ModelUnavailable(f"{file.name} cannot be read", hint=DAMAGED) from error
    vocabulary, count = tokenizer.get_vocab(), _count_ids(tokenizer)
    if count > size:
        raise ModelUnavailable(
            f"{file.name} is of another model: it has {count} tokens where this one has {size}",
            hint=OF_ONE_REVISION,
        )
    if lacking := [token for token in required if token not in vocabulary]:
        raise ModelUnavailable(
            f"{file.name} is of another model: it lacks {', '.join(lacking[:3])}",
            hint=f"{OF_ONE_REVISION}; a model of your own has a token for each of its languages",
        )
    return tokenizer


def _count_ids(tokenizer: Tokenizer) -> int:
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def _read_ids(file: Path) -> Mapping[str, int]:
    """Reads added_tokens.json: token to id. Raises ModelUnavailable."""
    try:
        ids = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{file.name} cannot be read", hint=DAMAGED) from error
    if not isinstance(ids, dict) or not all(type(value) is int for value in ids.values()):
        raise ModelUnavailable(f"{file.name} is not a table of ids", hint=DAMAGED)
    return ids
