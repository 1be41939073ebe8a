"""Properties of characters that several rooms ask for: what can be seen, shown in a line, spoken or compared.

Functions of one character take a string of length 1. Everything is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# Zero-width non-joiner and joiner: Persian and Indic spelling and emoji sequences are written with them.
_JOINERS = frozenset("\u200c\u200d")
# Drawn as nothing, but neither controls nor white space for Unicode: grapheme joiner, fillers of Hangul
# and Khmer, the Braille pattern without dots.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Control, format (bidi marks, byte order mark, soft hyphen, zero-width space), surrogate.
_UNDRAWN_CATEGORIES = frozenset({"Cc", "Cf", "Cs"})
_LINE_BREAK_CATEGORIES = frozenset({"Zl", "Zp"})
# Choose between two drawings of the character before them, which is the same character for a reader.
_VARIATION_SELECTORS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_PLAIN_MARKS = {"\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"}
_ASCII_SPACES = {ord(char): " " for char in "\t\n\v\f\r\x1c\x1d\x1e\x1f"}

# No script needs more marks on one character; UAX #15 (Stream-Safe Text Format) has the same limit.
MAX_COMBINING_MARKS = 30


def is_invisible(char: str) -> bool:
    """True if the character is drawn as nothing and is neither white space nor a zero-width joiner."""
    if char in _FILLERS:
        return True
    return unicodedata.category(char) in _UNDRAWN_CATEGORIES and char not in _JOINERS and not char.isspace()


def is_printable(char: str) -> bool:
    """True if the character can stand in a line of a log or a terminal.

    False for what cannot be seen, starts a line, moves the cursor, or reorders its neighbours. Characters
    newer than Python's Unicode tables are printable, unlike for ``str.isprintable``.
    """
    if char in _JOINERS:
        return True
    category = unicodedata.category(char)
    return not (category in _UNDRAWN_CATEGORIES or category in _LINE_BREAK_CATEGORIES or char in _FILLERS)


def is_blank(text: str) -> bool:
    """True if the text holds nothing to be seen: white space, controls, joiners, marks without a letter."""
    return not any(_is_drawn(char) for char in text)


def has_speakable(text: str) -> bool:
    """True if the text holds a letter or a digit of any script, that is, something to say."""
    return any(char.isalnum() and char not in _FILLERS for char in text)


def drop_invisible(text: str) -> str:
    """Returns the text without its invisible characters."""
    if text.isprintable() and _FILLERS.isdisjoint(text):
        return text
    return text.translate({ord(char): None for char in set(text) if is_invisible(char)})


def escape_unprintable(text: str) -> str:
    r"""Returns the text as one line, its unprintable characters escaped as in Python: ``\n``, ``\u202e``."""
    return "".join(char if is_printable(char) else ascii(char)[1:-1] for char in text)


def printable_excerpt(text: str, limit: int = 40) -> str:
    """Returns at most ``limit`` printable characters of the text, and "..." if it is longer.

    For errors and log lines that repeat what somebody sent.
    """
    printable = escape_unprintable(text[: limit + 1])
    return printable if len(printable) <= limit else printable[:limit] + "..."


def normalize_unicode(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """Returns the text in the Unicode normalization form, with at most 30 combining marks in a row.

    ``unicodedata.normalize`` takes time by the square of the length of a row of marks: minutes for a
    megabyte of them. The marks beyond the 30th are dropped. The result is stable: normalizing it again
    changes nothing.
    """
    if text.isascii():
        return text
    # Some marks decompose into several.
    return _limit_marks(unicodedata.normalize(form, _limit_marks(text)))


def casefold_nfkc(text: str) -> str:
    """Returns what two texts share that differ only in case, width, Unicode form or invisible characters.

    The mapping NFKC_Casefold of the Unicode Standard (section 3.13), for comparisons; not to be shown.
    """
    compatible = normalize_unicode("NFKC", text)
    visible = drop_invisible(_VARIATION_SELECTORS.sub("", compatible))
    for joiner in _JOINERS:
        visible = visible.replace(joiner, "")
    return normalize_unicode("NFKC", visible.casefold())


def fold_each_character(text: str) -> str:
    """Returns the text with each character folded by itself, so that the indices stay the same.

    Unicode's simple case folding, for comparisons that ignore case. Characters that fold to several, such
    as ``ß``, stay as they are. White space of any kind becomes a space, the typographic apostrophe and the
    hyphens of Unicode become those of ASCII.
    """
    if text.isascii():
        return text.translate(_ASCII_SPACES).lower()
    return text.translate({ord(char): _fold_character(char) for char in set(text)})


def plain_marks(text: str) -> str:
    """Returns the text with plain spaces, apostrophes and hyphens; see ``fold_each_character``."""
    if text.isascii():
        return text.translate(_ASCII_SPACES)
    return text.translate({ord(char): _plain_mark(char) for char in set(text)})


def _plain_mark(char: str) -> str:
    return " " if char.isspace() else _PLAIN_MARKS.get(char, char)


def _fold_character(char: str) -> str:
    folded = next((each for each in (char.casefold(), char.lower()) if len(each) == 1), char)
    return _plain_mark(folded)


def _is_drawn(char: str) -> bool:
    category = unicodedata.category(char)
    # Private (Co) and unassigned (Cn) characters are drawn: by a font of its own, or as a box.
    return (category[0] in "LNPS" or category in ("Co", "Cn")) and char not in _FILLERS


def _limit_marks(text: str) -> str:
    marks = "".join(char for char in set(text) if _becomes_mark(char))
    if not marks:
        return text
    row = re.compile(f"([{re.escape(marks)}]{{{MAX_COMBINING_MARKS}}})[{re.escape(marks)}]+")
    return row.sub(r"\1", text)


def _becomes_mark(char: str) -> bool:
    """True if the character is reordered among its neighbours by some normalization form."""
    return (
        unicodedata.category(char)[0] == "M"
        or unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) > 0
    )
