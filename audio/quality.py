"""Judges whether a recording is good enough to be a voice: measures, trims, refuses and warns.

Only what certainly is not speech is refused. A recording that makes a poor voice is warned about, because
the caller may have nothing better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from audio.loudness import measure_loudness_lufs, measure_peak_dbfs
from audio.vad import (
    DIGITAL_SILENCE_DBFS,
    SILENT_BELOW_DBFS,
    SpeechActivity,
    detect_speech,
    frame_counts,
    measure_levels,
)
from audio.waveform import Waveform
from errors import ReferenceInvalid, ReferenceTooShort

MIN_SPEECH_S = 2.0
GOOD_SPEECH_S = 5.0

_ADVICE = "send 10 to 30 s of one person speaking"
_SPEECH_ADVICE = "send a recording of speech"
_BLOCK_S = 60.0  # of a long recording, which is measured bit by bit: a minute takes 50 MB
_LEAST_SPEECH_S = 0.2  # a short word

# Stationary noise measures 1.7 to 2.0, also after MP3 and Opus; speech under noise of its own power 3.8.
_STEADY_BELOW_DB = 2.5
# Tones, chords of two, sirens, whistles and key pads measure 1.0; the purest speech tried 0.74.
_TONAL_ABOVE_SHARE = 0.97

# A ticking clock measures under 0.3, the noisiest speech tried 0.5.
_TICKING_BELOW_SHARE = 0.35

# Clipping outlives resampling and codecs as a crowd just below the highest level; its flat tops do
# not. Intact speech has 0.02 to 0.11 % of its samples there, speech driven 3 dB into clipping 0.3 to
# 1.2 %, 6 dB 0.6 to 5 %. A hard limiter's 0.4 to 1.3 % sound squashed, and are warned about as well.
_HIGHEST_PERCENTILE = 99.99  # past the overshoot of filters
_CROWD_ABOVE_HIGHEST = 0.9
_CLIPPED_ABOVE_FRACTION = 0.003
_NOISY_BELOW_SNR_DB = 12.0
_QUIET_BELOW_LUFS = -40.0  # phones and headsets record speech at -30 to -16

_TRIM_BELOW_LOUD_DB = 40.0
_TRIM_PADDING_HOPS = 5  # 50 ms, the onset of a soft consonant


@dataclass(frozen=True)
class Quality:
    """Measurements of a recording; None where there was nothing to measure, as in digital silence."""

    duration_s: float
    speech_s: float  # seconds with speech-like activity
    peak_dbfs: float | None
    clipped_fraction: (
        float  # share of samples within 10 % of the highest, the top hundredth of a percent aside
    )
    loudness_lufs: float | None
    noise_floor_dbfs: float | None  # level of the quietest tenth between 100 Hz and 8 kHz
    snr_db: float | None  # mean level while active, above that floor

    def as_dict(self) -> dict[str, float | None]:
        """Returns finite numbers, rounded to what a recording can tell, or None; for JSON."""
        digits = {"clipped_fraction": 5, "duration_s": 3, "speech_s": 2}
        return {
            name: None if value is None else round(value, digits.get(name, 1))
            for name, value in asdict(self).items()
        }


def measure_quality(waveform: Waveform) -> Quality:
    """Measures a recording of any length and rate, without judging it."""
    return _quality(waveform, detect_speech(waveform))


def check_reference(waveform: Waveform, field: str = "reference_audio") -> tuple[Quality, tuple[str, ...]]:
    """Returns the measurements, and warnings about what makes a poor voice, as sentences.

    Raises ReferenceInvalid for silence, clicks, tones and steady noise, ReferenceTooShort for less
    than 2 s of speech; both name ``field`` and say what to record.
    """
    activity = detect_speech(waveform)
    quality = _quality(waveform, activity)
    _refuse_silence(activity, field)
    _refuse_non_speech(activity, field)
    if quality.speech_s < MIN_SPEECH_S:
        raise ReferenceTooShort(
            f"has {quality.speech_s:.1f} s of speech, {MIN_SPEECH_S:.0f} s is the least",
            field=field,
            hint=_ADVICE,
        )
    return quality, (*short_speech(quality, field), *flaws(quality, field))


def check_speech(
    waveform: Waveform, field: str, contains_speech: Callable[[Waveform, float], bool] | None = None
) -> None:
    """Raises ReferenceInvalid for a recording of any length that certainly has no speech in it.

    A minute of it with speech is enough. Of less than 2 s of sound nothing is certain: a word may be one
    vowel. contains_speech: whether there is speech in up to a minute and a half of which so many seconds are
    not silent; without it, music and noises that change as speech does are not noticed.
    """
    refusal: ReferenceInvalid | None = None
    blocks = np.array_split(waveform.samples, max(1, round(waveform.duration_s / _BLOCK_S)))
    for samples in blocks:
        block = Waveform(samples, waveform.sample_rate_hz)
        activity = detect_speech(block)
        try:
            _refuse_silence(activity, field, _SPEECH_ADVICE)
            if activity.speech_s < _LEAST_SPEECH_S:
                raise ReferenceInvalid("holds no speech", field=field, hint=_SPEECH_ADVICE)
            if activity.speech_s >= MIN_SPEECH_S:
                _refuse_non_speech(activity, field, _SPEECH_ADVICE)
                if contains_speech is not None and not contains_speech(block, activity.speech_s):
                    raise ReferenceInvalid(
                        "holds music or other sounds, not speech", field=field, hint=_SPEECH_ADVICE
                    )
            return
        except ReferenceInvalid as error:
            # Of a recording with silent minutes, what is said of the others tells more.
            is_silent = activity.loud_dbfs < SILENT_BELOW_DBFS
            refusal = refusal if refusal is not None and is_silent else error
    assert refusal is not None
    raise refusal


def trim_silence(waveform: Waveform) -> Waveform:
    """Cuts the silence before and after, which is what lies 40 dB below the loud parts.

    50 ms stay on either side. Trimming twice is trimming once; silence stays as it is.
    """
    start, end = sound_bounds(waveform)
    if (start, end) == (0, len(waveform.samples)):
        return waveform
    return Waveform(np.ascontiguousarray(waveform.samples[start:end]), waveform.sample_rate_hz)


def sound_bounds(waveform: Waveform) -> tuple[int, int]:
    """Returns between which samples ``trim_silence`` leaves the recording."""
    level_dbfs, loud_dbfs = measure_levels(waveform)
    audible = np.flatnonzero(level_dbfs > max(loud_dbfs - _TRIM_BELOW_LOUD_DB, DIGITAL_SILENCE_DBFS))
    if len(audible) == 0:
        return 0, len(waveform.samples)
    frame_samples, hop_samples = frame_counts(waveform.sample_rate_hz)
    start = max(int(audible[0]) - _TRIM_PADDING_HOPS, 0) * hop_samples
    end = (int(audible[-1]) + _TRIM_PADDING_HOPS) * hop_samples + frame_samples
    return start, min(end, len(waveform.samples))


def _quality(waveform: Waveform, activity: SpeechActivity) -> Quality:
    floor_dbfs = activity.floor_dbfs if activity.floor_dbfs > DIGITAL_SILENCE_DBFS else None
    snr_db = None
    if floor_dbfs is not None and activity.active.any():
        active_power = np.power(10.0, activity.level_dbfs[activity.active] / 10).mean()
        snr_db = 10 * float(np.log10(active_power)) - floor_dbfs
    return Quality(
        duration_s=waveform.duration_s,
        speech_s=activity.speech_s,
        peak_dbfs=measure_peak_dbfs(waveform),
        clipped_fraction=_clipped_fraction(waveform),
        loudness_lufs=measure_loudness_lufs(waveform),
        noise_floor_dbfs=floor_dbfs,
        snr_db=snr_db,
    )


def _clipped_fraction(waveform: Waveform) -> float:
    samples = waveform.samples
    # An offset would lift one side of the wave into a crowd of its own.
    magnitudes = np.abs(samples - samples.mean()) if len(samples) else samples
    highest = np.percentile(magnitudes, _HIGHEST_PERCENTILE) if len(magnitudes) else 0.0
    return float((magnitudes >= _CROWD_ABOVE_HIGHEST * highest).mean()) if highest > 0 else 0.0


def _refuse_silence(activity: SpeechActivity, field: str, advice: str = _ADVICE) -> None:
    if activity.loud_dbfs < SILENT_BELOW_DBFS:
        is_click = activity.level_dbfs.max() > SILENT_BELOW_DBFS
        found = "silent but for a short sound" if is_click else "silent"
        raise ReferenceInvalid(f"is {found}", field=field, hint=f"check the microphone and {advice}")


def _refuse_non_speech(activity: SpeechActivity, field: str, advice: str = _ADVICE) -> None:
    if activity.partials_share > _TONAL_ABOVE_SHARE:
        raise ReferenceInvalid("holds tones, not speech", field=field, hint=advice)
    if activity.shape_spread_db < _STEADY_BELOW_DB:
        raise ReferenceInvalid(
            "holds a steady sound such as hum or noise, not speech", field=field, hint=advice
        )
    if 0 < activity.active_share < _TICKING_BELOW_SHARE:
        raise ReferenceInvalid("holds clicks or knocks, not speech", field=field, hint=advice)


def short_speech(quality: Quality, field: str, verb: str = "has") -> tuple[str, ...]:
    """Returns a warning about a recording with little speech. verb: "have" for a field in the plural."""
    if quality.speech_s >= GOOD_SPEECH_S:
        return ()
    return (f"{field} {verb} only {quality.speech_s:.1f} s of speech: 10 to 30 s make a closer likeness",)


def is_clipped(quality: Quality) -> bool:
    """Whether the recording is clipped or squashed by a limiter."""
    return quality.clipped_fraction > _CLIPPED_ABOVE_FRACTION


def flaws(quality: Quality, field: str) -> tuple[str, ...]:
    """Returns warnings about the sound of a recording."""
    warnings = []
    if is_clipped(quality):
        warnings.append(
            f"{field} is clipped or squashed by a limiter: record at a lower level, "
            "the distortion becomes part of the voice"
        )
    if quality.snr_db is not None and quality.snr_db < _NOISY_BELOW_SNR_DB:
        warnings.append(f"{field} is noisy: record in a quiet room, the noise becomes part of the voice")
    if quality.loudness_lufs is None or quality.loudness_lufs < _QUIET_BELOW_LUFS:
        warnings.append(f"{field} is very quiet: record closer to the microphone")
    return tuple(warnings)
