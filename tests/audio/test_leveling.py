"""Stretches of speech come to one loudness, at once or as they come."""

from __future__ import annotations

from functools import cache
from itertools import accumulate, pairwise

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.leveling import LARGEST_CHANGE_DB, LARGEST_LOWERING_LU, Level, StreamLeveler, common_loudness_lufs
from audio.loudness import measure_loudness_lufs
from audio.waveform import Waveform
from tests.recordings import silence, speech_like, tone, white_noise

RATE_HZ = 24_000
CEILING = 10 ** (-1 / 20)


def factor(gain_db: float) -> np.float32:
    return np.float32(10 ** (gain_db / 20))


@cache
def babble(seed: int) -> np.ndarray:
    return speech_like(6.5, RATE_HZ, seed)


def speech(duration_s: float, seed: int, gain_db: float = 0.0) -> np.ndarray:
    return babble(seed)[: round(duration_s * RATE_HZ)] * factor(gain_db - 10)


def spiky(loudness_gain_db: float, peak: float = 0.85) -> np.ndarray:
    """Speech that is soft but for one loud sample."""
    samples = speech(2.0, 5, loudness_gain_db)
    samples[20_000] = peak
    return samples


def loudness_lufs(samples: np.ndarray) -> float:
    return pyloudnorm.Meter(RATE_HZ).integrated_loudness(samples.astype(np.float64))


def at_once(stretches: list[np.ndarray]) -> list[np.ndarray]:
    levels = [Level.of(Waveform(each, RATE_HZ)) for each in stretches]
    target_lufs = common_loudness_lufs(levels)
    return [each * factor(level.gain_to(target_lufs)) for each, level in zip(stretches, levels, strict=True)]


def streamed(stretches: list[np.ndarray], piece_s: float) -> tuple[list[np.ndarray], list[float | None]]:
    """The stretches, each in pieces, and by how much each ends up too loud."""
    leveler = StreamLeveler(RATE_HZ)
    leveled, excess = [], []
    for stretch in stretches:
        pieces = np.split(stretch, range(round(piece_s * RATE_HZ), len(stretch), round(piece_s * RATE_HZ)))
        ready = [leveler.add(piece, is_last=at + 1 == len(pieces)) for at, piece in enumerate(pieces)]
        leveled.append(np.concatenate([samples for samples, _ in ready]))
        assert [each for _, each in ready[:-1]] == [None] * (len(ready) - 1)
        excess.append(ready[-1][1])
    return leveled, excess


