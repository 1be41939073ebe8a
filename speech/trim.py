"""The ends of a chunk's audio: noise after the last word is cut, and cuts are faded. numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

FADE_S = 0.02
FRAME_S = 0.02
KEPT_TAIL_S = 0.12  # what follows the last sound: a word's decay and a breath of room
SILENCE_BELOW_SPEECH_DB = 40.0
# A short sound after a clear gap, well below the speech, is the click or breath that the model
# likes to end on. A last word is as loud as the others, or follows without such a gap.
STRAY_GAP_S = 0.35
STRAY_LENGTH_S = 0.3
STRAY_BELOW_SPEECH_DB = 12.0
_SILENT_END, _END_SAMPLES = 1e-3, 24


def cut_trailing_noise(samples: Samples, sample_rate_hz: int) -> Samples:
    """Returns the samples without what the model adds after the last word: near silence, and stray sounds.

    samples: float32 [n]. Returns the very same array when there is nothing to cut; else it ends in a fade of
    20 ms.
    """
    kept = _last_sound_end(samples, sample_rate_hz) + round(KEPT_TAIL_S * sample_rate_hz)
    return samples if kept >= len(samples) else fade_out(samples[:kept], sample_rate_hz)


class TailCutter:
    """Cuts trailing noise from audio that comes in pieces: ``cut_trailing_noise``.

    What may turn out to be trailing noise is held back until a sound follows it or the audio ends. A piece
    that was returned is never taken back, so that more may be left than of the whole audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._audio = np.zeros(0, np.float32)
        self._done = 0  # samples that were returned

    def add(self, samples: Samples, *, is_last: bool) -> Samples:
        """Returns what of the audio so far is certain to stay and was not yet returned, float32 [n]."""
        self._audio = np.concatenate([self._audio, samples]) if len(self._audio) else samples
        if is_last:
            audio = cut_trailing_noise(self._audio, self._sample_rate_hz)
            return audio[self._done :] if len(audio) > self._done else self._faded_rest()
        end = _last_sound_end(self._audio, self._sample_rate_hz) - round(FADE_S * self._sample_rate_hz)
        new = self._audio[self._done : max(end, self._done)]
        self._done += len(new)
        return new

    def _faded_rest(self) -> Samples:
        """What follows a sound that was taken for speech when it came: just a fade."""
        rest = self._audio[self._done :][: round(FADE_S * self._sample_rate_hz)]
        return fade_out(rest, self._sample_rate_hz)


def _last_sound_end(samples: Samples, sample_rate_hz: int) -> int:
    """Returns the sample after the last sound that is speech; the last one without a whole frame."""
    frame = round(FRAME_S * sample_rate_hz)
    count = len(samples) // frame
    if count == 0:
        return len(samples)
    power = np.square(samples[: count * frame].reshape(count, frame), dtype=np.float64).mean(axis=1)
    level_db = 10 * np.log10(np.maximum(power, 1e-12))
    speech_db = float(np.percentile(level_db, 90))
    sounding = np.flatnonzero(level_db > speech_db - SILENCE_BELOW_SPEECH_DB)
    end = sounding[-1] + 1

    # Frames between two sounds are a gap; look at what follows the last long one.
    gaps = np.flatnonzero(np.diff(sounding) > STRAY_GAP_S / FRAME_S)
    if len(gaps):
        stray_start = sounding[gaps[-1] + 1]
        is_short = (end - stray_start) * FRAME_S <= STRAY_LENGTH_S
        is_faint = level_db[stray_start:end].max() < speech_db - STRAY_BELOW_SPEECH_DB
        if is_short and is_faint:
            end = sounding[gaps[-1]] + 1
    return int(end * frame)


def fade_out(samples: Samples, sample_rate_hz: int) -> Samples:
    """Returns a copy whose last 20 ms fall to zero along a cosine."""
    length = min(round(FADE_S * sample_rate_hz), len(samples))
    faded = samples.copy()
    faded[len(samples) - length :] *= (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, length))).astype(np.float32)
    return faded


def decay_of(samples: Samples, sample_rate_hz: int) -> Samples:
    """Returns 20 ms that lead from the end of the samples to silence: the end backwards, faded out.

    Zeros where the samples end in silence.
    """
    end_backwards = samples[: -1 - round(FADE_S * sample_rate_hz) : -1]
    return (
        np.zeros_like(end_backwards) if ends_in_silence(samples) else fade_out(end_backwards, sample_rate_hz)
    )


def ends_in_silence(samples: Samples) -> bool:
    """True for samples that end below -60 dBFS, as those do that were faded."""
    end = samples[-_END_SAMPLES:]
    return not len(end) or float(np.sqrt(np.mean(np.square(end)))) < _SILENT_END
