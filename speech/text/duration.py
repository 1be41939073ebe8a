"""Estimates of how long a text takes to say, from the text and its language.

The unit is the time of one Latin letter, space or punctuation mark in running speech. How many of them are
said in a second depends on the language.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import regex

# Read English: about 150 words a minute, pauses included, at six characters a word with its space. Also of
# every language whose pace is not known.
UNITS_PER_S = 15.0

# Words and letters that are read aloud in a minute (Trauzettel-Klosinski and Dietz, Investigative
# Ophthalmology & Visual Science 53, 2012; Greek: Gleni et al., Optometry and Vision Science 96, 2019), by
# language. Only their ratios to English are used: readers of a test hurry.
_READ_ALOUD = {
    "de": (179, 920),
    "el": (208, 1049),
    "en": (228, 987),
    "es": (218, 1025),
    "fi": (161, 1078),
    "fr": (195, 998),
    "it": (188, 950),
    "nl": (202, 978),
    "pl": (166, 916),
    "pt": (181, 913),
    "ru": (184, 986),
    "sv": (199, 917),
    "tr": (166, 1054),
}

SPEECH_TOKENS_PER_S = 25
MAX_SPEECH_TOKENS = 1000  # upstream's `generate` stops here: 40 s

# A careful reader takes twice the usual time (75 words a minute), an exaggerated one a little more.
SLOWEST_READING = 2.5
# One-word texts: a breath before, a drawn-out word, the model's own silence after it.
SLACK_S = 3.0

# "7" is "seven" and "1999" is "nineteen ninety-nine", but "1,234" has a word for each place.
DIGIT_UNITS = 7
# Characters of other scripts, from the same readings. An English word takes 263 ms there and has 5.4 units
# in our texts. Arabic takes 435 ms a word and Hebrew 321 ms: they leave out short vowels. A character takes
# 235 ms in Chinese, and 168 ms in Japanese.
HAN_UNITS = 4.5
KANA_UNITS = 3
ARABIC_LETTER_UNITS = 1.75
HEBREW_LETTER_UNITS = 1.25
# Two that were not read there. A Korean syllable is about as long as a kana; a Devanagari consonant has a
# vowel of its own, unless a sign takes it away.
HANGUL_UNITS = 3
DEVANAGARI_LETTER_UNITS = 1.5
# "FBI": a letter's name is a syllable of its own, "W" has three.
SPELLED_LETTER_UNITS = 4

_ACRONYM = re.compile(r"(?<![^\W\d_])[A-Z]{2,5}(?![^\W\d_])")
# Marks that several scripts share, such as "ー", belong to each (scx).
_BY_SCRIPT = (
    (regex.compile(r"[\p{scx=Hiragana}\p{scx=Katakana}]"), KANA_UNITS),
    (regex.compile(r"[\p{scx=Han}\p{scx=Bopomofo}]"), HAN_UNITS),
    (regex.compile(r"[\uac00-\ud7a3]"), HANGUL_UNITS),
    (regex.compile(r"\p{Arabic}"), ARABIC_LETTER_UNITS),
    (regex.compile(r"\p{Hebrew}"), HEBREW_LETTER_UNITS),
    (regex.compile(r"\p{Devanagari}"), DEVANAGARI_LETTER_UNITS),
)


def duration_units(text: str) -> list[float]:
    """Returns for each character of the text the time that it takes, in units; at least 1."""
    units = [_units(char) for char in text]
    for acronym in _ACRONYM.finditer(text):
        units[acronym.start() : acronym.end()] = [SPELLED_LETTER_UNITS] * len(acronym.group())
    return units


def units_per_s(language: str | None = None) -> float:
    """Returns how many units of text a second of speech holds at an ordinary pace.

    13.4 in Polish, 15 in English, 15.5 in Greek. language: its code; None: it is not known. Languages that
    are written without spaces or short vowels need no pace of their own: their letters count more.
    """
    words, letters = _READ_ALOUD.get(language or "", _READ_ALOUD["en"])
    return UNITS_PER_S * (words + letters) / sum(_READ_ALOUD["en"])


def max_units(duration_s: float, language: str | None = None) -> int:
    """Returns how many whole units fit into a duration at an ordinary pace."""
    return math.floor(duration_s * units_per_s(language) + 1e-6)  # 280 / 15 s hold 280, however it is rounded


def estimate_duration_s(text: str, language: str | None = None) -> float:
    """Returns the seconds that the text takes at an ordinary pace, pauses at punctuation included.

    language: its code; None: it is not known.
    """
    return sum(duration_units(text)) / units_per_s(language)


def max_speech_tokens(text: str, language: str | None = None) -> int:
    """Returns the most speech tokens that a sane reading of the text needs; reaching it means a runaway.

    Two and a half times the estimated duration and three seconds: slow, exaggerated or one-word speech
    stays below. Never above upstream's 1000, which texts of about 220 letters reach. language: its code;
    None: it is not known.
    """
    longest_s = SLOWEST_READING * estimate_duration_s(text, language) + SLACK_S
    return min(MAX_SPEECH_TOKENS, math.ceil(SPEECH_TOKENS_PER_S * longest_s))


@lru_cache(maxsize=4096)
def _units(char: str) -> float:
    if char.isdecimal():
        return DIGIT_UNITS
    if char.isalpha() or char.isnumeric():
        for script, units in _BY_SCRIPT:  # "三" counts as numeric
            if script.match(char):
                return units
    return DIGIT_UNITS if char.isnumeric() else 1
