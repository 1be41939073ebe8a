"""Joins the best parts of several recordings of one speaker to one recording. numpy alone.

Recordings are cut at pauses into passages, which are compared by what ``audio.quality`` measures. Chatterbox
hears the first 10 s of a recording when it renders and the first 6 or 15 s when it chooses tokens, so that
the joined recording begins with its best passages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from audio.leveling import Level
from audio.loudness import LUFS_TARGET
from audio.pauses import GRID_S, cut_at_pauses, quietest_place
from audio.quality import Quality, check_reference, check_speech, is_clipped, measure_quality, sound_bounds
from audio.vad import detect_speech, measure_levels
from audio.waveform import Waveform
from cancel import CancelToken
from errors import ReferenceInvalid, ReferenceTooShort

MAX_SAMPLES = 5  # recordings of one voice
PASSAGE_S = 6.0  # the longest; the shortest are half as long, but for a recording's last
OPENING_S = 10.0  # what the model's renderer hears
GAP_S = 0.15  # of silence between passages that did not follow each other
FADE_S = 0.02
LITTLE_S = 1.0  # of a single recording that is cut off at its end, not torn apart for
LEAST_CUT_S = 1.0  # of a passage that is cut to the room that is left; with less room nothing more is taken
CUT_WITHIN_S = 1.0  # before the limit, for a pause to cut at
# With so much speech, passages are left out that are worse than the best by so much: noise becomes part of
# the voice.
ENOUGH_SPEECH_S = 10.0
WORSE_BY_DB = 6.0

# Differences that nobody hears do not tear recordings apart: more than 30 dB of signal to noise, and steps
# of less than 3 dB.
_CLEAN_SNR_DB = 30.0
_SCORE_STEP_DB = 3.0
_LEAST_DENSITY = 1e-3  # seconds of speech in a second
_FLOOR_PERCENTILE = 3.0  # of frames, 0.1 to 0.2 s of a passage: half the pauses at its ends
# Clipping and the sound of a telephone weigh as much as ten times the noise.
_FLAW_DB = 10.0
_TELEPHONE_BELOW_TREBLE_SHARE = 1e-4
# Gains are whole steps, so that machines whose arithmetic differs in the last bit join the same samples.
_GAIN_STEP_DB = 0.1


@dataclass(frozen=True)
class Part:
    """A stretch of a recording that was taken. Times in seconds."""

    recording: int  # its index
    start_s: float  # in that recording
    end_s: float
    at_s: float  # where it begins in the joined one


@dataclass(frozen=True, eq=False)
class JoinedSamples:
    """A recording made of parts of others."""

    waveform: Waveform
    parts: tuple[Part, ...]  # in the order in which they follow each other


@dataclass(frozen=True)
class _Passage:
    """A stretch of a recording between pauses. start, end: in samples."""

    recording: int
    start: int
    end: int
    speech_s: float
    score_db: float  # signal to noise up to what an ear can tell, less what else is wrong
    is_cut: bool = False  # at its end, to the room that was left

    def is_followed_by(self, other: _Passage) -> bool:
        return (other.recording, other.start) == (self.recording, self.end)


def join_best(
    recordings: Sequence[Waveform], max_s: float, cancel: CancelToken | None = None
) -> JoinedSamples:
    """Returns the best of recordings of one speaker, at most ``max_s`` long.

    One recording that is short enough stays as it is, but for the silence around it. Of others whole passages
    are taken, the best first, and the beginning of the last one where it does not fit; no much worse ones
    once there are 10 s of speech. They keep their order, turned so that the best 10 s come first. Several
    recordings are brought to the loudness of the loudest, or to -16 LUFS where that is louder, as far as
    their peaks stay below -1 dBFS: encoders of speakers hear another voice in a quiet recording. Where
    passages did not follow each other they are faded, with 0.15 s of silence between. Where all this is no
    voice (see ``check_reference``), the beginning of a recording is returned if that is one.

    recordings: at least one, all at one rate, with speech in each; see ``check_reference``. Two minutes take
    a second or two. Raises Cancelled.
    """
    rate_hz = recordings[0].sample_rate_hz
    bounds = [sound_bounds(recording) for recording in recordings]
    if len(recordings) == 1:
        start, end = bounds[0]
        if end - start <= (max_s + LITTLE_S) * rate_hz:
            end = min(end, start + round(max_s * rate_hz))
            return _cut_out(recordings, 0, start, end)
    passages = [
        passage
        for index, recording in enumerate(recordings)
        for passage in _passages(recording, index, bounds[index], max_s, cancel or CancelToken())
    ]
    chosen = _choose(passages, recordings, max_s)
    joined = _joined(_runs(_best_first(chosen, rate_hz)), recordings)
    if _is_voice(joined.waveform):
        return joined
    return _best_beginning(recordings, bounds, max_s) or joined


def _passages(
    recording: Waveform, index: int, bounds: tuple[int, int], max_s: float, cancel: CancelToken
) -> list[_Passage]:
    """Returns the passages of a recording that hold speech, or all if none does. bounds: of its sound."""
    rate_hz = recording.sample_rate_hz
    sound = Waveform(recording.samples[slice(*bounds)], rate_hz)
    whole = measure_quality(sound)
    is_telephone = detect_speech(sound).treble_share < _TELEPHONE_BELOW_TREBLE_SHARE
    passages, others = [], []
    end = bounds[0]
    for piece in cut_at_pauses(sound, min(PASSAGE_S, max_s)):
        cancel.raise_if_cancelled()
        start, end = end, end + len(piece.waveform.samples)
        quality = measure_quality(piece.waveform)
        flaws = is_telephone + (is_clipped(whole) and is_clipped(quality))
        score_db = _score_db(piece.waveform, quality, flaws)
        passage = _Passage(index, start, end, quality.speech_s, score_db)
        try:
            check_speech(piece.waveform, "")
            passages.append(passage)
        except ReferenceInvalid:
            others.append(passage)
    return passages or others


def _score_db(passage: Waveform, quality: Quality, flaws: int) -> float:
    snr_db = _CLEAN_SNR_DB
    if quality.snr_db is not None and quality.noise_floor_dbfs is not None:
        # Pauses may be less than the tenth of a passage that the quality goes by.
        floor_dbfs = float(np.percentile(measure_levels(passage)[0], _FLOOR_PERCENTILE))
        snr_db = min(snr_db, quality.snr_db + quality.noise_floor_dbfs - floor_dbfs)
    density_db = 10 * math.log10(max(quality.speech_s / quality.duration_s, _LEAST_DENSITY))
    score_db = snr_db + density_db - _FLAW_DB * flaws
    return _SCORE_STEP_DB * round(score_db / _SCORE_STEP_DB)


def _choose(passages: Sequence[_Passage], recordings: Sequence[Waveform], max_s: float) -> list[_Passage]:
    """Returns the passages to be joined, in their order; the worst of them may be cut."""
    rate_hz = recordings[0].sample_rate_hz
    best_db = max(passage.score_db for passage in passages)
    gap = round(GAP_S * rate_hz)
    room, speech_s = round(max_s * rate_hz) + gap, 0.0
    chosen = dict[_Passage, _Passage]()
    for passage in sorted(passages, key=lambda one: -one.score_db):
        is_worse = passage.score_db < best_db - WORSE_BY_DB
        if is_worse and speech_s >= ENOUGH_SPEECH_S:
            break
        length = passage.end - passage.start + gap
        if length <= room:
            room -= length
            speech_s += passage.speech_s
            chosen[passage] = passage
        elif room - gap >= LEAST_CUT_S * rate_hz:
            chosen[passage] = _beginning(passage, recordings[passage.recording], room - gap)
            break
    return [chosen[passage] for passage in passages if passage in chosen]


def _beginning(passage: _Passage, recording: Waveform, longest: int) -> _Passage:
    """Returns the beginning of a passage, cut at the last good pause or at the limit. longest: in samples."""
    rate_hz = recording.sample_rate_hz
    step = round(GRID_S * rate_hz)
    last = longest // step
    first = max(last - round(CUT_WITHIN_S / GRID_S), 0)
    sound = Waveform(recording.samples[passage.start : passage.start + longest], rate_hz)
    place, is_pause = quietest_place(sound, first, last, step)
    length = place * step if is_pause else longest
    speech_s = passage.speech_s * length / (passage.end - passage.start)
    return replace(passage, end=passage.start + length, speech_s=speech_s, is_cut=True)


def _is_voice(waveform: Waveform) -> bool:
    try:
        check_reference(waveform)
    except (ReferenceInvalid, ReferenceTooShort):
        return False
    return True


def _best_beginning(
    recordings: Sequence[Waveform], bounds: Sequence[tuple[int, int]], max_s: float
) -> JoinedSamples | None:
    """Returns the beginning of a recording that has the most speech; None where none makes a voice."""
    longest = round(max_s * recordings[0].sample_rate_hz)
    beginnings = [
        _cut_out(recordings, index, start, min(end, start + longest))
        for index, (start, end) in enumerate(bounds)
    ]
    usable = [each for each in beginnings if _is_voice(each.waveform)]
    return max(usable, key=lambda each: detect_speech(each.waveform).speech_s, default=None)


def _best_first(passages: Sequence[_Passage], rate_hz: int) -> list[_Passage]:
    """Returns the passages turned like a wheel to where the first 10 s are best."""

    def merit(first: int) -> tuple[float, bool]:
        rest_s, score_s = OPENING_S, 0.0
        for passage in _turned(passages, first):
            heard_s = min((passage.end - passage.start) / rate_hz, rest_s)
            score_s += passage.score_db * heard_s
            rest_s -= heard_s
        mean_db = score_s / (OPENING_S - rest_s)
        # Of equals one that tears nothing apart, else the first.
        return round(mean_db), first == 0 or not passages[first - 1].is_followed_by(passages[first])

    return _turned(passages, max(range(len(passages)), key=merit))


def _turned(passages: Sequence[_Passage], first: int) -> list[_Passage]:
    return [*passages[first:], *passages[:first]]


def _runs(passages: Sequence[_Passage]) -> list[list[_Passage]]:
    """Returns the passages, those together that follow each other in their recording."""
    runs = [[passages[0]]]
    for before, passage in pairwise(passages):
        if before.is_followed_by(passage):
            runs[-1].append(passage)
        else:
            runs.append([passage])
    return runs


def _joined(runs: Sequence[Sequence[_Passage]], recordings: Sequence[Waveform]) -> JoinedSamples:
    rate_hz = recordings[0].sample_rate_hz
    gains = _gains(runs, recordings)
    gap = np.zeros(round(GAP_S * rate_hz), np.float32)
    pieces: list[NDArray[np.float32]] = []
    parts: list[Part] = []
    length = 0
    for number, run in enumerate(runs):
        index, start, end = run[0].recording, run[0].start, run[-1].end
        sound = sound_bounds(Waveform(recordings[index].samples[start:end], rate_hz))
        start, end = start + sound[0], start + sound[1]
        samples = recordings[index].samples[start:end] * np.float32(gains[index])
        if number > 0:
            pieces.append(gap)
            length += len(gap)
        fades_out = number + 1 < len(runs) or run[-1].is_cut
        if number > 0 or fades_out:
            samples = _faded(samples, rate_hz, at_start=number > 0, at_end=fades_out)
        parts.append(Part(index, start / rate_hz, end / rate_hz, length / rate_hz))
        pieces.append(samples)
        length += len(samples)
    return _trimmed(Waveform(np.concatenate(pieces), rate_hz), parts)


def _gains(runs: Sequence[Sequence[_Passage]], recordings: Sequence[Waveform]) -> dict[int, float]:
    """Returns, by index, the factors that bring what is taken of recordings to one loudness."""
    rate_hz = recordings[0].sample_rate_hz
    stretches: dict[int, list[NDArray[np.float32]]] = {}
    for passage in (passage for run in runs for passage in run):
        samples = recordings[passage.recording].samples[passage.start : passage.end]
        stretches.setdefault(passage.recording, []).append(samples)
    levels = {index: Level.of(Waveform(np.concatenate(each), rate_hz)) for index, each in stretches.items()}
    loudest_lufs = max((each.loudness_lufs for each in levels.values() if each.loudness_lufs), default=0.0)
    target_lufs = loudest_lufs if len(levels) == 1 else min(loudest_lufs, LUFS_TARGET)
    gains = {}
    for index, level in levels.items():
        gain_db = 0.0
        if level.loudness_lufs is not None:
            gain_db = min(target_lufs - level.loudness_lufs, level.headroom_db)
        gains[index] = 10 ** (_GAIN_STEP_DB * math.floor(gain_db / _GAIN_STEP_DB + 1e-6) / 20)
    return gains


def _faded(
    samples: NDArray[np.float32], rate_hz: int, *, at_start: bool, at_end: bool
) -> NDArray[np.float32]:
    """Returns a copy with linear fades of ``FADE_S``."""
    samples = samples.copy()
    ramp = np.linspace(0.0, 1.0, min(round(FADE_S * rate_hz), len(samples)), dtype=np.float32)
    if at_start:
        samples[: len(ramp)] *= ramp
    if at_end:
        samples[len(samples) - len(ramp) :] *= ramp[::-1]
    return samples


def _cut_out(recordings: Sequence[Waveform], index: int, start: int, end: int) -> JoinedSamples:
    """Returns a stretch of one recording, unchanged. start, end: in samples."""
    rate_hz = recordings[index].sample_rate_hz
    samples = np.ascontiguousarray(recordings[index].samples[start:end])
    return JoinedSamples(Waveform(samples, rate_hz), (Part(index, start / rate_hz, end / rate_hz, 0.0),))


def _trimmed(waveform: Waveform, parts: Sequence[Part]) -> JoinedSamples:
    """Returns the joined recording as ``trim_silence`` leaves it, so that it can be stored as it is.

    Its loudest parts decide what is silence around it.
    """
    rate_hz = waveform.sample_rate_hz
    start, end = sound_bounds(waveform)
    before_s, after_s = start / rate_hz, (len(waveform.samples) - end) / rate_hz
    moved = [replace(part, at_s=max(part.at_s - before_s, 0.0)) for part in parts]
    moved[0] = replace(moved[0], start_s=moved[0].start_s + before_s)
    moved[-1] = replace(moved[-1], end_s=moved[-1].end_s - after_s)
    return JoinedSamples(Waveform(np.ascontiguousarray(waveform.samples[start:end]), rate_hz), tuple(moved))
