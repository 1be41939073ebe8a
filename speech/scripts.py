"""Which writing system a character belongs to, as far as cutting and timing speech need to know."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

# Unicode blocks, first and last code point.
_HAN_AND_KANA = (
    (0x3005, 0x3007),  # iteration mark, closing mark, zero
    (0x3041, 0x312F),  # hiragana, katakana, bopomofo
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width katakana
    (0x20000, 0x3FFFF),
)
_HANGUL = ((0xAC00, 0xD7A3),)
_SOUTH_EAST_ASIAN = (
    (0x0E01, 0x0EDF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
)

_SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")
_FLAG_LETTERS = ("\U0001f1e6", "\U0001f1ff")
_VIRAMA_CLASS = 9  # canonical combining class of the signs that join two Indic consonants
# Letters by category that are written, and spoken, with the letter before them: small kana, length
# and iteration marks, half-width voicing marks, Thai and Lao vowels that follow their consonant.
_FOLLOWERS = frozenset(
    "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶーｧｨｩｪｫｯｬｭｮｰ々ゝゞヽヾ\uff9e\uff9fะาำๅะາຳ"
)
_LEADERS = frozenset("เแโใไເແໂໃໄ")  # vowels written before the consonant that they follow


def has_syllable_letters(char: str) -> bool:
    """True for Han, kana and hangul: one character is about one syllable."""
    return char.isalnum() and (_within(char, _HAN_AND_KANA) or _within(char, _HANGUL))


def is_written_without_spaces(char: str) -> bool:
    """True for letters of scripts that put no space between words: Han, kana, Thai, Khmer, ..."""
    return char.isalnum() and (_within(char, _HAN_AND_KANA) or _within(char, _SOUTH_EAST_ASIAN))


def is_grapheme_boundary(text: str, position: int) -> bool:
    """True when the characters before and at ``position`` are not one for the reader.

    The cases of Unicode's UAX #29 that speech meets: accents and vowel signs, joined emoji, skin
    tones, flags, Indic conjuncts, hangul jamo. Kana and Thai or Lao vowels that are pronounced
    with their neighbour are kept with it, which UAX #29 does not ask for. 0 < position < len(text).
    """
    before, after = text[position - 1], text[position]
    if unicodedata.category(after).startswith("M") or after in "\u200c\u200d" or after in _FOLLOWERS:
        return False
    if before == "\u200d" or before in _LEADERS:
        return False
    if unicodedata.combining(before) == _VIRAMA_CLASS and after.isalpha():
        return False
    if _SKIN_TONES[0] <= after <= _SKIN_TONES[1] or "\u1160" <= after <= "\u11ff":
        return False
    return not (_is_flag_letter(after) and _flag_letters_before(text, position) % 2)


def _within(char: str, blocks: tuple[tuple[int, int], ...]) -> bool:
    index = bisect_right(blocks, (ord(char), 0x10FFFF)) - 1
    return index >= 0 and ord(char) <= blocks[index][1]


def _is_flag_letter(char: str) -> bool:
    return _FLAG_LETTERS[0] <= char <= _FLAG_LETTERS[1]


def _flag_letters_before(text: str, position: int) -> int:
    """A flag is two letters, so only their number tells where the next one starts."""
    count = 0
    while count < position and _is_flag_letter(text[position - count - 1]):
        count += 1
    return count
