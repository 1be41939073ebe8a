"""Russian stress marks."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import cast

import regex
import torch

STRESS_MARK = "\u0301"
_PIECE = regex.compile(r"[^.!?…\n]{0,500}[.!?…\n]*\s*")  # the accentor takes the square of a text's length
_STRESSED = regex.compile(r"\+(\p{L})")
_WORD = regex.compile(r"\p{L}[\p{L}\u0301]*")
_WITHOUT_DOTS = str.maketrans({"ё": "е", "Ё": "Е", STRESS_MARK: None})


class RussianStress:
    """Puts U+0301 after the stressed vowel of each word, and dots on each "е" that is a "ё".

    Multilingual v3 was trained on texts with such marks. silero-stress finds the stress, by a network for
    words and another for homographs in their context; both are in its package. Words of one vowel and the
    letter "ё" are stressed anyway and get no mark. A word that has a mark stays as it is.
    """

    def __init__(self) -> None:
        """Loads the networks: 2.3 s, 220 MB. Raises ImportError, and OSError where they are damaged."""
        threads = torch.get_num_threads()
        try:
            with torch.no_grad():  # the package switches gradients off for its thread, and threads for all
                from silero_stress import load_accentor

                self._accentor = cast("Callable[..., str]", load_accentor())
        finally:
            torch.set_num_threads(threads)

    def __call__(self, text: str) -> str:
        """Returns the text in NFC with stress marks. Takes time linear in its length."""
        return "".join(map(self._stress, _PIECE.findall(unicodedata.normalize("NFC", text))))

    def _stress(self, text: str) -> str:
        # A plus of the text would be one of the accentor's; "=" divides words as well.
        bare = text.replace(STRESS_MARK, "").replace("+", "=")
        with torch.inference_mode():
            accented = self._accentor(bare, stress_single_vowel=False)
        stressed = iter(_WORD.findall(_marks_behind(accented)))
        return str(_WORD.sub(lambda match: _chosen(match[0], next(stressed, "")), text))


def _marks_behind(text: str) -> str:
    """Returns the accentor's text with a mark behind each stressed vowel in place of the plus before it."""
    return str(_STRESSED.sub(lambda match: match[1] + ("" if match[1] in "ёЁ" else STRESS_MARK), text))


def _chosen(written: str, stressed: str) -> str:
    """Returns the stressed word, unless the written one has a mark of its own."""
    if STRESS_MARK in written or written.translate(_WITHOUT_DOTS) != stressed.translate(_WITHOUT_DOTS):
        return written
    return stressed
