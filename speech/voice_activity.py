"""Tells recordings of speech from music and other sounds, by the network of silero-vad.

``audio.vad`` measures energy and spectra, which music and the sounds of animals and machines share with
speech. The network, 1.2 MB, was trained to tell them apart, in any language.
"""

from __future__ import annotations

import copy
import functools
import threading
from typing import TYPE_CHECKING, cast

import numpy as np

from audio.waveform import Waveform, resample

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

_RATE_HZ = 16_000
_WINDOW = 512  # samples: what the network takes at a time
_WINDOW_S = _WINDOW / _RATE_HZ

# Shares of the active time, measured on recordings: 18 of music without a singer, and of animals, have 0.00
# to 0.09. Speech has 0.9 and more, also whispered, at 0 dB to noise or music, or through a telephone; an old
# and noisy recording that was then whispered, slowed to half or moved by a fifth, 0.2 and more.
_MAYBE_SPEECH, _LEAST_SHARE = 0.1, 0.1
# A phrase in a long recording of something else, without a gap. Vibes reach 0.7 s, clear speech 2 to 6.
_CERTAINLY_SPEECH, _PHRASE_S = 0.5, 1.0

_loading = threading.Lock()


def contains_speech(waveform: Waveform, active_s: float) -> bool:
    """Returns whether a recording contains speech, be it sung, or sounds that are much like it.

    waveform: of any rate, at least 32 ms. active_s: how long it is not silent, in seconds, as
    ``audio.vad.SpeechActivity.speech_s``. Thread-safe. Takes 0.4 ms of a CPU for each 32 ms it looks at: the
    whole of music, of speech the first seconds. The first call of a process loads the network: 0.2 s.
    """
    import torch

    samples = torch.from_numpy(np.require(resample(waveform, _RATE_HZ).samples, requirements="W"))
    with _loading:
        network = copy.deepcopy(_network())  # it holds the state of one recording
    maybe_s = phrase_s = 0.0
    with torch.inference_mode():
        for start in range(0, len(samples) - _WINDOW + 1, _WINDOW):
            probability = float(network(samples[start : start + _WINDOW], _RATE_HZ))
            maybe_s += _WINDOW_S * (probability > _MAYBE_SPEECH)
            phrase_s = phrase_s + _WINDOW_S if probability > _CERTAINLY_SPEECH else 0.0
            if maybe_s >= _LEAST_SHARE * active_s or phrase_s >= _PHRASE_S:
                return True
    return False


@functools.cache
def _network() -> torch.jit.ScriptModule:
    """Loads the network. It is called with 512 samples and their rate, and gives a probability."""
    import torch

    threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad
    finally:
        torch.set_num_threads(threads)  # which the package sets to one, for all of the process
    return cast("Callable[[], torch.jit.ScriptModule]", load_silero_vad)()
