"""``convert_voice``: what a recording says, in the same way and in another voice."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Annotated, Any, TypedDict

from pydantic import AfterValidator, Field

from audio.limits import LONG
from audio.quality import check_speech
from cancel import CancelToken
from errors import Problem
from operations.base import Services
from operations.chosen_model import ModelName, named_model
from operations.chosen_voice import VoiceFields, VoiceReceipt, choose_voice, conditionals_of
from operations.reference import decode_sent, one_recording
from operations.request import FieldError, value_excerpt
from operations.speech_result import SegmentReceipt, SpeechResult, milliseconds
from operations.spoken_audio import DeliveryWay, Format, SampleRate, Seed, random_seed
from speech.voice_activity import contains_speech

SOURCE_AUDIO = "source_audio"


def _check_mode(mode: str) -> str:
    if mode != "basic":
        raise FieldError(
            f"must be 'basic', not {value_excerpt(mode)}",
            "a conversion is answered whole; over HTTP, Accept: audio/* gives the audio while it is made",
        )
    return mode


class ConvertVoiceRequest(VoiceFields):
    """delivery is the transport's: how the audio reaches the caller."""

    source_audio: Annotated[
        str | None, Field(description="a recording in base64, with or without a data: prefix")
    ] = None
    source_audio_url: Annotated[str | None, Field(description="an https URL of a recording")] = None
    model: ModelName = None
    mode: Annotated[str, Field(description="'basic'"), AfterValidator(_check_mode)] = "basic"
    seed: Seed = None
    format: Format = "wav"
    sample_rate: SampleRate = 24_000
    delivery: DeliveryWay = "auto"

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        return [*one_recording(sent, SOURCE_AUDIO), *super().conflicts(sent)]


class ConvertVoiceReceipt(TypedDict):
    """What ``SpeechResult.receipt`` returns. Times in seconds."""

    format: str
    sample_rate: int  # Hz
    duration: float
    source_duration: float
    voice: VoiceReceipt | None  # null for the built-in voice
    seed: int
    model: dict[str, str]
    parameters: dict[str, Any]
    segments: list[SegmentReceipt]
    metrics: dict[str, Any]
    warnings: list[str]


def run(request: ConvertVoiceRequest, services: Services, cancel: CancelToken) -> SpeechResult:
    """Returns speech on its way; its chunks raise what ``Synthesizer.convert`` raises.

    Raises ReferenceInvalid, FetchRefused, FetchFailed, and what ``choose_voice`` and ``conditionals_of``
    raise.
    """
    start_s = time.perf_counter()
    synthesizer = named_model(request.model, services.models)
    info = synthesizer.info
    source, field = decode_sent(request, SOURCE_AUDIO, services.fetch, cancel, LONG)
    check_speech(source, field, contains_speech)
    decoded_s = time.perf_counter()
    voice = choose_voice(request, services, cancel)
    found_s = time.perf_counter()
    conditionals = conditionals_of(voice, synthesizer, services, cancel)
    ready_s = time.perf_counter()
    seed = random_seed() if request.seed is None else request.seed
    return SpeechResult(
        synthesizer.convert(source, conditionals, seed, cancel),
        synthesizer,
        cancel,
        format=request.format,
        sample_rate_hz=request.sample_rate,
        normalization=None,
        facts={
            "source_duration": milliseconds(source.duration_s),
            "voice": voice.receipt,
            "seed": seed,
            "model": {"variant": info.spec.name, "revision": info.revision},
            "parameters": {
                "max_reference_duration_sec": request.max_reference_duration_sec,
                "delivery": request.delivery,
            },
        },
        warnings=voice.warnings,
        stage_times_s={
            "source": decoded_s - start_s,
            "reference": found_s - decoded_s,
            "conditionals": ready_s - found_s,
        },
        started_s=start_s,
    )
