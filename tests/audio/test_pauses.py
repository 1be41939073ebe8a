"""A long recording is cut where nobody speaks, and nothing of it is lost."""

import itertools

import numpy as np
import pytest

from audio.pauses import GRID_S, cut_at_pauses
from audio.waveform import Waveform
from tests.recordings import silence, speech_like, white_noise

RATE_HZ = 24_000


def cut(*parts, longest_s=30.0):
    return cut_at_pauses(Waveform(np.concatenate(parts), RATE_HZ), longest_s)


def durations_s(pieces):
    return [piece.waveform.duration_s for piece in pieces]


@pytest.mark.parametrize("duration_s", [0.1, 11.0, 30.0])
def test_what_is_short_enough_is_one_piece(duration_s):
    (piece,) = cut(speech_like(duration_s))
    assert piece.waveform.duration_s == duration_s
    assert piece.ends_in_pause
    assert not piece.is_silent


@pytest.mark.parametrize("duration_s", [30.01, 33.0, 61.0, 200.017])
def test_pieces_are_the_recording_in_a_row(duration_s):
    samples = speech_like(duration_s, seed=3)
    pieces = cut(samples)
    assert np.array_equal(np.concatenate([piece.waveform.samples for piece in pieces]), samples)
    *others, last = durations_s(pieces)
    assert all(15.0 <= each <= 30.0 for each in others)
    assert 3.0 <= last <= 30.0
    assert all(round(each * RATE_HZ) % round(GRID_S * RATE_HZ) == 0 for each in others)


def test_each_cut_lies_in_a_pause():
    pieces = cut(speech_like(100.0, seed=1))
    assert len(pieces) > 3
    assert all(piece.ends_in_pause for piece in pieces)
    for before, after in itertools.pairwise(pieces):
        around = np.concatenate([before.waveform.samples[-1_200:], after.waveform.samples[:1_200]])
        assert np.abs(around).max() < 0.01


def test_the_last_of_several_pauses_is_taken():
    parts = [speech_like(19.0, seed=2), silence(1.0), speech_like(6.0, seed=2), silence(1.0)]
    first, _ = durations_s(cut(*parts, speech_like(10.0, seed=2)))
    assert 26.0 < first < 27.0


def test_without_a_pause_it_is_cut_all_the_same():
    pieces = cut(white_noise(70.0))
    assert len(pieces) > 2
    assert not any(piece.ends_in_pause for piece in pieces[:-1])


def test_a_long_silence_is_known():
    pieces = cut(speech_like(20.0), silence(100.0), speech_like(20.0))
    assert [piece.is_silent for piece in pieces].count(True) >= 2
    assert not pieces[0].is_silent
    assert not pieces[-1].is_silent
