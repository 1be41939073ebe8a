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
from speech.trim import fade_out

MOST_WORDS = 3
# Scripts without spaces between words: two characters count as one.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]{1,2}+|[[\p{L}\p{M}\p{N}'’-]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]++",
    regex.V1,
)
_SPACELESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
REACH_S = 0.2  # the attention is somewhat ahead of the sound, or behind it
_FRAME_S = 0.01


def context_for(text: str, language: str) -> str:
    """Returns what is to be spoken before a chunk of text, with the space after it; empty for longer ones."""
    if len(_WORD.findall(text)) > MOST_WORDS:
        return ""
    sentence = calibration_sentence(language)
    return sentence if _SPACELESS.search(sentence) else f"{sentence} "


def context_end_s(alignment: Alignment, context: str) -> float | None:
    """Returns when the context has been said, in seconds; None where the alignment does not tell.

    alignment: of the context with the text behind it.
    """
    places, times_s = zip(*[(0, 0.0), *alignment.character_times()], strict=True)
    if len(context) >= places[-1]:
        return None
    end_s = float(np.interp(len(context), places, times_s))
    return end_s if end_s < times_s[-1] else None


def cut_context(
    samples: NDArray[np.float32], sample_rate_hz: int, end_s: float
) -> tuple[NDArray[np.float32], float]:
    """Returns the samples behind the context, faded in over 20 ms, and the second at which they begin.

    samples: float32 [n]. The cut is at the quietest 10 ms within 0.2 s of where the context ends.
    """
    frame = round(_FRAME_S * sample_rate_hz)
    first = max(0, round((end_s - REACH_S) / _FRAME_S))
    last = min(len(samples) // frame, round((end_s + REACH_S) / _FRAME_S))
    if last <= first:
        start = min(len(samples), max(0, round(end_s * sample_rate_hz)))
    else:
        frames = samples[first * frame : last * frame].reshape(-1, frame)
        start = (first + int(np.argmin(np.square(frames, dtype=np.float64).mean(axis=1)))) * frame
    return fade_out(samples[start:][::-1], sample_rate_hz)[::-1], start / sample_rate_hz
