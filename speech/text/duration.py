"""Estimates of how long a text takes to say, from the text alone.

The unit is the time of one Latin letter, space or punctuation mark in running speech.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import regex

# Read English: about 150 words a minute, pauses included, at six characters a word with its space.
UNITS_PER_S = 15.0

SPEECH_TOKENS_PER_S = 25
MAX_SPEECH_TOKENS = 1000  # upstream's `generate` stops here: 40 s

# A careful reader takes twice the usual time (75 words a minute), an exaggerated one a little more.
SLOWEST_READING = 2.5
# One-word texts: a breath before, a drawn-out word, the model's own silence after it.
SLACK_S = 3.0

# "7" is "seven" and "1999" is "nineteen ninety-nine", but "1,234" has a word for each place.
DIGIT_UNITS = 7
# A Mandarin syllable takes 0.19 s, an English one 0.16 s (Pellegrino et al., Language 87, 2011);
# a character may be read as two kana.
SYLLABLE_UNITS = 3
# "FBI": a letter's name is a syllable of its own, "W" has three.
SPELLED_LETTER_UNITS = 4

_ACRONYM = re.compile(r"(?<![^\W\d_])[A-Z]{2,5}(?![^\W\d_])")
# Characters of about one syllable. Marks that several scripts share, such as "ー", belong to each (scx).
_SYLLABIC = regex.compile(r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\uac00-\ud7a3]")


def duration_units(text: str) -> list[int]:
    """Returns for each character of the text the time that it takes, in units; at least 1."""
    units = [_units(char) for char in text]
    for acronym in _ACRONYM.finditer(text):
        units[acronym.start() : acronym.end()] = [SPELLED_LETTER_UNITS] * len(acronym.group())
    return units


def estimate_duration_s(text: str) -> float:
    """Returns the seconds that the text takes at an ordinary pace, pauses at punctuation included."""
    return sum(duration_units(text)) / UNITS_PER_S


def max_speech_tokens(text: str) -> int:
    """Returns the most speech tokens that a sane reading of the text needs; reaching it means a runaway.

    Two and a half times the estimated duration and three seconds: slow, exaggerated or one-word speech
    stays below. Never above upstream's 1000, which texts of about 220 letters reach.
    """
    longest_s = SLOWEST_READING * estimate_duration_s(text) + SLACK_S
    return min(MAX_SPEECH_TOKENS, math.ceil(SPEECH_TOKENS_PER_S * longest_s))


@lru_cache(maxsize=4096)
def _units(char: str) -> int:
    if char.isalnum() and _SYLLABIC.match(char):  # before the digits: "三" counts as numeric
        return SYLLABLE_UNITS
    return DIGIT_UNITS if char.isnumeric() else 1
