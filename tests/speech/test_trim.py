"""The ends of a chunk: no clicks, clean tails, and nothing of the speech lost."""

from __future__ import annotations

import numpy as np
import pytest

from speech.trim import KEPT_TAIL_S, TailCutter, cut_trailing_noise, decay_of, fade_out
from tests.recordings import speech_like

RATE = 24_000


def seconds(duration_s: float, level: float = 0.0, seed: int = 0) -> np.ndarray:
    """Noise at an RMS level; 0 is digital silence."""
    return np.random.default_rng(seed).normal(0, level, round(duration_s * RATE)).astype(np.float32)


def speech(duration_s: float = 2.0) -> np.ndarray:
    return seconds(duration_s, 0.1)


def test_a_faded_end_falls_to_zero_within_20_ms():
    faded = fade_out(np.ones(RATE, np.float32), RATE)
    assert abs(faded[-1]) < 1e-3
    assert faded[-481] == 1.0
    assert (np.diff(faded[-480:]) <= 0).all()


def test_a_decay_goes_on_where_the_samples_end_and_falls_to_zero():
    samples = np.sin(np.arange(2400, dtype=np.float32) / 20)
    decay = decay_of(samples, RATE)
    assert len(decay) == 480
    assert decay[0] == pytest.approx(samples[-1], abs=1e-4)
    assert abs(decay[-1]) < 1e-3
    assert np.abs(np.diff(decay)).max() <= np.abs(np.diff(samples)).max() * 1.1
    assert not decay_of(seconds(1.0), RATE).any(), "after silence it is silence"
    assert len(decay_of(samples[:7], RATE)) == 7
    assert len(decay_of(samples[:0], RATE)) == 0


def test_fading_copies_and_survives_anything_short():
    for count in (0, 1, 5, 479, 480):
        samples = np.ones(count, np.float32)
        assert len(fade_out(samples, RATE)) == count
        assert samples.all()


def test_silence_after_the_last_word_is_cut_to_a_tail():
    cut = cut_trailing_noise(np.concatenate([speech(2.0), seconds(1.5, 1e-5)]), RATE)
    assert len(cut) / RATE == pytest.approx(2.0 + KEPT_TAIL_S, abs=0.03)
    assert np.array_equal(cut[: 2 * RATE], speech(2.0))
    assert abs(cut[-1]) < 1e-7, "the cut is faded"


def test_a_faint_stray_sound_after_a_gap_is_cut():
    tail = np.concatenate([seconds(0.6), seconds(0.15, 0.01), seconds(0.3)])
    cut = cut_trailing_noise(np.concatenate([speech(2.0), tail]), RATE)
    assert len(cut) / RATE == pytest.approx(2.0 + KEPT_TAIL_S, abs=0.03)


@pytest.mark.parametrize(
    "ending",
    [
        np.concatenate([seconds(0.6), seconds(0.25, 0.08)]),  # a last word after a pause
        np.concatenate([seconds(0.2), seconds(0.15, 0.01)]),  # a faint syllable close by
        np.concatenate([seconds(0.6), seconds(0.8, 0.01)]),  # a long whisper
    ],
    ids=["last word", "faint syllable", "whisper"],
)
def test_speech_is_never_cut(ending):
    samples = np.concatenate([speech(2.0), ending])
    assert np.array_equal(cut_trailing_noise(samples, RATE), samples)


def test_recordings_that_end_in_speech_are_untouched():
    for samples in (speech(), speech(0.01), seconds(1.0), np.zeros(0, np.float32)):
        assert cut_trailing_noise(samples, RATE) is samples


def in_pieces(samples: np.ndarray, *ends_s: float) -> list[np.ndarray]:
    """What a ``TailCutter`` returns of samples that come up to these seconds each."""
    cutter = TailCutter(RATE)
    pieces = np.split(samples, [round(end_s * RATE) for end_s in ends_s])
    return [cutter.add(piece, is_last=number == len(ends_s)) for number, piece in enumerate(pieces)]


@pytest.mark.parametrize("ends_s", [(), (0.3,), (0.3, 1.0, 2.1), (0.3, 2.5), (1.9, 2.0, 2.1, 2.2, 2.3)])
@pytest.mark.parametrize(
    "ending",
    [
        seconds(1.5, 1e-5),
        np.concatenate([seconds(0.6), seconds(0.15, 0.01), seconds(0.3)]),
        np.concatenate([seconds(0.6), seconds(0.25, 0.08)]),
    ],
    ids=["silence", "stray sound", "last word"],
)
def test_pieces_are_cut_as_the_whole_is(ending, ends_s):
    samples = np.concatenate([speech(2.0), ending])
    joined = np.concatenate(in_pieces(samples, *ends_s))
    expected = cut_trailing_noise(samples, RATE)
    assert len(joined) == len(expected)
    assert np.array_equal(joined[: 2 * RATE - 480], expected[: 2 * RATE - 480])
    assert abs(joined[-1]) < 1e-6 or np.array_equal(joined, samples)


def test_a_pause_is_held_back_until_speech_goes_on():
    samples = np.concatenate([speech(1.0), seconds(0.5), speech(1.0)])
    first, second, last = in_pieces(samples, 1.0, 1.4)
    assert len(first) / RATE == pytest.approx(1.0, abs=0.03)
    assert len(second) == 0
    assert np.array_equal(np.concatenate([first, last]), samples)


def test_what_became_quiet_after_loud_speech_is_faded():
    """It was taken for speech when it came; nothing of it can be taken back."""
    samples = np.concatenate([seconds(0.5, 1e-4), speech(3.0), seconds(0.2, 1e-4)])
    joined = np.concatenate(in_pieces(samples, 0.4, 3.6))
    assert np.array_equal(joined[: 3 * RATE], samples[: 3 * RATE])
    assert abs(joined[-1]) < 1e-6


def test_a_spoken_phrase_keeps_all_its_syllables():
    samples = np.concatenate([speech_like(3.0, RATE, seed=3), np.zeros(RATE, np.float32)])
    cut = cut_trailing_noise(samples, RATE)
    kept_power, power = np.square(cut).sum(), np.square(samples).sum()
    assert kept_power > 0.999 * power
