"""What may become a voice: refuse what certainly is not speech, warn about what makes a poor one."""

import json
from pathlib import Path

import numpy as np
import pytest

from audio.decode import decode_audio
from audio.quality import check_reference, measure_quality, trim_silence
from audio.waveform import Waveform, resample
from errors import ReferenceInvalid, ReferenceTooShort
from tests.recordings import (
    click,
    clipped,
    file_bytes,
    silence,
    speech_like,
    tone,
    wav_bytes,
    white_noise,
)

SAMPLE = Path(__file__).parents[2] / "samples" / "reference.flac"
TIME_S = np.arange(240_000) / 24_000  # 10 s


def waveform(samples: np.ndarray) -> Waveform:
    return Waveform(np.ascontiguousarray(samples, dtype=np.float32), 24_000)


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    gain = np.sqrt(np.square(speech).mean() / np.square(noise).mean()) * 10 ** (-snr_db / 20)
    return speech + gain * noise


def colored_noise(exponent: float) -> np.ndarray:
    spectrum = np.fft.rfft(white_noise(10.0, seed=3))
    frequency_hz = np.fft.rfftfreq(240_000, 1 / 24_000)
    noise = np.fft.irfft(spectrum / np.maximum(frequency_hz, 30.0) ** exponent)
    return 0.5 * noise / np.abs(noise).max()


def telephone(samples: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / 24_000)
    spectrum[(frequency_hz < 300) | (frequency_hz > 3_400)] = 0
    return decode_audio(
        wav_bytes(resample(waveform(np.fft.irfft(spectrum)), 8_000).samples, 8_000, "ULAW")
    ).samples


def key_pad() -> np.ndarray:
    rng = np.random.default_rng(0)
    presses = []
    for _ in range(20):
        low_hz, high_hz = rng.choice([697, 770, 852, 941]), rng.choice([1209, 1336, 1477])
        presses += [tone(0.25, low_hz, peak=0.3) + tone(0.25, high_hz, peak=0.3), silence(0.25)]
    return np.concatenate(presses)


@pytest.mark.parametrize("seed", range(8))
def test_speech_passes_without_a_warning(seed):
    quality, warnings = check_reference(waveform(speech_like(10.0, seed=seed)))
    assert warnings == ()
    assert 6.0 < quality.speech_s <= quality.duration_s == 10.0
    assert quality.snr_db > 40


def test_the_sample_that_is_shipped_passes_without_a_warning():
    quality, warnings = check_reference(decode_audio(SAMPLE.read_bytes()))
    assert warnings == ()
    assert quality.speech_s > 8.0
    assert SAMPLE.stat().st_size < 400_000


SPEECH = speech_like(10.0)
POOR_BUT_SPEECH = {
    "40 dB quieter": (SPEECH * 0.01, "very quiet"),
    "noise at 0 dB": (mix(SPEECH, white_noise(10.0), 0.0), "noisy"),
    "pink noise at 5 dB": (mix(SPEECH, colored_noise(0.5), 5.0), "noisy"),
    "driven into clipping": (clipped(10.0), "clipped"),
    "clipped at 44.1 kHz": (
        decode_audio(
            wav_bytes(np.clip(8 * resample(waveform(SPEECH), 44_100).samples, -1, 1), 44_100)
        ).samples,
        "clipped",
    ),
    "clipped, then turned down": (clipped(10.0) * 0.1, "clipped"),
    "4 s of it": (speech_like(4.0), "only"),
}


@pytest.mark.parametrize(("samples", "says"), POOR_BUT_SPEECH.values(), ids=POOR_BUT_SPEECH)
def test_a_poor_recording_of_speech_passes_with_the_warning_that_fits(samples, says):
    _, warnings = check_reference(waveform(samples), "reference_audio")
    assert any(says in warning for warning in warnings)
    assert all(warning.startswith("reference_audio ") for warning in warnings)


