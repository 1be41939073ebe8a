"""Chinese characters as the codes of the Cangjie input method, which Chatterbox's vocabulary has."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from unicodedata import category, normalize

import regex

Segmenter = Callable[[str], Sequence[str]]

# A border between words is a space where a Han character is on one side of it: "don't" stays whole.
_HAN = regex.compile(r"\p{Han}")
_BETWEEN_SPACES = regex.compile(r"\S+")
_PKUSEG_MODEL = "spacy_ontonotes"
_PKUSEG_FILES = ("features.msgpack", "weights.npz")


class CangjieCodes:
    """Spells each Chinese character, as ``ChineseCangjieConverter`` of chatterbox-tts does.

    A character becomes a token for each letter of its code, the number of the character among those of the
    same code unless it is the first, and an end: "明" is "[cj_a][cj_b][cj_.]". Words are set apart by spaces.

    The table holds traditional and simplified characters. A character without a code, or a letter of another
    script, stays.
    """

    def __init__(self, table: Path, segment: Segmenter) -> None:
        """Reads the table: a JSON list of strings, each a character, a tab and its code.

        Raises OSError, and ValueError for a file that is no such table.
        """
        self._segment = segment
        self._codes: dict[str, str] = {}  # of several codes the last one counts
        self._characters: dict[str, list[str]] = {}  # by code, in the table's order
        try:
            for entry in json.loads(table.read_text("utf-8")):
                character, code = entry.split("\t")[:2]
                self._codes[character] = code
                self._characters.setdefault(code, []).append(character)
        except (AttributeError, TypeError) as error:
            raise ValueError("not a list of characters with their codes") from error
        if not self._codes:
            raise ValueError("no character in it")

    def __call__(self, text: str) -> str:
        """Returns the text with its words apart and its characters spelled, in linear time."""
        # Between white space, which pkuseg would drop.
        return "".join(map(self._spell, _BETWEEN_SPACES.sub(self._space_words, text)))

    def _space_words(self, match: regex.Match[str]) -> str:
        words = self._segment(match.group())
        borders = (" " if _is_border(*pair) else "" for pair in pairwise(words))
        return "".join(chain.from_iterable(zip(words, [*borders, ""], strict=True)))

    def _spell(self, char: str) -> str:
        if char == "〇":  # a number for Unicode, which upstream leaves unspelled, and read as this character
            char = "零"
        if category(char) != "Lo" and not _HAN.match(char):
            return char  # the table has marks, too
        known = char if char in self._codes else normalize("NFKC", char)
        code = self._codes.get(known)
        if code is None:
            return char
        number = self._characters[code].index(known)
        return "".join(f"[cj_{sign}]" for sign in f"{code}{number or ''}.")


def _is_border(before: str, after: str) -> bool:
    return bool(_HAN.match(before[-1]) or _HAN.match(after))


def load_segmenter() -> Segmenter:
    """Returns pkuseg's word borders where the package and its model are installed, else rjieba's.

    Upstream uses pkuseg, whose model is a download of its own: it is looked for where the package keeps it
    (PKUSEG_HOME, else ~/.pkuseg) and never downloaded. Raises ImportError if neither package is installed.
    """
    if find_spec("spacy_pkuseg"):
        import spacy_pkuseg

        model = Path(spacy_pkuseg.config.pkuseg_home) / _PKUSEG_MODEL
        if all((model / name).is_file() for name in _PKUSEG_FILES):
            # By its folder: by its name it would look for the archive beside it, and download that.
            segmenter: Segmenter = spacy_pkuseg.pkuseg(str(model)).cut
            return segmenter
    import rjieba

    default: Segmenter = rjieba.cut
    return default
