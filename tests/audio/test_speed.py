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
SPEECH = Path(__file__).parents[1] / "speech_samples"
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


def pitch_hz(samples: np.ndarray, hop: float) -> np.ndarray:
    """Fundamental frequency at multiples of ``hop`` samples, by autocorrelation; nan without a voice."""
    window = np.hanning(1_200)
    places = np.arange(0, len(samples), hop).astype(int)  # of the middles of frames
    frames = np.pad(samples, len(window) // 2)[places[:, None] + np.arange(len(window))]
    frames -= frames.mean(axis=1, keepdims=True)
    power = np.square(frames).mean(axis=1)
    correlation, of_window = (
        np.fft.irfft(np.square(np.abs(np.fft.rfft(each, 4_096))))[..., :320]
        for each in (frames * window, window)
    )
    correlation /= of_window
    correlation /= correlation[:, :1] + 1e-12
    is_peak = (correlation[:, 1:-1] > correlation[:, :-2]) & (correlation[:, 1:-1] >= correlation[:, 2:])
    peaks = np.where(np.pad(is_peak, ((0, 0), (1, 1))), correlation, 0)
    peaks[:, : RATE_HZ // 400] = 0
    lag = (peaks >= 0.9 * peaks.max(axis=1, keepdims=True)).argmax(axis=1)  # the first: no octave too low
    is_voiced = (peaks.max(axis=1) > 0.85) & (power > 1e-3 * power.max())
    return np.where(is_voiced, RATE_HZ / np.maximum(lag, 1), np.nan)


@pytest.mark.parametrize("speed", [0.5, 0.7, 1.25, 2.0])
@pytest.mark.parametrize("name", ["rms-ferry", "slt-ferry"])
def test_the_pitch_of_speech_is_kept_wherever_it_is_voiced(name, speed):
    speech = resample(decode_audio((SPEECH / f"{name}.flac").read_bytes()), RATE_HZ).samples
    before, after = pitch_hz(speech, 240), pitch_hz(changed(speech, speed), 240 / speed)
    count = min(len(before), len(after))
    ratios = after[:count] / before[:count]
    ratios = ratios[np.isfinite(ratios)]
    assert len(ratios) > 100
    is_near = np.abs(ratios - 1) < 0.05
    assert is_near.mean() > 0.97
    assert ratios[is_near].mean() == pytest.approx(1, abs=0.01)


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