STILL_SPEECH = {
    "noise at 10 dB": mix(SPEECH, white_noise(10.0), 10.0),
    "telephone": telephone(SPEECH),
    "mains hum": SPEECH + tone(10.0, 50, peak=0.1) + tone(10.0, 150, peak=0.03),
    "a chord as loud": mix(SPEECH, sum(tone(10.0, hz) for hz in (110, 165, 220, 277)), 0.0),
    "an offset": SPEECH + 0.3,
    "a knock 20 dB louder": np.clip(SPEECH * 0.1 + click(10.0, click_s=0.05), -1, 1),
    "as opus": decode_audio(file_bytes(SPEECH, 24_000, "OGG", "OPUS")).samples,
    "between long silences": np.concatenate([silence(40.0), SPEECH, silence(40.0)]),
}


@pytest.mark.parametrize("samples", STILL_SPEECH.values(), ids=STILL_SPEECH)
def test_speech_is_found_under_what_real_recordings_add(samples):
    quality, _ = check_reference(waveform(samples))
    assert quality.speech_s > 4.0


GATE = np.sin(2 * np.pi * 2 * TIME_S) > 0
NOT_SPEECH = {
    "digital silence": (silence(10.0), "silent"),
    "no samples": (silence(0.0), "silent"),
    "one sample": (np.ones(1), "silent"),
    "an offset": (np.full(240_000, 0.3), "is silent;"),
    "dither": (np.random.default_rng(0).integers(-1, 2, 240_000) / 32_768, "is silent;"),
    "a click": (click(10.0), "silent but for a short sound"),
    "a click in a quiet room": (click(10.0) + white_noise(10.0, rms=1e-3), "noise"),
    "clicks": (np.tile(click(0.5, click_s=0.02), 20), "not speech"),
    "a tone": (tone(10.0), "tones"),
    "a tone at 100 Hz": (tone(10.0, 100), "tones"),
    "a tone as mp3": (decode_audio(file_bytes(tone(10.0), 24_000, "MP3")).samples, "tones"),
    "a tone in noise": (mix(tone(10.0), white_noise(10.0), 20.0), "tones"),
    "beeps": (tone(10.0) * GATE, "tones"),
    "a siren": (0.5 * np.sin(2 * np.pi * (800 * TIME_S + 100 * np.sin(3 * TIME_S))), "tones"),
    "a sweep": (0.5 * np.sin(2 * np.pi * (100 * TIME_S + 200 * TIME_S**2)), "tones"),
    "a key pad": (key_pad(), "tones"),
    "a sawtooth": (0.3 * (2 * (150 * TIME_S % 1.0) - 1), "steady"),
    "mains hum": (sum(tone(10.0, 50 * k, peak=0.4 / k) for k in (1, 2, 3, 5)), "not speech"),
    "white noise": (white_noise(10.0), "steady"),
    "white noise as opus": (
        decode_audio(file_bytes(white_noise(10.0), 24_000, "OGG", "OPUS")).samples,
        "steady",
    ),
    "pink noise": (colored_noise(0.5), "steady"),
    "brown noise": (colored_noise(1.0), "steady"),
    "noise that swells": (white_noise(10.0) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * TIME_S)), "steady"),
    "bursts of noise": (white_noise(10.0) * GATE, "steady"),
}


@pytest.mark.parametrize(("samples", "says"), NOT_SPEECH.values(), ids=NOT_SPEECH)
def test_what_certainly_is_not_speech_is_refused_by_what_it_is(samples, says):
    with pytest.raises(ReferenceInvalid, match=says) as refusal:
        check_reference(waveform(samples), "reference_audio")
    assert refusal.value.message.startswith("reference_audio ")
    assert "send 10 to 30 s of one person speaking" in refusal.value.message


@pytest.mark.parametrize(
    "samples",
    [
        speech_like(1.0),
        np.concatenate([silence(5.0), speech_like(1.0), silence(5.0)]),
        np.concatenate([white_noise(5.0, rms=1e-3), speech_like(1.5), white_noise(5.0, rms=1e-3)]),
    ],
    ids=["alone", "in silence", "in a quiet room"],
)
def test_under_2_s_of_speech_is_too_short_however_long_the_recording(samples):
    with pytest.raises(ReferenceTooShort, match=r"^sample_audio has \d\.\d s of speech"):
        check_reference(waveform(samples), "sample_audio")


