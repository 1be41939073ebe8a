"""Voice activity detection by energy and spectrum, without a model: where a recording may hold speech.

The features are chosen to tell only what certainly is not speech. Figures in this file come from real
and synthetic speech: clean, at 0 dB to noise, through a telephone, clipped, whispered, behind music.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.waveform import Waveform

FRAME_S = 0.032  # short enough to see a plosive, long enough to tell harmonics of 100 Hz apart
HOP_S = 0.010
DIGITAL_SILENCE_DBFS = -120.0
# 16-bit recordings end near -96 dBFS; speech 50 dB too quiet still passes, an open input does not.
SILENT_BELOW_DBFS = -70.0

# Rumble lies below, and above it only telephones' missing half and the top of hisses.
_BAND_HZ = (100.0, 8_000.0)
# Loud is what the recording reaches for this long in all: a click or a knock is over sooner.
_LOUD_S = 0.3
_ACTIVE_BELOW_LOUD_DB = 30.0  # weak consonants; further down are breath and room
_ACTIVE_ABOVE_FLOOR_DB = 6.0
_FLOOR_PERCENTILE = 10
_MAX_GAP_S = 0.3  # closures and breaths within speech; longer is a pause
_MIN_SEGMENT_S = 0.1  # a syllable takes longer, a click does not

_SHAPE_LOW_HZ, _SHAPE_HIGH_HZ, _SHAPE_STEP_HZ = 200, 3_800, 300  # what even a telephone carries
_SHAPE_RANGE_DB = 40.0
_TREBLE_ABOVE_HZ, _TREBLE_BELOW_HZ = 4_000, 12_000
_SIBILANTS_PERCENTILE = 95
_PARTIALS = 2
_HANN_LOBE_BINS = 2


@dataclass(frozen=True, eq=False)
class SpeechActivity:
    """Measurements of a recording by frames of ``FRAME_S``, one each ``HOP_S``."""

    level_dbfs: NDArray[np.float32]  # [frames], RMS between 100 Hz and 8 kHz; a full-scale sine has -3
    loud_dbfs: float  # the level exceeded for 0.3 s in all
    floor_dbfs: float  # the level that a tenth of the frames stays below
    active: NDArray[np.bool_]  # [frames]
    speech_s: (
        float  # seconds of active segments, with short gaps and without segments shorter than a syllable
    )
    # Share of active frames in those seconds: clean speech has 0.8 and more, speech in louder noise 0.5, a
    # ticking clock under 0.3.
    active_share: float
    # Median distance of an active frame's spectrum from the usual one: noise has 1.7 to 2, tones and hums
    # near 0, speech 4 to 11.
    shape_spread_db: float
    # In a twentieth of the active frames at least this share of the power lies above 4 kHz: the sibilants of
    # speech have 0.12 and more, those of a telephone less than 1e-7.
    treble_share: float
    # In three quarters of the active frames the two strongest partials hold at least this share of the power:
    # tones, whistles and key pads have 1, speech up to 0.75.
    partials_share: float


def frame_counts(sample_rate_hz: int) -> tuple[int, int]:
    """Returns the numbers of samples in a frame and from one frame to the next."""
    return round(FRAME_S * sample_rate_hz), round(HOP_S * sample_rate_hz)


def measure_levels(waveform: Waveform) -> tuple[NDArray[np.float32], float]:
    """Returns ``level_dbfs`` and ``loud_dbfs`` of ``SpeechActivity``."""
    level_dbfs = _level_dbfs(_power_spectra(waveform))
    return level_dbfs, _loud_dbfs(level_dbfs)


def detect_speech(waveform: Waveform) -> SpeechActivity:
    """Measures a recording of any length; 120 s take about 100 MB."""
    spectra = _power_spectra(waveform)
    level_dbfs = _level_dbfs(spectra)
    loud_dbfs = _loud_dbfs(level_dbfs)
    floor_dbfs = float(np.percentile(level_dbfs, _FLOOR_PERCENTILE))
    # In a steady sound floor and loud nearly meet: halfway keeps the threshold between them.
    above_floor_dbfs = min(floor_dbfs + _ACTIVE_ABOVE_FLOOR_DB, (floor_dbfs + loud_dbfs) / 2)
    active = level_dbfs >= max(loud_dbfs - _ACTIVE_BELOW_LOUD_DB, above_floor_dbfs)
    active &= level_dbfs > DIGITAL_SILENCE_DBFS
    speech_s, active_share = _measure_segments(active)
    return SpeechActivity(
        level_dbfs=level_dbfs,
        loud_dbfs=loud_dbfs,
        floor_dbfs=floor_dbfs,
        active=active,
        speech_s=speech_s,
        active_share=active_share,
        shape_spread_db=_shape_spread_db(spectra[active]),
        treble_share=_treble_share(spectra[active]),
        partials_share=_partials_share(spectra[active]),
    )


def _power_spectra(waveform: Waveform) -> NDArray[np.float32]:
    """Computes power by frame and frequency: float32 [frames, bins], bins 31.25 Hz apart from 0 Hz on.

    Only whole frames count, so that cutting at a hop leaves the others as they were; audio shorter
    than a frame is filled up with zeros. Each frame's mean is taken off: an offset is no sound.
    """
    frame_samples, hop_samples = frame_counts(waveform.sample_rate_hz)
    samples = waveform.samples
    if len(samples) < frame_samples:
        samples = np.pad(samples, (0, frame_samples - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame_samples)[::hop_samples]
    window = np.hanning(frame_samples + 1)[:-1].astype(np.float32)
    spectra = np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window)
    # Parseval for one side of the spectrum, the window's own power taken out.
    scale = 2.0 / (frame_samples * float(np.square(window).sum()))
    power: NDArray[np.float32] = np.square(np.abs(spectra)).astype(np.float32) * np.float32(scale)
    return power


def _bins(low_hz: float, high_hz: float) -> slice:
    return slice(round(low_hz * FRAME_S), round(high_hz * FRAME_S))


def _level_dbfs(spectra: NDArray[np.float32]) -> NDArray[np.float32]:
    power = spectra[:, _bins(*_BAND_HZ)].sum(axis=1)
    level_dbfs: NDArray[np.float32] = 10 * np.log10(power + np.float32(1e-20))
    return np.maximum(level_dbfs, np.float32(DIGITAL_SILENCE_DBFS))


def _loud_dbfs(level_dbfs: NDArray[np.float32]) -> float:
    """Returns the level that the audio exceeds for 0.3 s, or its lowest when it is shorter than that."""
    rank = min(round(_LOUD_S / HOP_S), len(level_dbfs) - 1)
    return float(np.sort(level_dbfs)[::-1][rank])


def _measure_segments(active: NDArray[np.bool_]) -> tuple[float, float]:
    """Returns ``speech_s`` and ``active_share`` of ``SpeechActivity``; both 0 where there are no segments."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.view(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) == 0:
        return 0.0, 0.0
    is_pause = (starts[1:] - ends[:-1]) * HOP_S > _MAX_GAP_S
    starts, ends = starts[np.append(True, is_pause)], ends[np.append(is_pause, True)]
    long_enough = (ends - starts) * HOP_S >= _MIN_SEGMENT_S
    starts, ends = starts[long_enough], ends[long_enough]
    frames = int((ends - starts).sum())
    if frames == 0:
        return 0.0, 0.0
    active_before = np.concatenate([[0], np.cumsum(active)])
    return frames * HOP_S, float((active_before[ends] - active_before[starts]).sum()) / frames


