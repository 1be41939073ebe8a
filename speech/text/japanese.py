"""Japanese readings: words that are written with kanji, in hiragana."""

from __future__ import annotations

import contextlib
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import regex

_HAN = regex.compile(r"[\p{Han}〆]")
_HIRAGANA = regex.compile(r"\p{Hiragana}")
# What OpenJTalk is given, at most about 8,000 bytes at once. Numbers change what follows them; other signs
# confuse it, and it would write them into the error stream.
_RUN = regex.compile(r"[\p{Han}〆\p{Hiragana}\p{Katakana}ー0-9０-９]{1,500}")
# The apostrophe marks a vowel without voice.
_KATAKANA_TO_HIRAGANA = {code: code - 0x60 for code in range(ord("ァ"), ord("ヶ") + 1)} | {ord("’"): None}
# "何" is "nan" before these (何だ, 何の, 何と, 何で, 何なら, 何て) and before counters, else "nani".
_SOUNDS_AFTER_NAN = tuple("だでのとなて")


class JapaneseReadings:
    """Writes the words that hold kanji in hiragana, as ``hiragana_normalize`` of chatterbox-tts does.

    Chatterbox's vocabulary has kana and no kanji. OpenJTalk and Sudachi (pyopenjtalk-plus) find the words and
    their readings; the dictionaries are in the packages. The readings are spellings, not sounds: "経営" is
    "けいえい". Only numerals and counters are spelled as they sound, since their sounds change with their
    neighbours: "三本" is "さんぼん". Kana stay as they are, the particles は and へ among them; a reading
    that begins with one of these gets a space before it, so that it is not read as a particle. Digits, Latin
    letters, marks, and a character for which no dictionary has a reading stay, too.
    """

    def __init__(self) -> None:
        """Imports pyopenjtalk, 0.15 s. Raises ImportError."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it runs without onnxruntime
            import pyopenjtalk
        self._openjtalk = pyopenjtalk

    def __call__(self, text: str) -> str:
        """Returns the text in NFC with readings. Takes time linear in its length."""
        text = unicodedata.normalize("NFC", text)  # a dakuten of its own hides a word from the dictionary
        return str(_RUN.sub(self._replace, text))

    def _replace(self, run: regex.Match[str]) -> str:
        return "".join(self._readings(run[0])) if _HAN.search(run[0]) else run[0]

    def _readings(self, text: str) -> Iterator[str]:
        try:  # with long vowels and voiced kana as they are spelled
            words: Sequence[Mapping[str, Any]] = self._openjtalk.g2p_mapping(
                text, revert_long_vowels=True, revert_yotsugana=True
            )
        except ValueError:  # rarely, in text that is none, it cannot say which word stands where
            half = len(text) // 2
            yield from (text,) if not half else (*self._readings(text[:half]), *self._readings(text[half:]))
            return
        surfaces = [str(word["surface"]) for word in words]
        position, was_read = 0, False
        for word, following in zip(words, [*surfaces[1:], ""], strict=True):
            start, end = word["char_span"]
            if start == end:  # the ten of "二十四", written "二四"
                if was_read:
                    yield _reading(word, following)
                continue
            yield text[position:start]
            written, position = text[start:end], end
            reading = _reading(word, following) if _HAN.search(written) else ""
            was_read = bool(reading)
            yield (" " if reading.startswith(("は", "へ")) else "") + (reading or written)
        yield text[position:]


def _reading(word: Mapping[str, Any], following: str) -> str:
    """Returns the word in hiragana; "" if it has no reading. following: the next word as it is written."""
    is_number = word["pos_group1"] == "数" or word["pos_group2"] == "助数詞"
    if word["surface"] == "何":
        return "なん" if is_number or following.startswith(_SOUNDS_AFTER_NAN) else "なに"
    reading = str(word["pron"] if is_number else word["read"]).translate(_KATAKANA_TO_HIRAGANA)
    return reading if _HIRAGANA.search(reading) else ""
