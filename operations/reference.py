"""Recordings that come with a request, of a voice or of other speech."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np
from pydantic import AfterValidator, Field

from audio.decode import decode_audio, decode_base64
from audio.limits import REFERENCE, RecordingLimits
from audio.quality import (
    MIN_SPEECH_S,
    Quality,
    check_reference,
    flaws,
    measure_quality,
    short_speech,
    trim_silence,
)
from audio.samples import MAX_SAMPLES as MAX_SAMPLES
from audio.samples import Part, join_best
from audio.waveform import Waveform
from cancel import CancelToken
from errors import Problem, ReferenceInvalid, ReferenceTooShort
from operations.base import Fetch
from operations.conditionals import Reference
from operations.request import FieldError, Request, between
from voice_store import Voice

REFERENCE_AUDIO = "reference_audio"
SAMPLES = "samples"


class ReferenceFields(Request):
    """The fields of a recording that comes with a job."""

    reference_audio: Annotated[
        str | None, Field(description="a recording in base64, with or without a data: prefix")
    ] = None
    reference_audio_url: Annotated[str | None, Field(description="an https URL of a recording")] = None
    max_reference_duration_sec: Annotated[float, between(5, 60, "a number of seconds")] = 30.0


class Sample(Request):
    """One of several recordings of a speaker."""

    audio: Annotated[
        str | None, Field(description="a recording in base64, with or without a data: prefix")
    ] = None
    audio_url: Annotated[str | None, Field(description="an https URL of a recording")] = None


def _check_sample(sample: Sample) -> Sample:
    match (sample.audio, sample.audio_url):
        case (None, None):
            raise FieldError("holds no recording", "send audio, a recording in base64, or audio_url")
        case (str(), str()):
            raise FieldError("holds both audio and audio_url", "send one of them")
    return sample


Samples = Annotated[
    list[Annotated[Sample, AfterValidator(_check_sample)]] | None,
    Field(
        min_length=1,
        max_length=MAX_SAMPLES,
        description=f"a list of at most {MAX_SAMPLES} objects that hold audio or audio_url",
    ),
]


class SamplePart(TypedDict):
    """A stretch of a sample that is part of the voice. Times in seconds."""

    start: float  # in the sample
    end: float
    at: float  # where it begins in the voice's recording


class SampleReceipt(TypedDict):
    """What was taken of a sample."""

    duration: float  # of the whole sample, in seconds
    quality: dict[str, float | None]  # of the whole sample
    parts: list[SamplePart]  # that were taken, in the order of the voice's recording


@dataclass(frozen=True)
class SentRecording:
    """A recording that came with a job, found good enough."""

    waveform: Waveform  # 24 kHz, without the silence around it, at most max_reference_duration_sec
    quality: Quality
    warnings: tuple[str, ...]
    samples: tuple[SampleReceipt, ...] = ()  # of which it was joined


def one_recording(sent: Collection[str], field: str) -> list[Problem]:
    """What is wrong where a recording has to be sent in one of two fields, ``field`` and ``<field>_url``."""
    match (field in sent, f"{field}_url" in sent):
        case (True, True):
            return [Problem(f"{field} and {field}_url exclude each other", hint="send one of them")]
        case (False, False):
            return [Problem("is required", field, f"send a recording in base64, or {field}_url")]
    return []


def decode_sent(
    request: Request,
    field: str,
    fetch: Fetch,
    cancel: CancelToken,
    limits: RecordingLimits = REFERENCE,
    *,
    within: str = "",
) -> tuple[Waveform, str]:
    """Returns the recording that was sent in ``field`` or ``<field>_url``, and which of the two it was.

    within: what errors put before the name of the field, such as ``samples[2].``. Raises ReferenceInvalid,
    FetchRefused, FetchFailed, Cancelled.
    """
    encoded, url = getattr(request, field), getattr(request, f"{field}_url")
    field = within + field
    if encoded is not None:
        data = decode_base64(encoded, field)
    else:
        field = f"{field}_url"
        data = fetch(url, field, cancel)
    cancel.raise_if_cancelled()
    decoded = decode_audio(data, field, cancel, limits)
    cancel.raise_if_cancelled()
    return decoded, field


def decode_reference(request: ReferenceFields, fetch: Fetch, cancel: CancelToken) -> SentRecording | None:
    """Returns the recording that came with the job; None when none did.

    Raises ReferenceInvalid, ReferenceTooShort, FetchRefused, FetchFailed, Cancelled.
    """
    if request.reference_audio is None and request.reference_audio_url is None:
        return None
    decoded, field = decode_sent(request, REFERENCE_AUDIO, fetch, cancel)
    sound, max_duration_s = trim_silence(decoded), request.max_reference_duration_sec
    waveform = sound.first(max_duration_s)
    try:
        return SentRecording(waveform, *check_reference(waveform, field))
    except ReferenceTooShort as error:
        if len(sound.samples) == len(waveform.samples):
            raise
        check_reference(sound, field)
        raise _too_short_a_limit(waveform, "has", "the first", max_duration_s, field) from error


def decode_samples(
    samples: Sequence[Sample], max_duration_s: float, fetch: Fetch, cancel: CancelToken
) -> SentRecording:
    """Returns the best of several recordings, joined; see ``join_best``.

    Raises what ``decode_reference`` raises; the errors name the sample.
    """
    recordings, fields, qualities = [], [], []
    for index, sample in enumerate(samples):
        recording, field = decode_sent(sample, "audio", fetch, cancel, within=f"{SAMPLES}[{index}].")
        quality = _check_sample_speech(trim_silence(recording), max_duration_s, field)
        recordings.append(recording)
        fields.append(field)
        qualities.append(quality)
    joined = join_best(recordings, max_duration_s, cancel)
    try:
        quality, _ = check_reference(joined.waveform, SAMPLES)
    except (ReferenceInvalid, ReferenceTooShort) as error:
        # Each sample alone was good enough.
        raise _too_short_a_limit(joined.waveform, "have", "the best", max_duration_s, SAMPLES) from error
    warnings = list(short_speech(quality, SAMPLES, "have"))
    receipts = []
    for index, (recording, field) in enumerate(zip(recordings, fields, strict=True)):
        parts = [part for part in joined.parts if part.recording == index]
        if parts:
            warnings += flaws(measure_quality(_cut_out(recording, parts)), field)
        else:
            warnings.append(f"nothing of {SAMPLES}[{index}] is used: others sound better, or fill the voice")
        receipts.append(
            SampleReceipt(
                duration=round(recording.duration_s, 3),
                quality=qualities[index].as_dict(),
                parts=[
                    SamplePart(start=round(part.start_s, 3), end=round(part.end_s, 3), at=round(part.at_s, 3))
                    for part in parts
                ],
            )
        )
    return SentRecording(joined.waveform, quality, tuple(warnings), tuple(receipts))


def _check_sample_speech(sound: Waveform, max_duration_s: float, field: str) -> Quality:
    """Measures a sample. Raises what ``check_reference`` raises, unless its beginning is good enough."""
    try:
        return check_reference(sound, field)[0]
    except (ReferenceInvalid, ReferenceTooShort):
        # As reference_audio only the beginning would be listened to.
        beginning = sound.first(max_duration_s)
        if len(beginning.samples) == len(sound.samples):
            raise
        check_reference(beginning, field)
        return measure_quality(sound)


def _too_short_a_limit(
    used: Waveform, verb: str, which: str, max_duration_s: float, field: str
) -> ReferenceTooShort:
    speech_s = measure_quality(used).speech_s
    return ReferenceTooShort(
        f"{verb} too little speech in {which} {max_duration_s:g} s, which max_reference_duration_sec allows: "
        f"{speech_s:.1f} s, where {MIN_SPEECH_S:.0f} s is the least",
        field=field,
        hint="send a recording with shorter pauses, or raise max_reference_duration_sec",
    )


def _cut_out(recording: Waveform, parts: Sequence[Part]) -> Waveform:
    """Returns parts of a recording, one behind the other."""
    rate_hz = recording.sample_rate_hz
    pieces = [
        recording.samples[round(part.start_s * rate_hz) : round(part.end_s * rate_hz)] for part in parts
    ]
    return Waveform(np.concatenate(pieces), rate_hz)


def stored_reference(voice: Voice, max_duration_s: float) -> Reference:
    """The reference of a stored voice, at most ``max_duration_s`` long."""
    # Voices stored by others may start with silence, which would use up the model's window.
    used = trim_silence(voice.waveform).first(max_duration_s)
    is_whole = len(used.samples) == len(voice.waveform.samples)
    return Reference(used, voice.digest if is_whole else used.digest(), voice.sidecar)