def test_gain_changes_levels_alone():
    loud, quiet = measure_quality(waveform(SPEECH)), measure_quality(waveform(SPEECH / 10))
    assert quiet.speech_s == pytest.approx(loud.speech_s, abs=0.05)
    assert quiet.snr_db == pytest.approx(loud.snr_db, abs=0.1)
    assert quiet.clipped_fraction == pytest.approx(loud.clipped_fraction, abs=1e-4)
    for level in ("peak_dbfs", "loudness_lufs", "noise_floor_dbfs"):
        assert getattr(quiet, level) == pytest.approx(getattr(loud, level) - 20, abs=0.1)


def test_noise_floor_is_the_level_of_the_noise():
    noisy = waveform(np.concatenate([speech_like(6.0), silence(2.0)]) + white_noise(8.0, rms=0.01))
    in_band_dbfs = -40.0 + 10 * np.log10(7_900 / 12_000)  # white up to 12 kHz, measured from 0.1 to 8
    assert measure_quality(noisy).noise_floor_dbfs == pytest.approx(in_band_dbfs, abs=1.5)


def test_an_offset_is_not_clipping():
    quality, warnings = check_reference(waveform(SPEECH * 0.2 - 0.8))
    assert warnings == ()
    assert quality.clipped_fraction == pytest.approx(
        measure_quality(waveform(SPEECH)).clipped_fraction, abs=1e-4
    )


@pytest.mark.parametrize("samples", [SPEECH, silence(3.0), silence(0.0), np.ones(1), tone(0.01)])
def test_measurements_are_json_whatever_was_measured(samples):
    measured = measure_quality(waveform(samples)).as_dict()
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert set(measured) == {
        "duration_s",
        "speech_s",
        "peak_dbfs",
        "clipped_fraction",
        "loudness_lufs",
        "noise_floor_dbfs",
        "snr_db",
    }


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 22_050, 44_100])
def test_any_sample_rate_can_be_checked(sample_rate_hz):
    quality, warnings = check_reference(resample(waveform(SPEECH), sample_rate_hz))
    assert warnings == ()
    assert quality.speech_s == pytest.approx(check_reference(waveform(SPEECH))[0].speech_s, abs=0.5)


def test_silence_before_and_after_is_cut_down_to_50_ms():
    trimmed = trim_silence(waveform(np.concatenate([silence(7.0), speech_like(5.0), silence(3.0)])))
    assert 4.0 < trimmed.duration_s < 5.2
    loud = np.flatnonzero(np.abs(trimmed.samples) > 0.05)
    assert 0.03 < loud[0] / 24_000 < 0.25
    assert trimmed.samples.flags.c_contiguous


def test_a_tone_between_silences_keeps_50_ms_on_either_side():
    trimmed = trim_silence(waveform(np.concatenate([silence(2.0), tone(1.0), silence(2.0)])))
    assert trimmed.duration_s == pytest.approx(1.1, abs=0.07)


@pytest.mark.parametrize("seed", range(5))
def test_trimming_twice_is_trimming_once(seed):
    rng = np.random.default_rng(seed)
    lead_s, tail_s = rng.uniform(0.0, 3.0, size=2)
    recording = np.concatenate([silence(lead_s), speech_like(3.0, seed=seed), silence(tail_s)])
    for samples in (
        recording,
        recording + 0.2,
        recording + 3e-4 * rng.standard_normal(len(recording)),
        click(2.0),
    ):
        once = trim_silence(waveform(samples))
        np.testing.assert_array_equal(trim_silence(once).samples, once.samples)


@pytest.mark.parametrize("samples", [silence(2.0), silence(0.0), np.full(48_000, 0.25)])
def test_trimming_leaves_silence_as_it_is(samples):
    np.testing.assert_array_equal(trim_silence(waveform(samples)).samples, samples)


def test_trimming_leaves_speech_without_margins_as_it_is():
    trimmed = trim_silence(waveform(speech_like(2.0)))
    assert trimmed.duration_s > 1.6


def clicks(per_s: int) -> np.ndarray:
    """10 ms bursts of noise in digital silence, for 10 s, no two alike."""
    samples = silence(10.0)
    for start in range(0, len(samples) - 240, 24_000 // per_s):
        samples[start : start + 240] = white_noise(0.01, seed=start)
    return samples


@pytest.mark.parametrize("per_s", [4, 6, 8, 10])
def test_ticking_is_not_speech(per_s):
    with pytest.raises(ReferenceInvalid, match="clicks"):
        check_reference(waveform(clicks(per_s)))
