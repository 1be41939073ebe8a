"""Context for very short texts: a sentence that is spoken before them and cut away again.

Models say a text of one to three words badly when it stands alone. Where T3's attention tells when each text
token is said, such a text can be spoken after a whole sentence, which is cut away at the border between the
two. numpy alone.
"""

from __future__ import annotations

import numpy as np
import regex
from numpy.typing import NDArray

from speech.contract import Alignment
from speech.text.calibration import calibration_sentence
from speech.text.duration import estimate_duration_s
from speech.trim import fade_out

MOST_WORDS = 3
# Scripts without spaces between words: two characters count as one.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]{1,2}+|[[\p{L}\p{M}\p{N}'’-]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]++",
    regex.V1,
)
_SPACELESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
# What is left is the text if it is not much shorter than its estimate, nor much softer than the context.
LEAST_SHARE, LEAST_S, LEAST_LEVEL = 0.4, 0.15, 0.1
REACH_S = 0.2  # the attention is somewhat ahead of the sound, or behind it
_FRAME_S = 0.01


def context_for(text: str, language: str) -> str:
    """Returns what is to be spoken before a chunk of text, with the space after it; empty for longer ones."""
    if len(_WORD.findall(text)) > MOST_WORDS:
        return ""
    sentence = calibration_sentence(language)
    return sentence if _SPACELESS.search(sentence) else f"{sentence} "


def border_s(alignment: Alignment, context: str) -> tuple[float, float] | None:
    """Returns when the context has been said, and when half of the text behind it has, in seconds.

    alignment: of the context with the text behind it. None where it does not tell.
    """
    places, times_s = zip(*[(0, 0.0), *alignment.character_times()], strict=True)
    if len(context) >= places[-1]:
        return None
    end_s, middle_s = np.interp([len(context), (len(context) + places[-1]) / 2], places, times_s)
    return (float(end_s), float(middle_s)) if end_s < middle_s else None


def cut_context(
    samples: NDArray[np.float32], sample_rate_hz: int, end_s: float, middle_s: float
) -> tuple[NDArray[np.float32], float]:
    """Returns the samples behind the context, faded in over 20 ms, and the second at which they begin.

    samples: float32 [n]. end_s, middle_s: see ``border_s``. The cut is at the quietest 10 ms within 0.2 s of
    where the context ends, and before the middle of the text.
    """
    frame = round(_FRAME_S * sample_rate_hz)
    first = max(0, round((end_s - REACH_S) / _FRAME_S))
    last = min(len(samples) // frame, round(min(end_s + REACH_S, middle_s) / _FRAME_S))
    if last <= first:
        start = min(len(samples), max(0, round(end_s * sample_rate_hz)))
    else:
        frames = samples[first * frame : last * frame].reshape(-1, frame)
        start = (first + int(np.argmin(np.square(frames, dtype=np.float64).mean(axis=1)))) * frame
    return fade_out(samples[start:][::-1], sample_rate_hz)[::-1], start / sample_rate_hz


def is_whole(cut: NDArray[np.float32], samples: NDArray[np.float32], sample_rate_hz: int, text: str) -> bool:
    """Whether what is left behind the context can be the text: long and loud enough.

    cut, samples: float32 [n], with and without the cut. text: of the chunk.
    """
    least_s = max(LEAST_S, LEAST_SHARE * estimate_duration_s(text))
    if len(cut) < least_s * sample_rate_hz:
        return False
    return float(np.abs(cut).max(initial=0)) >= LEAST_LEVEL * float(np.abs(samples).max(initial=0))
