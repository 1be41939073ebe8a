"""``tts``: text, spoken in a stored, a sent or the built-in voice."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

from pydantic import AfterValidator, Field

from audio.encode import FORMATS, SAMPLE_RATES_HZ, encode
from audio.loudness import normalize
from audio.quality import check_reference
from errors import InvalidRequest, TextTooLong, UnsupportedLanguage
from operations.audio_reply import AudioReply, add_audio
from operations.base import DeliveryMode, Job, Services
from operations.parameters import SpeechParameters, usable_defaults
from operations.reference import (
    ChosenVoice,
    MaxReferenceDuration,
    ReferenceAudio,
    ReferenceAudioUrl,
    find_stored_voice,
    sent_recording,
)
from operations.request import between, check_speakable, later, one_of, shown
from operations.stored_voice import VoiceId, VoiceName
from operations.streaming import PieceSender
from speech.contract import Reference, Speech, SpeechParams

VOICE_FIELDS = ("voice_name", "voice_id", "reference_audio", "reference_audio_url")
LARGEST_SEED = 2**63 - 1
PARAMETERS_BESIDE_THE_MODEL = {
    "language",
    "max_reference_duration_sec",
    "audio_normalization",
    "speed",
    "delivery",
}
SMALLER_AUDIO = "ask for format mp3 or opus, a lower sample_rate, or send the text in several jobs"
RANDOM_SEED_BITS = 32  # a drawn seed is a number that every JSON reader keeps exactly


class TtsRequest(SpeechParameters):
    text: Annotated[str, Field(description="a string, the text to speak"), AfterValidator(check_speakable)]
    mode: Annotated[Literal["basic", "streaming"], Field(description="'basic' or 'streaming'")] = "basic"
    voice_name: VoiceName = None
    voice_id: VoiceId = None
    reference_audio: ReferenceAudio = None
    reference_audio_url: ReferenceAudioUrl = None
    max_reference_duration_sec: MaxReferenceDuration = 30.0
    seed: Annotated[int | None, between(0, LARGEST_SEED, "a whole number")] = None
    language: Annotated[str, Field(description="a language code such as 'en'")] = "en"
    format: Annotated[str, Field(description=f"one of {', '.join(FORMATS)}"), one_of(FORMATS)] = "wav"
    sample_rate: Annotated[int, Field(description="a sample rate in Hz"), one_of(SAMPLE_RATES_HZ)] = 24_000
    audio_normalization: Annotated[
        Literal["peak", "rms", "lufs"] | None, Field(description="null or one of peak, rms, lufs")
    ] = None
    speed: Annotated[
        float,
        between(0.25, 4),
        later(lambda speed: speed == 1, "send 1 or leave it out"),
    ] = 1.0
    delivery: Annotated[DeliveryMode, Field(description="one of auto, inline, s3, volume")] = "auto"

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[str]:
        voices = [field for field in VOICE_FIELDS if field in sent]
        return [f"{' and '.join(voices)} exclude each other: send one of them"] if len(voices) > 1 else []


class VoiceReply(TypedDict):
    """Both null for a recording that came with the job."""

    voice_id: str | None
    voice_name: str | None


class SegmentReply(TypedDict):
    text: str
    start: float
    end: float


class TtsResponse(AudioReply):
    """Times in seconds. pieces: how many were sent ahead; then there is no audio here."""

    format: str
    sample_rate: int
    duration: float
    text: str
    mode: str
    voice: VoiceReply | None
    seed: int
    model: dict[str, str]
    parameters: dict[str, Any]
    segments: list[SegmentReply]
    metrics: dict[str, Any]
    pieces: NotRequired[int]


def run(request: TtsRequest, services: Services, job: Job) -> TtsResponse:
    """Raises WorkerError."""
    start_s = time.perf_counter()
    sender = _sender(request, services, job)
    services.delivery.prepare(request.delivery, job)
    if (known := services.delivery.repeat(job)) is not None:
        return cast(TtsResponse, known)
    _check_text(request.text, services.max_text_chars)
    _check_language(request.language, services.speaker.info.languages)
    chosen, voice_warnings = _choose_voice(request, services)
    defaults, default_warnings = usable_defaults(chosen.default_parameters if chosen else {})
    reference_ready_s = time.perf_counter()

    seed = secrets.randbits(RANDOM_SEED_BITS) if request.seed is None else request.seed
    params = SpeechParams(seed=seed, **{**defaults, **request.sent_parameters()})
    reference = chosen.reference if chosen else None
    speech = services.speaker.speak(request.text, reference, params, sender or job.listener)

    encode_start_s = time.perf_counter()
    audio = (
        encode(normalize(speech.waveform, request.audio_normalization), request.format, request.sample_rate)
        if sender is None
        else b""  # sent already
    )
    end_s = time.perf_counter()

    info = services.speaker.info
    reply = TtsResponse(
        format=request.format,
        sample_rate=request.sample_rate,
        duration=_milliseconds(speech.waveform.duration_s),
        text=request.text,
        mode=request.mode,
        voice=VoiceReply(voice_id=chosen.voice_id, voice_name=chosen.voice_name) if chosen else None,
        seed=seed,
        model={"variant": info.variant, "revision": info.revision},
        parameters={
            **speech.parameters,
            **request.model_dump(include=PARAMETERS_BESIDE_THE_MODEL),
        },
        segments=[
            SegmentReply(text=part.text, start=_milliseconds(part.start_s), end=_milliseconds(part.end_s))
            for part in speech.segments
        ],
        metrics=_metrics(
            speech,
            total_s=end_s - start_s,
            reference_s=reference_ready_s - start_s,
            encode_s=end_s - encode_start_s,
        ),
        warnings=[*voice_warnings, *default_warnings, *speech.warnings],
    )
    if sender is not None:
        reply["pieces"] = sender.count
        reply["warnings"].extend(sender.warnings)
        return reply
    add_audio(
        reply,
        audio,
        extension=request.format,
        mode=request.delivery,
        advice=SMALLER_AUDIO,
        services=services,
        job=job,
    )
    return reply


def _sender(request: TtsRequest, services: Services, job: Job) -> PieceSender | None:
    """None in basic mode. Raises InvalidRequest."""
    if request.mode == "basic":
        return None
    if job.emit is None:
        raise InvalidRequest(
            "mode: this endpoint does not stream; send 'basic', or use one that has ENDPOINT_MODE=streaming"
        )
    problems = []
    if request.audio_normalization is not None:
        problems.append("audio_normalization needs the whole audio: leave it out with mode 'streaming'")
    if request.delivery not in ("auto", "inline"):
        problems.append(f"delivery '{request.delivery}' and mode 'streaming' exclude each other")
    if problems:
        raise InvalidRequest("; ".join(problems))
    return PieceSender(request.format, request.sample_rate, SMALLER_AUDIO, services, job)


def _check_text(text: str, max_chars: int) -> None:
    if len(text) > max_chars:
        raise TextTooLong(
            f"text has {len(text)} characters and at most {max_chars} are spoken in one job; "
            "send it in several jobs"
        )


def _check_language(language: str, supported: Collection[str]) -> None:
    if language not in supported:
        raise UnsupportedLanguage(
            f"language '{shown(language)}' is not spoken by this model; send one of {', '.join(supported)}"
        )


def _choose_voice(request: TtsRequest, services: Services) -> tuple[ChosenVoice | None, list[str]]:
    """The voice, None for the built-in one, and what is to be said about its recording."""
    max_duration_s = request.max_reference_duration_sec
    if (sent := sent_recording(request, services.fetch)) is not None:
        recording, field = sent
        _, warnings = check_reference(recording, field)
        return ChosenVoice(Reference.of(recording)), list(warnings)
    if request.voice_name is not None or request.voice_id is not None:
        voice = find_stored_voice(
            services.voices,
            name=request.voice_name,
            voice_id=request.voice_id,
            max_duration_s=max_duration_s,
        )
        return voice, []
    return None, []


def _metrics(speech: Speech, *, total_s: float, reference_s: float, encode_s: float) -> dict[str, Any]:
    stages_s = {"reference": reference_s, **speech.stage_times_s, "encode": encode_s}
    return {
        "audio_duration": _milliseconds(speech.waveform.duration_s),
        "total_generation_time": _milliseconds(total_s),
        "rtf": round(total_s / speech.waveform.duration_s, 4),
        "stages": {stage: _milliseconds(time_s) for stage, time_s in stages_s.items()},
    }


def _milliseconds(time_s: float) -> float:
    """Seconds, rounded to whole milliseconds."""
    return round(time_s, 3)
