"""Ears measure what a listener notices about speech: words, whose voice it is, silences, clicks.

The recogniser (PocketSphinx) and the speaker encoder (Resemblyzer) bring their weights in their packages.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from audio.waveform import Waveform, resample
from benchmarks.sentences import sentences as sentences  # part of this module for those who listen

_EARS_RATE_HZ = 16_000  # of the recogniser and of the speaker encoder
# A path through a grammar of whole sentences cannot leave one for another: with the beams that dictation has,
# the right one is often cut off before its end, and nothing or a wrong one is left.
_WIDE_BEAMS = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80}
_PAUSE_S, _PAUSE_LEVEL = 0.3, 1e-4
_FRAME_S = 0.01
_LEAST_SPEECH_S = 0.3  # that tells whose it is
_SILENCE_DB = -40.0  # below the loudest hundredth of the frames
_CLICK_DB = 9.0
_CLICK_FRAME_S, _CLICK_HOP_S = 0.004, 0.001
_CLICK_FLOOR_DBFS = -75.0  # of one frequency in one frame; what is softer is inaudible
_CLICK_BANDS = 0.5
_CLICK_FROM_HZ = 3_000  # voices are loudest below


def words_of(text: str) -> list[str]:
    """Splits a text as the recogniser writes: lower case, without marks but the apostrophe within a word.

    Digits and letters with accents, which it never writes, are words, too.
    """
    return re.findall(r"\w+(?:'\w+)*", text.lower().replace("’", "'"))


def word_errors(said: Sequence[str], meant: Sequence[str]) -> int:
    """Counts the words to insert, to delete and to replace: the Levenshtein distance."""
    costs = list(range(len(meant) + 1))
    for row, word in enumerate(said, start=1):
        diagonal, costs[0] = costs[0], row
        for column, expected in enumerate(meant, start=1):
            best = min(costs[column] + 1, costs[column - 1] + 1, diagonal + (word != expected))
            diagonal, costs[column] = costs[column], best
    return costs[-1]


class Recogniser:
    """A recogniser writes down what is said: PocketSphinx with its model of American English."""

    def __init__(self) -> None:
        self._dictation = pocketsphinx.Decoder(samprate=_EARS_RATE_HZ, loglevel="FATAL")
        self._closed_set = pocketsphinx.Decoder(
            samprate=_EARS_RATE_HZ, lm=None, loglevel="FATAL", **_WIDE_BEAMS
        )

    def transcribe(self, waveform: Waveform) -> str:
        """Writes down what is said, in lower case; the empty string for what is no speech."""
        return _decode(self._dictation, waveform)

    def choose(self, waveform: Waveform, choices: Sequence[str]) -> int | None:
        """Says which of some sentences is spoken, to its last word; None where no whole one fits.

        Speech that is none of them may be taken for one. Every word must be in the recogniser's dictionary.
        Raises ValueError otherwise.
        """
        texts = [" ".join(words_of(choice)) for choice in choices]
        grammar = f"#JSGF V1.0; grammar closed; public <sentence> = {' | '.join(texts)};"
        self._closed_set.add_jsgf_string("closed", grammar)
        self._closed_set.activate_search("closed")
        transcript = _decode(self._closed_set, _with_pause(waveform))
        return texts.index(transcript) if transcript in texts else None

    def knows(self, text: str) -> bool:
        """Says whether a text has words, all of them in the recogniser's dictionary."""
        words = words_of(text)
        return bool(words) and all(self._dictation.lookup_word(word) is not None for word in words)


def _with_pause(waveform: Waveform) -> Waveform:
    """Returns speech and a pause after it, in which the last word of a sentence can end."""
    count = round(_PAUSE_S * waveform.sample_rate_hz)
    pause = np.random.default_rng(0).normal(0.0, _PAUSE_LEVEL, count).astype(np.float32)
    return Waveform(np.concatenate([waveform.samples, pause]), waveform.sample_rate_hz)


def _decode(decoder: pocketsphinx.Decoder, waveform: Waveform) -> str:
    """Decodes with the decoder's current search."""
    samples = resample(waveform, _EARS_RATE_HZ).samples
    data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    # The recogniser adapts to the level and colour of what it hears: each recording starts afresh.
    decoder.reinit_feat()
    decoder.start_utt()
    if data:
        decoder.process_raw(data, full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


@functools.cache
def _speaker_encoder() -> Any:
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def speaker_embedding(waveform: Waveform) -> NDArray[np.float32] | None:
    """Returns Resemblyzer's embedding of the speaker, [256], of length 1; None where nobody speaks."""
    from resemblyzer import preprocess_wav

    if not np.any(waveform.samples):  # the level of silence cannot be raised
        return None
    samples = preprocess_wav(resample(waveform, _EARS_RATE_HZ).samples, source_sr=_EARS_RATE_HZ)
    if len(samples) < _LEAST_SPEECH_S * _EARS_RATE_HZ:  # after its silence is cut out
        return None
    embedding: NDArray[np.float32] = _speaker_encoder().embed_utterance(samples)
    return embedding


@dataclass(frozen=True)
class Silences:
    """Silences are what is not spoken before, within and after speech."""

    lead_s: float
    longest_pause_s: float
    tail_s: float


def silences(waveform: Waveform) -> Silences:
    """Measures silence in frames of 10 ms; a recording without a sound is all lead."""
    size = round(_FRAME_S * waveform.sample_rate_hz)
    count = len(waveform.samples) // size
    if count == 0:
        return Silences(waveform.duration_s, 0.0, 0.0)
    frames = waveform.samples[: count * size].reshape(count, size)
    level_db = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    loudest_db = np.percentile(level_db, 99)
    audible = np.flatnonzero(level_db > max(loudest_db + _SILENCE_DB, -80.0))
    if len(audible) == 0:
        return Silences(waveform.duration_s, 0.0, 0.0)
    longest = int(np.diff(audible).max(initial=1)) - 1
    return Silences(
        lead_s=float(audible[0] * _FRAME_S),
        longest_pause_s=longest * _FRAME_S,
        tail_s=float((count - 1 - audible[-1]) * _FRAME_S),
    )


def clicks(waveform: Waveform) -> list[float]:
    """Finds clicks by their spectral flux. Returns their times in seconds.

    A click raises most frequencies above 3 kHz for one frame of 4 ms, by 9 dB over what was there shortly
    before and over what is there shortly after. The burst of a consonant does not: noise follows it.
    """
    rate = waveform.sample_rate_hz
    size, hop = round(_CLICK_FRAME_S * rate), round(_CLICK_HOP_S * rate)
    near, reach = 5, 8  # hops: the first frames without a sample in common, and the last that count
    padding = size + reach * hop  # so that the first and the last sample are in the middle of a frame
    samples = np.pad(waveform.samples, padding)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop] * np.hanning(size)
    level_db = 20 * np.log10(np.abs(np.fft.rfft(frames, axis=1)) / (size / 4) + 1e-10)
    level_db = np.maximum(level_db[:, np.fft.rfftfreq(size, 1 / rate) >= _CLICK_FROM_HZ], _CLICK_FLOOR_DBFS)
    found: list[float] = []
    for at in range(reach, len(level_db) - reach):
        around = np.maximum(
            level_db[at - reach : at - near + 1].max(axis=0), level_db[at + near : at + reach + 1].max(axis=0)
        )
        if np.mean(level_db[at] > around + _CLICK_DB) >= _CLICK_BANDS:
            time_s = (at * hop + size / 2 - padding) / rate
            if not found or time_s - found[-1] > 2 * _CLICK_FRAME_S:
                found.append(time_s)
    return found
