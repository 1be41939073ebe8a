"""The noise between words is measured, and more of the same is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audio.decode import decode_audio
from audio.room_tone import FADE_S, Noise, make_noise, measure_noise
from audio.vad import measure_levels
from audio.waveform import Waveform, resample
from speech import trim
from tests.recordings import silence, speech_like, tone

RATE_HZ = 24_000
SAMPLES = Path(__file__).parents[1] / "speech_samples"
BANDS_HZ = ((100, 500), (500, 2_000), (2_000, 5_000), (5_000, 11_000))


def with_room(
    speech: np.ndarray, level_db: float, colour_hz: float | None = None, seed: int = 1
) -> np.ndarray:
    """Speech in steady noise, white, or falling above a frequency."""
    return speech + room(len(speech), level_db, colour_hz, seed)


def room(count: int, level_db: float, colour_hz: float | None = None, seed: int = 1) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    if colour_hz is not None:
        spectrum /= 1 + np.fft.rfftfreq(count, 1 / RATE_HZ) / colour_hz
    noise = np.fft.irfft(spectrum, count)
    return (noise * 10 ** (level_db / 20) / noise.std()).astype(np.float32)


def words(duration_s: float = 4.0) -> np.ndarray:
    """Speech with digital silence between its words."""
    samples = speech_like(duration_s, RATE_HZ, seed=3)
    samples[np.convolve(np.abs(samples), np.ones(480) / 480, "same") < 0.002] = 0
    return samples


def band_levels_db(samples: np.ndarray) -> np.ndarray:
    power = np.square(np.abs(np.fft.rfft(samples.astype(np.float64)))) / len(samples)
    frequencies_hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return np.array(
        [
            10 * np.log10(power[(frequencies_hz >= low) & (frequencies_hz < high)].mean())
            for low, high in BANDS_HZ
        ]
    )


def measured(samples: np.ndarray) -> Noise | None:
    return measure_noise(Waveform(samples, RATE_HZ))


@pytest.mark.parametrize("level_db", [-75.0, -60.0, -45.0])
@pytest.mark.parametrize("colour_hz", [None, 300.0])
def test_the_noise_has_level_and_colour_of_the_room(level_db, colour_hz):
    noise = measured(with_room(words(), level_db, colour_hz))
    made = make_noise(noise, 2 * RATE_HZ, [0])
    expected = room(2 * RATE_HZ, level_db, colour_hz, seed=9)
    np.testing.assert_allclose(band_levels_db(made), band_levels_db(expected), atol=2.0)


def test_it_is_steady():
    made = make_noise(measured(with_room(words(), -60.0)), 10 * RATE_HZ, [0])
    levels_db = 10 * np.log10(np.square(made.reshape(100, -1)).mean(axis=1))
    assert np.ptp(levels_db) < 1.5


def test_a_louder_voice_has_a_louder_room():
    quiet = measured(with_room(words(), -60.0))
    loud = measured(with_room(words(), -60.0) * np.float32(2))
    np.testing.assert_allclose(loud.power, 4 * quiet.power, rtol=1e-4)


def test_digital_silence_between_words_is_no_noise():
    assert measured(words()) is None
    assert measured(with_room(words(), -105.0)) is None


@pytest.mark.parametrize("samples", [silence(0.0), silence(0.02), silence(2.0), tone(0.1), tone(3.0)])
def test_silence_and_what_never_rests_have_none(samples):
    assert measured(samples) is None


def test_speech_without_a_rest_has_none():
    vowel = speech_like(4.0, RATE_HZ, seed=3)
    levels, loud_dbfs = measure_levels(Waveform(vowel, RATE_HZ))
    start = int(np.argmax(np.convolve(levels > loud_dbfs - 12, np.ones(14), "valid"))) * 240
    assert measured(vowel[start : start + 3_600]) is None


def test_faded_ends_do_not_count():
    samples = with_room(words(), -60.0)
    faded = trim.fade_out(trim.fade_out(samples, RATE_HZ)[::-1], RATE_HZ)[::-1]
    np.testing.assert_array_equal(measured(faded).power, measured(samples).power)
    assert trim.FADE_S == FADE_S


@pytest.mark.parametrize("name", ["rms-ferry", "slt-bridge"])
def test_real_speech_has_a_noise_well_below_its_words(name):
    speech = resample(decode_audio((SAMPLES / f"{name}.flac").read_bytes()), RATE_HZ)
    levels, loud_dbfs = measure_levels(speech)
    made = make_noise(measure_noise(speech), RATE_HZ, [1])
    level_dbfs = np.median(measure_levels(Waveform(made, RATE_HZ))[0])
    assert np.percentile(levels, 2) - 3 < level_dbfs < loud_dbfs - 30


@pytest.mark.parametrize("count", [1, 479, 24_001, 4_096])
def test_the_same_seed_gives_the_same_noise_of_any_length(count):
    noise = measured(with_room(words(), -60.0))
    made = make_noise(noise, count, [5, 1])
    assert made.dtype == np.float32
    assert made.shape == (count,)
    assert np.array_equal(made, make_noise(noise, count, [5, 1]))
    assert not np.array_equal(made, make_noise(noise, count, [5, 2]))