def gain_curve_db(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    is_loud = np.abs(before) > 1e-3
    return 20 * np.log10(after[is_loud] / before[is_loud])


UNEVEN = [
    speech(3.0, 1),
    speech(4.0, 2, -7.0),
    speech(2.5, 1, 3.0),
    speech(0.3, 3, -3.0),
    speech(5.0, 2, -5.0),
]


def test_all_are_brought_to_their_median():
    before = [loudness_lufs(np.resize(each, max(len(each), 9_600))) for each in UNEVEN]
    after = [loudness_lufs(np.resize(each, max(len(each), 9_600))) for each in at_once(UNEVEN)]
    assert max(before) - min(before) > 5
    assert after == pytest.approx([np.median(before)] * len(UNEVEN), abs=0.01)


def test_all_are_lowered_for_one_whose_peaks_leave_no_room():
    stretches = [speech(3.0, 1), spiky(-3.0), speech(3.0, 2)]
    leveled = at_once(stretches)
    after = [loudness_lufs(each) for each in leveled]
    assert max(after) - min(after) < 0.01
    assert max(np.abs(each).max() for each in leveled) <= CEILING + 1e-6
    assert loudness_lufs(stretches[0]) - after[0] < LARGEST_LOWERING_LU


def test_one_that_is_far_too_soft_lowers_no_other_and_is_raised_by_no_more_than_the_most():
    soft = speech(3.0, 1, -30.0)
    first, second, third = at_once([speech(3.0, 1), soft, speech(3.0, 2)])
    assert abs(loudness_lufs(first) - loudness_lufs(third)) < 0.01
    assert gain_curve_db(soft, second) == pytest.approx(LARGEST_CHANGE_DB, abs=0.01)


def test_a_peak_above_the_ceiling_is_no_reason_to_lower():
    assert Level.of(Waveform(spiky(-3.0, peak=1.0), RATE_HZ)).headroom_db == 0


@pytest.mark.parametrize("samples", [silence(0.0), silence(0.2), silence(2.0), white_noise(1.0, rms=1e-5)])
def test_silence_has_no_gain_and_counts_for_nothing(samples):
    level = Level.of(Waveform(samples, RATE_HZ))
    assert level.gain_to(-20.0) == 0
    assert common_loudness_lufs([level]) is None
    other = Level.of(Waveform(UNEVEN[0], RATE_HZ))
    assert common_loudness_lufs([level, other, level]) == pytest.approx(other.loudness_lufs)


@pytest.mark.parametrize("piece_s", [0.4, 0.7, 1.7, 100.0])
def test_a_stream_is_even_within_1_lu_and_its_first_stretch_unchanged(piece_s):
    stretches = [each for each in UNEVEN if len(each) > 0.4 * RATE_HZ]
    leveled, excess = streamed(stretches, piece_s)
    assert np.array_equal(leveled[0], stretches[0])
    assert list(map(len, leveled)) == list(map(len, stretches))
    after = [loudness_lufs(each) for each in leveled]
    assert max(after) - min(after) < 1
    assert excess[0] is None
    assert np.abs(excess[1:]).max() < 1


def test_a_stretch_of_a_stream_in_one_piece_has_one_gain():
    leveled, excess = streamed(UNEVEN, 100.0)
    for before, after in zip(UNEVEN, leveled, strict=True):
        assert np.ptp(gain_curve_db(before, after)) < 1e-3
    assert excess[1:] == pytest.approx([0.0] * 4, abs=1e-6)


def test_the_gain_of_a_stretch_in_pieces_changes_slowly():
    swelling = speech(6.0, 2) * np.linspace(0.1, 1.0, 6 * RATE_HZ, dtype=np.float32)
    (_, after), _ = streamed([speech(3.0, 1), swelling], 0.5)
    is_loud = np.abs(swelling) > 1e-3
    gains_db, times_s = gain_curve_db(swelling, after), np.flatnonzero(is_loud) / RATE_HZ
    later = np.searchsorted(times_s, times_s + 0.1)
    later, earlier = later[later < len(times_s)], np.flatnonzero(later < len(times_s))
    slopes = (gains_db[later] - gains_db[earlier]) / (times_s[later] - times_s[earlier])
    assert 5 < np.abs(slopes).max() < 6.01
    assert np.ptp(gains_db) > 3


def test_a_peak_in_a_later_piece_is_not_raised_above_the_ceiling():
    soft = speech(4.0, 2, -10.0)
    assert np.abs(soft).max() * factor(9) < CEILING
    for at in (40_000, 48_000, 48_001, 48_500, 90_000):  # pieces begin at multiples of 12,000
        peaky = soft.copy()
        peaky[at] = 0.8
        (_, after), _ = streamed([speech(3.0, 1), peaky], 0.5)
        assert np.abs(after).max() <= CEILING + 1e-4
        # 12 dB within 20 ms at the steepest, where neighbours are loud enough to tell.
        is_loud = np.abs(peaky) > 0.01
        steps_db = np.diff(gain_curve_db(np.where(is_loud, peaky, 1.0), np.where(is_loud, after, 1.0)))
        assert np.abs(steps_db[is_loud[1:] & is_loud[:-1]]).max() < 1.01 * 12 / (0.02 * RATE_HZ)


def test_what_is_silent_at_first_has_its_gain_with_its_first_sound():
    late = np.concatenate([silence(1.0), speech(2.0, 2, -8.0)])
    (first, after), _ = streamed([speech(3.0, 1), late], 0.5)
    assert loudness_lufs(after[RATE_HZ:]) == pytest.approx(loudness_lufs(first), abs=1)


def test_a_silent_first_stretch_is_no_measure_for_the_next():
    leveled, excess = streamed([silence(1.0), UNEVEN[0], UNEVEN[1]], 0.5)
    assert np.array_equal(leveled[1], UNEVEN[0])
    assert excess[:2] == [None, None]
    assert abs(excess[2]) < 1


def test_what_stays_too_soft_says_so():
    _, excess = streamed([speech(3.0, 1), speech(3.0, 2, -20.0)], 1.0)
    assert excess[1] == pytest.approx(-8, abs=1)


SIZES = st.lists(st.integers(0, 30_000), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-60, 15), SIZES, st.integers(0, 5), st.booleans()), min_size=1, max_size=4)
)
def test_no_sample_is_lost_or_raised_above_the_ceiling_however_it_comes(stretches):
    leveler = StreamLeveler(RATE_HZ)
    for gain_db, sizes, seed, has_peak in stretches:
        samples = speech(sum(sizes) / RATE_HZ, seed, gain_db).clip(-1, 1)
        if has_peak and len(samples):
            samples[len(samples) // 2] = 0.99
        ends = list(accumulate(sizes))
        pieces = [samples[start:end] for start, end in pairwise([0, *ends])]
        ready = [leveler.add(piece, is_last=at + 1 == len(pieces))[0] for at, piece in enumerate(pieces)]
        joined = np.concatenate(ready)
        assert joined.dtype == np.float32
        assert len(joined) == len(samples)
        assert np.all(np.abs(joined) <= np.maximum(np.abs(samples), CEILING) * 1.0001)
        assert all(sum(map(len, ready[: at + 1])) >= end - 0.03 * RATE_HZ for at, end in enumerate(ends)), (
            "held back for longer than 30 ms"
        )


def test_the_measure_is_that_of_pyloudnorm():
    for stretch in UNEVEN[:3]:
        assert measure_loudness_lufs(Waveform(stretch, RATE_HZ)) == pytest.approx(
            loudness_lufs(stretch), abs=1e-6
        )


def test_a_tone_in_pieces_has_no_step_where_they_meet():
    steady = tone(4.0, 300.0, peak=0.1)
    (_, after), _ = streamed([speech(3.0, 1), steady], 0.5)
    smooth = np.diff(steady, 2).max() * np.abs(after).max() / 0.1
    assert np.abs(np.diff(after, 2)).max() < 1.2 * smooth
