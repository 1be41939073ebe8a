"""``tts``: text, spoken in a stored, a sent or the built-in voice."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

from pydantic import AfterValidator, Field

from audio.encode import FORMATS, SAMPLE_RATES_HZ
from cancel import CancelToken
from characters import has_speakable, printable_excerpt
from delivery import DeliveryMode
from errors import InvalidRequest, Problem, TextTooLong, UnsupportedLanguage
from operations.base import Services
from operations.conditionals import Reference
from operations.parameters import NORMAL_SPEED, SPEED, SpeechParameters, resolved, usable_defaults
from operations.reference import ReferenceFields, decode_reference, stored_reference
from operations.request import between, check_speakable, one_of
from operations.speech_result import SegmentReceipt, SpeechResult, at_speed
from operations.stored_voice import VoiceId, VoiceName
from speech.contract import Conditionals, ModelInfo, Utterance

VOICE_FIELDS = ("voice_name", "voice_id", "reference_audio", "reference_audio_url")
LARGEST_SEED = 2**63 - 1
RANDOM_SEED_BITS = 32  # a drawn seed is a number that every JSON reader keeps exactly


class TtsRequest(SpeechParameters, ReferenceFields):
    """mode and delivery are the transport's: how the audio reaches the caller."""

    text: Annotated[str, Field(description="a string, the text to speak"), AfterValidator(check_speakable)]
    mode: Annotated[Literal["basic", "streaming"], Field(description="'basic' or 'streaming'")] = "basic"
    voice_name: VoiceName = None
    voice_id: VoiceId = None
    seed: Annotated[int | None, between(0, LARGEST_SEED, "a whole number")] = None
    language: Annotated[str, Field(description="a language code such as 'en'")] = "en"
    format: Annotated[str, Field(description=f"one of {', '.join(FORMATS)}"), one_of(FORMATS)] = "wav"
    sample_rate: Annotated[int, Field(description="a sample rate in Hz"), one_of(SAMPLE_RATES_HZ)] = 24_000
    audio_normalization: Annotated[
        Literal["peak", "rms", "lufs"] | None, Field(description="null or one of peak, rms, lufs")
    ] = None
    strict: Annotated[bool, Field(description="true or false")] = False
    delivery: Annotated[DeliveryMode, Field(description="one of auto, inline, s3, volume")] = "auto"

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        voices = [name for name in VOICE_FIELDS if name in sent]
        if len(voices) < 2:
            return []
        return [Problem(f"{' and '.join(voices)} exclude each other", hint="send one of them")]


class VoiceReceipt(TypedDict):
    """Which voice spoke: both are null for a recording that came with the job."""

    voice_id: str | None
    voice_name: str | None


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


@dataclass(frozen=True)
class _ChosenVoice:
    """Who speaks."""

    reference: Reference | None  # None: the built-in voice
    receipt: VoiceReceipt | None = None
    default_parameters: Mapping[str, float] = field(default_factory=dict)  # as they are stored
    warnings: tuple[str, ...] = ()


def run(request: TtsRequest, services: Services, cancel: CancelToken) -> SpeechResult:
    """Returns speech on its way; its chunks raise what ``Synthesizer.synthesize`` raises.

    Raises InvalidRequest, TextTooLong, UnsupportedLanguage, VoiceNotFound, StoreCorrupt, StoreUnavailable,
    and what ``decode_reference`` and ``VoiceConditionals.get`` raise.
    """
    start_s = time.perf_counter()
    synthesizer, info = services.synthesizer, services.synthesizer.info
    _check_text(request.text, services.max_text_chars)
    text, tag_warnings = _sayable(request.text, info, strict=request.strict)
    language = _supported_language(request.language, info.spec.languages)
    voice = _choose_voice(request, services, cancel)
    defaults, default_warnings = usable_defaults(voice.default_parameters)
    found_s = time.perf_counter()
    conditionals = _conditionals(voice.reference, services, cancel)
    ready_s = time.perf_counter()

    seed = secrets.randbits(RANDOM_SEED_BITS) if request.seed is None else request.seed
    params, speed = resolved({**defaults, **request.sent_parameters()})
    utterance = Utterance(text, conditionals, seed, params, language)
    chunks = synthesizer.synthesize(
        [utterance], cancel, hop="stream" if request.mode == "streaming" else "whole"
    )
    return SpeechResult(
        chunks if speed == NORMAL_SPEED else at_speed(chunks, speed),
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
        warnings=[*tag_warnings, *voice.warnings, *default_warnings, *info.ignored(params)],
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


def _sayable(text: str, info: ModelInfo, *, strict: bool) -> tuple[str, list[str]]:
    """Returns a text with the event tags that the model makes sounds of, and warnings about others.

    Raises InvalidRequest for tags that it cannot say, when strict, and for a text of such tags alone.
    """
    rest, unknown = info.sayable(text)
    if not unknown:
        return rest, []
    listed, name = ", ".join(unknown), info.spec.name
    if strict or not has_speakable(rest):
        raise InvalidRequest(
            f"has event tags that the {name} model does not know: {listed}",
            field="text",
            hint="leave them out, or use a model that knows them, such as turbo",
        )
    return rest, [f"the {name} model does not know event tags: left out {listed}"]


def _supported_language(language: str, supported: Collection[str]) -> str:
    """The model's code for the language: "en-US" is spoken as "en". Raises UnsupportedLanguage."""
    codes = {code.casefold(): code for code in supported}
    tag = language.casefold().replace("_", "-")
    while tag not in codes:
        tag, _, subtag = tag.rpartition("-")
        if not subtag or not tag:
            raise UnsupportedLanguage(
                f"'{printable_excerpt(language)}' is not spoken by this model",
                field="language",
                hint=f"send one of {', '.join(supported)}",
            )
    return codes[tag]


def _choose_voice(request: TtsRequest, services: Services, cancel: CancelToken) -> _ChosenVoice:
    if (sent := decode_reference(request, services.fetch, cancel)) is not None:
        receipt = VoiceReceipt(voice_id=None, voice_name=None)
        return _ChosenVoice(Reference.of(sent.waveform), receipt, warnings=sent.warnings)
    if request.voice_name is None and request.voice_id is None:
        return _ChosenVoice(None)
    voice = services.voices.get(name=request.voice_name, voice_id=request.voice_id)
    return _ChosenVoice(
        stored_reference(voice, request.max_reference_duration_sec),
        VoiceReceipt(voice_id=voice.voice_id, voice_name=voice.name),
        voice.metadata["default_parameters"],
    )


def _conditionals(reference: Reference | None, services: Services, cancel: CancelToken) -> Conditionals:
    if reference is None:
        return services.synthesizer.builtin_voice()
    return services.conditionals.get(reference, cancel)