def _shape_spread_db(spectra: NDArray[np.float32]) -> float:
    """Computes ``SpeechActivity.shape_spread_db``, independent of loudness.

    Band powers in dB, each frame's own mean taken off; then the RMS over the bands of the distance to the
    median frame; then the median over the frames.
    """
    if len(spectra) == 0:
        return 0.0
    lows_hz = range(_SHAPE_LOW_HZ, _SHAPE_HIGH_HZ, _SHAPE_STEP_HZ)
    powers = np.stack([spectra[:, _bins(low, low + _SHAPE_STEP_HZ)].sum(axis=1) for low in lows_hz], axis=1)
    # Far below the strongest band there are only leakage and the codec's leavings.
    audible = np.maximum(powers, powers.max(axis=1, keepdims=True) * 10 ** (-_SHAPE_RANGE_DB / 10))
    shapes_db = 10 * np.log10(audible + np.float32(1e-20))
    shapes_db -= shapes_db.mean(axis=1, keepdims=True)
    distances_db = np.sqrt(np.square(shapes_db - np.median(shapes_db, axis=0)).mean(axis=1))
    return float(np.median(distances_db))


def _treble_share(spectra: NDArray[np.float32]) -> float:
    if len(spectra) == 0:
        return 0.0
    shares = spectra[:, _bins(_TREBLE_ABOVE_HZ, _TREBLE_BELOW_HZ)].sum(axis=1) / spectra.sum(axis=1)
    return float(np.percentile(shares, _SIBILANTS_PERCENTILE))


def _partials_share(spectra: NDArray[np.float32]) -> float:
    if len(spectra) == 0:
        return 0.0
    band = spectra[:, _bins(*_BAND_HZ)].copy()
    total = band.sum(axis=1)
    rows = np.arange(len(band))
    found = np.zeros_like(total)
    for _ in range(_PARTIALS):
        strongest = band.argmax(axis=1)
        for offset in range(-_HANN_LOBE_BINS, _HANN_LOBE_BINS + 1):
            bins = np.clip(strongest + offset, 0, band.shape[1] - 1)
            found += band[rows, bins]
            band[rows, bins] = 0.0
    return float(np.percentile(found / total, 25))
