"""Speech at another speed: its length, its pitch, its words."""

from itertools import accumulate, cycle, takewhile
from pathlib import Path

import numpy as np
import pytest

from audio.decode import decode_audio
from audio.speed import FASTEST, SLOWEST, SpeedChanger
from audio.waveform import Waveform, resample
from benchmarks import ears
from tests.recordings import silence, speech_like, tone

SAMPLE = Path(__file__).parents[2] / "samples" / "small-model.flac"
RATE_HZ = 24_000
SPEEDS = (SLOWEST, 0.5, 0.7, 0.99, 1.01, 1.25, 1.5, 2.0, 3.0, FASTEST)


def changed(samples: np.ndarray, speed: float, sizes=(10_000,)) -> np.ndarray:
    changer = SpeedChanger(speed, RATE_HZ)
    ends = list(takewhile(lambda end: end < len(samples), accumulate(cycle(sizes))))
    return np.concatenate([*map(changer.add, np.split(samples, ends)), changer.finish()])


def frequency_hz(samples: np.ndarray) -> float:
    """Of a tone, by the zero crossings of its middle."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    rising = np.flatnonzero((middle[:-1] < 0) & (middle[1:] >= 0))
    return (len(rising) - 1) * RATE_HZ / (rising[-1] - rising[0])


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_length_is_divided_and_the_pitch_kept(speed):
    for pitch_hz in (95.0, 220.0):
        found = changed(tone(4.0, pitch_hz), speed)
        assert len(found) == round(4.0 * RATE_HZ / speed)
        assert frequency_hz(found) == pytest.approx(pitch_hz, rel=0.01)


@pytest.mark.parametrize("speed", [0.5, 0.7, 0.99, 1.01, 1.25, 1.5, 2.0])
def test_speech_has_no_clicks_and_the_same_level(speed):
    """A recogniser of clicks finds some in flite's and in people's speech, but none in this one."""
    speech = resample(decode_audio(SAMPLE.read_bytes()), RATE_HZ).samples
    found = changed(speech, speed)
    assert ears.clicks(Waveform(found, RATE_HZ)) == []
    assert np.sqrt(np.square(found).mean()) == pytest.approx(np.sqrt(np.square(speech).mean()), rel=0.1)


@pytest.mark.parametrize("speed", [SLOWEST, 0.8, 1.5, FASTEST])
def test_the_samples_do_not_depend_on_how_they_are_divided(speed):
    speech = speech_like(1.5)
    whole = changed(speech, speed, (len(speech),))
    for sizes in ((7_777,), (1, 4_095, 30_000), (480,)):
        assert np.array_equal(changed(speech, speed, sizes), whole)


@pytest.mark.parametrize("length", [0, 1, 100, 1_000, 4_095, 4_096, 4_097])
@pytest.mark.parametrize("speed", [SLOWEST, 0.9, FASTEST])
def test_next_to_nothing_has_its_length_too(speed, length):
    assert len(changed(tone(1.0)[:length], speed)) == round(length / speed)


def test_most_is_ready_before_the_end():
    """A stream's pieces are not held back."""
    changer = SpeedChanger(1.5, RATE_HZ)
    ready = len(changer.add(speech_like(2.0)))
    assert ready > 0.8 * 2.0 * RATE_HZ / 1.5


def test_silence_stays_silent():
    assert not changed(silence(1.0), 1.3).any()
