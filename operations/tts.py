"""``tts``: text, spoken in a stored, a sent or the built-in voice."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, TypedDict

from pydantic import AfterValidator, Field

from cancel import CancelToken
from errors import TextTooLong
from operations.base import Services
from operations.chosen_model import Language, ModelName, choose_model, named_model
from operations.chosen_voice import VoiceFields, VoiceReceipt, choose_voice, conditionals_of
from operations.event_tags import sayable
from operations.parameters import SPEED, SpeechParameters, resolved, usable_defaults
from operations.request import check_speakable
from operations.speech_result import SegmentReceipt, SpeechResult, at_speed
from operations.spoken_audio import DeliveryWay, Format, SampleRate, Seed, random_seed
from speech.contract import Utterance


class TtsRequest(SpeechParameters, VoiceFields):
    """mode and delivery are the transport's: how the audio reaches the caller."""

    text: Annotated[str, Field(description="a string, the text to speak"), AfterValidator(check_speakable)]
    mode: Annotated[Literal["basic", "streaming"], Field(description="'basic' or 'streaming'")] = "basic"
    seed: Seed = None
    model: ModelName = None
    language: Language = None
    format: Format = "wav"
    sample_rate: SampleRate = 24_000
    audio_normalization: Annotated[
        Literal["peak", "rms", "lufs"] | None, Field(description="null or one of peak, rms, lufs")
    ] = None
    strict: Annotated[bool, Field(description="true or false")] = False
    delivery: DeliveryWay = "auto"


class TtsReceipt(TypedDict):
    """What ``SpeechResult.receipt`` returns. Times in seconds."""

    format: str
    sample_rate: int  # Hz
    duration: float
    text: str
    mode: str
    voice: VoiceReceipt | None  # null for the built-in voice
    seed: int
    model: dict[str, str]
    parameters: dict[str, Any]
    segments: list[SegmentReceipt]
    metrics: dict[str, Any]
    warnings: list[str]


def run(request: TtsRequest, services: Services, cancel: CancelToken) -> SpeechResult:
    """Returns speech on its way; its chunks raise what ``Synthesizer.synthesize`` raises.

    Raises InvalidRequest, TextTooLong, UnsupportedLanguage, VoiceNotFound, StoreCorrupt, StoreUnavailable,
    and what ``decode_reference`` and ``VoiceConditionals.get`` raise.
    """
    start_s = time.perf_counter()
    _check_text(request.text, services.max_text_chars)
    named_model(request.model, services.models)  # before a recording is fetched
    if request.language is not None:
        choose_model(request.model, request.language, services)
    voice = choose_voice(request, services, cancel)
    chosen = choose_model(request.model, request.language, services, voice.language)
    synthesizer, language = chosen.synthesizer, chosen.language
    info = synthesizer.info
    text, tag_warnings = sayable(request.text, info, field="text", strict=request.strict)
    defaults, default_warnings = usable_defaults(voice.default_parameters)
    found_s = time.perf_counter()
    conditionals = conditionals_of(voice, synthesizer, services, cancel)
    ready_s = time.perf_counter()

    seed = random_seed() if request.seed is None else request.seed
    params, speed = resolved({**defaults, **request.sent_parameters()})
    utterance = Utterance(text, conditionals, seed, params, language)
    chunks = synthesizer.synthesize(
        [utterance], cancel, hop="stream" if request.mode == "streaming" else "whole"
    )
    return SpeechResult(
        at_speed(chunks, [speed]),
        synthesizer,
        cancel,
        format=request.format,
        sample_rate_hz=request.sample_rate,
        normalization=request.audio_normalization,
        facts={
            "text": request.text,
            "mode": request.mode,
            "voice": voice.receipt,
            "seed": seed,
            "model": {"variant": info.spec.name, "revision": info.revision},
            "parameters": {
                **info.resolve(params),
                "language": language,
                "max_reference_duration_sec": request.max_reference_duration_sec,
                "audio_normalization": request.audio_normalization,
                SPEED: speed,
                "delivery": request.delivery,
            },
        },
        warnings=[*chosen.warnings, *tag_warnings, *voice.warnings, *default_warnings, *info.ignored(params)],
        stage_times_s={"reference": found_s - start_s, "conditionals": ready_s - found_s},
        started_s=start_s,
    )


def _check_text(text: str, max_chars: int) -> None:
    if len(text) > max_chars:
        raise TextTooLong(
            f"has {len(text)} characters and at most {max_chars} are spoken in one job",
            field="text",
            hint="send it in several jobs",
        )
