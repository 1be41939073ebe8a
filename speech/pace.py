"""How long a text takes to say, from the text alone.

The measure is the spoken letter: the time of one Latin letter, space or mark in running speech.
"""

from __future__ import annotations

import math
import re

from speech.scripts import has_syllable_letters

# Read English: about 150 words a minute, pauses included, at six characters a word with its space.
LETTERS_PER_S = 15.0

SPEECH_TOKENS_PER_S = 25
MAX_SPEECH_TOKENS = 1000  # upstream's `generate` stops here: 40 s

# A careful reader takes twice the usual time (75 words a minute), an exaggerated one a little more.
SLOWEST_READING = 2.5
# One-word texts: a breath before, a drawn-out word, the model's own silence after it.
SLACK_S = 3.0

# "7" is "seven" and "1999" is "nineteen ninety-nine", but "1,234" has a word for each place.
DIGIT_LETTERS = 7
# A Mandarin syllable takes 0.19 s, an English one 0.16 s (Pellegrino et al., Language 87, 2011);
# a character may be read as two kana.
SYLLABLE_LETTERS = 3
# "FBI": a letter's name is a syllable of its own, "W" has three.
SPELLED_LETTERS = 4

_ACRONYM = re.compile(r"(?<![^\W\d_])[A-Z]{2,5}(?![^\W\d_])")


def spoken_letters(text: str) -> list[int]:
    """For each character of ``text``, how many Latin letters' worth of time it takes; at least 1."""
    weights = [_letters(char) for char in text]
    for acronym in _ACRONYM.finditer(text):
        weights[acronym.start() : acronym.end()] = [SPELLED_LETTERS] * len(acronym.group())
    return weights


def expected_speech_s(text: str) -> float:
    """Seconds that ``text`` takes at an ordinary pace, pauses at punctuation included."""
    return sum(spoken_letters(text)) / LETTERS_PER_S


def max_speech_tokens(text: str) -> int:
    """The most speech tokens that a sane reading of ``text`` needs; reaching it means a runaway.

    Two and a half times the expected time and three seconds: slow, exaggerated or one-word speech
    stays below. Never above upstream's 1000, which texts of about 220 letters reach.
    """
    longest_s = SLOWEST_READING * expected_speech_s(text) + SLACK_S
    return min(MAX_SPEECH_TOKENS, math.ceil(SPEECH_TOKENS_PER_S * longest_s))


def _letters(char: str) -> int:
    if has_syllable_letters(char):  # before the digits: "三" counts as numeric
        return SYLLABLE_LETTERS
    return DIGIT_LETTERS if char.isnumeric() else 1
