import json

import numpy as np
import pyloudnorm
import pytest

from audio.loudness import apply_gain, gain_for, measure_loudness_lufs, measure_peak_dbfs, normalize
from audio.waveform import Waveform
from tests.recordings import silence, speech_like, tone

SPEECH = Waveform(speech_like(4.0), 24_000)


def scaled(gain: float) -> Waveform:
    return Waveform(SPEECH.samples * np.float32(gain), 24_000)


def test_a_full_scale_997_hz_sine_measures_minus_3_lufs_as_bs_1770_says():
    assert measure_loudness_lufs(Waveform(tone(5.0, 997, 48_000, peak=1.0), 48_000)) == pytest.approx(
        -3.01, abs=0.1
    )


def test_no_mode_changes_nothing():
    assert normalize(SPEECH, None) is SPEECH


@pytest.mark.parametrize("gain", [0.001, 0.3, 1.5])
def test_peak_brings_the_peak_to_minus_1_dbfs(gain):
    assert measure_peak_dbfs(normalize(scaled(gain), "peak")) == pytest.approx(-1.0, abs=0.01)


@pytest.mark.parametrize("gain", [0.001, 0.3, 1.5])
def test_rms_brings_the_power_to_minus_20_dbfs(gain):
    rms = np.sqrt(np.square(normalize(scaled(gain), "rms").samples, dtype=np.float64).mean())
    assert 20 * np.log10(rms) == pytest.approx(-20.0, abs=0.01)


@pytest.mark.parametrize("gain", [0.01, 0.3, 1.5])
def test_lufs_brings_the_loudness_to_minus_16(gain):
    smooth = Waveform(tone(2.0) * np.float32(gain), 24_000)
    assert measure_loudness_lufs(normalize(smooth, "lufs")) == pytest.approx(-16.0, abs=0.1)


@pytest.mark.parametrize("mode", ["rms", "lufs"])
def test_spiky_audio_stays_below_the_target_rather_than_clip(mode):
    spiky = SPEECH.samples * np.float32(0.05)
    spiky[5_000] = 0.9
    assert measure_peak_dbfs(normalize(Waveform(spiky, 24_000), mode)) == pytest.approx(-1.0, abs=0.01)


@pytest.mark.parametrize("mode", ["peak", "rms", "lufs"])
@pytest.mark.parametrize("samples", [silence(1.0), silence(0.0), np.full(24_000, 1e-30, np.float32)])
def test_silence_is_unharmed(mode, samples):
    normalized = normalize(Waveform(samples, 24_000), mode).samples
    assert len(normalized) == len(samples)
    assert np.isfinite(normalized).all()


@pytest.mark.parametrize("mode", ["peak", "rms", "lufs"])
def test_normalizing_twice_is_normalizing_once(mode):
    once = normalize(SPEECH, mode)
    np.testing.assert_allclose(normalize(once, mode).samples, once.samples, rtol=1e-3)


@pytest.mark.parametrize("duration_s", [0.001, 0.05, 0.399, 0.4])
def test_audio_shorter_than_a_gating_block_is_measured(duration_s):
    long = measure_loudness_lufs(Waveform(tone(2.0, 1_000), 24_000))
    assert measure_loudness_lufs(Waveform(tone(duration_s, 1_000), 24_000)) == pytest.approx(long, abs=0.3)


def test_nothing_and_silence_have_no_loudness():
    for duration_s in (0.0, 0.1, 2.0):
        waveform = Waveform(silence(duration_s), 24_000)
        assert json.dumps([measure_loudness_lufs(waveform), measure_peak_dbfs(waveform)]) == "[null, null]"


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 24_000, 44_100])
@pytest.mark.parametrize("duration_s", [0.2, 0.2255, 2.345])
def test_loudness_is_that_of_pyloudnorm(sample_rate_hz, duration_s):
    samples = np.concatenate(
        [speech_like(duration_s, sample_rate_hz), 0.01 * speech_like(duration_s, sample_rate_hz)]
    ).astype(np.float32)
    expected = pyloudnorm.Meter(sample_rate_hz).integrated_loudness(samples.astype(np.float64))
    assert measure_loudness_lufs(Waveform(samples, sample_rate_hz)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sizes", [1, 1_000, 9_999, 70_000])
@pytest.mark.parametrize("mode", [None, "peak", "rms", "lufs"])
def test_a_gain_computed_and_applied_chunk_by_chunk_is_that_of_the_whole(mode, sizes):
    quiet = scaled(0.1).samples[: 11_000 if sizes == 1 else None]
    chunks = [quiet[start : start + sizes] for start in range(0, len(quiet), sizes)]
    gain = gain_for(iter([*chunks, silence(0.0)]), mode)
    normalized = np.concatenate([apply_gain(chunk, gain) for chunk in chunks])
    np.testing.assert_allclose(normalized, normalize(Waveform(quiet, 24_000), mode).samples, rtol=1e-6)


@pytest.mark.parametrize("mode", [None, "peak", "rms", "lufs"])
def test_no_chunks_have_a_gain_of_one(mode):
    assert gain_for([], mode) == 1.0
    assert gain_for([silence(0.0), silence(0.3)], mode) == 1.0
