"""``tts``: text or a dialogue, spoken in stored voices, in one that is sent, or in the built-in one."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from pydantic import AfterValidator, ConfigDict, Field

from cancel import CancelToken
from errors import Problem, TextTooLong
from operations.base import Services
from operations.chosen_model import Language, ModelName, choose_model, named_model
from operations.chosen_voice import VoiceFields, VoiceReceipt, choose_voice
from operations.evenness import even_level, room_tone
from operations.parameters import SPEED, SpeechParameters
from operations.pronunciations import Pronunciations
from operations.request import between, check_speakable
from operations.script import MAX_TURNS, Turn, choose_voices, read_lines, read_parts
from operations.speech_result import SegmentReceipt, SpeechResult, at_speed
from operations.spoken_audio import DeliveryWay, Format, SampleRate, Seed, random_seed
from speech.contract import DEFAULT_TAKES, MAX_TAKES, ModelInfo
from speech.text.markup import Markup


class TtsRequest(SpeechParameters, VoiceFields):
    """mode and delivery are the transport's: how the audio reaches the caller."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["text"]}, {"required": ["turns"]}]})

    text: Annotated[
        str | None, Field(description="a string, the text to speak"), AfterValidator(check_speakable)
    ] = None
    turns: Annotated[
        list[Turn] | None,
        Field(
            min_length=1,
            max_length=MAX_TURNS,
            description=f"a list of 1 to {MAX_TURNS} objects with text and, if wanted, a voice",
        ),
    ] = None
    markup: Annotated[Markup, Field(description="one of tags, ssml, plain")] = "tags"
    normalize_text: Annotated[bool, Field(description="true or false")] = True
    pronunciations: Pronunciations = None
    mode: Annotated[Literal["basic", "streaming"], Field(description="'basic' or 'streaming'")] = "basic"
    seed: Seed = None
    model: ModelName = None
    language: Language = None
    format: Format = "wav"
    sample_rate: SampleRate = 24_000
    audio_normalization: Annotated[
        Literal["peak", "rms", "lufs"] | None, Field(description="null or one of peak, rms, lufs")
    ] = None
    even_level: Annotated[bool, Field(description="true or false")] = False
    room_tone: Annotated[bool, Field(description="true or false")] = False
    timestamps: Annotated[Literal["none", "words"], Field(description="'none' or 'words'")] = "none"
    subtitles: Annotated[Literal["none", "srt", "vtt"], Field(description="one of none, srt, vtt")] = "none"
    max_takes: Annotated[int, between(1, MAX_TAKES, "a whole number")] = DEFAULT_TAKES
    short_text_context: Annotated[bool, Field(description="true or false")] = False
    strict: Annotated[bool, Field(description="true or false")] = False
    delivery: DeliveryWay = "auto"

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        problems = super().conflicts(sent)
        match ("text" in sent, "turns" in sent):
            case (True, True):
                problems.append(Problem("text and turns exclude each other", hint="send one of them"))
            case (False, False):
                problems.append(
                    Problem("is required", "text", "send the text to speak, or turns of a dialogue")
                )
        return problems

    @property
    def texts(self) -> list[str]:
        """The texts that were sent: one, or one for each turn."""
        return [turn.text for turn in self.turns] if self.turns is not None else [self.text or ""]


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
    timing: NotRequired[Literal["aligned", "estimated"]]  # of the two below
    words: NotRequired[list[dict[str, Any]]]  # with timestamps: text, start, end, segment
    subtitles: NotRequired[str]
    metrics: dict[str, Any]
    warnings: list[str]


def run(request: TtsRequest, services: Services, cancel: CancelToken) -> SpeechResult:
    """Returns speech on its way; its chunks raise what ``Synthesizer.synthesize`` raises.

    Raises InvalidRequest, TextTooLong, UnsupportedLanguage, VoiceNotFound, StoreCorrupt, StoreUnavailable,
    and what ``decode_reference`` and ``VoiceConditionals.get`` raise.
    """
    start_s = time.perf_counter()
    _check_length(request, services.max_text_chars)
    named_model(request.model, services.models)  # before a recording is fetched
    if request.language is not None:
        choose_model(request.model, request.language, services)
    seed = random_seed() if request.seed is None else request.seed
    script = read_parts(
        request.text,
        request.turns,
        markup=request.markup,
        strict=request.strict,
        seed=seed,
        language=request.language,
        parameters=request.sent_parameters(),
    )
    default_voice = choose_voice(request, services, cancel)
    voices = choose_voices(script.parts, default_voice, services, request.max_reference_duration_sec)
    voices_chosen_s = time.perf_counter()
    read = read_lines(
        script.parts,
        voices,
        services,
        cancel,
        model=request.model,
        strict=request.strict,
        normalizes=request.normalize_text,
        pronunciations=request.pronunciations,
        max_takes=request.max_takes,
        align=request.timestamps != "none" or request.subtitles != "none",
        context=request.short_text_context,
    )
    lines_read_s = time.perf_counter()
    lines = read.lines
    synthesizer = read.synthesizer
    info = synthesizer.info
    is_streamed = request.mode == "streaming"
    utterances = [line.utterance for line in lines]
    chunks = synthesizer.synthesize(utterances, cancel, hop="stream" if is_streamed else "whole")
    chunks = at_speed(chunks, [line.speed for line in lines])
    if request.even_level:
        chunks = even_level(chunks, streamed=is_streamed)
    if request.room_tone:
        chunks = room_tone(chunks, seed)
    return SpeechResult(
        chunks,
        synthesizer,
        cancel,
        format=request.format,
        sample_rate_hz=request.sample_rate,
        normalization=request.audio_normalization,
        lines=[line.receipt for line in lines],
        pause_before_s=script.pause_before_s + read.pause_before_s,
        times_words=request.timestamps == "words",
        subtitles=None if request.subtitles == "none" else request.subtitles,
        facts={
            "text": "\n".join(request.texts),
            "mode": request.mode,
            "voice": lines[0].voice.receipt,
            "seed": seed,
            "model": {"variant": info.spec.name, "revision": info.revision},
            "parameters": {
                **info.resolve(utterances[0].params),
                "language": utterances[0].language,
                "max_reference_duration_sec": request.max_reference_duration_sec,
                "audio_normalization": request.audio_normalization,
                SPEED: lines[0].speed,
                "markup": request.markup,
                "normalize_text": request.normalize_text,
                "even_level": request.even_level,
                "room_tone": request.room_tone,
                "max_takes": request.max_takes,
                "short_text_context": request.short_text_context,
                "delivery": request.delivery,
            },
        },
        warnings=[*script.warnings, *read.warnings, *_without_effect(request, info)],
        stage_times_s={
            "reference": voices_chosen_s - start_s,
            "conditionals": read.conditionals_s,
            "text": lines_read_s - voices_chosen_s - read.conditionals_s,
        },
        started_s=start_s,
    )


def _without_effect(request: TtsRequest, info: ModelInfo) -> list[str]:
    """Returns warnings about fields that change nothing in this job."""
    if not request.short_text_context:
        return []
    if request.mode == "streaming":
        return ["short_text_context has no effect in mode 'streaming'"]
    if not info.can_align:
        return [
            f"short_text_context has no effect on the {info.spec.name} model: its attention tells no times"
        ]
    return []


def _check_length(request: TtsRequest, max_chars: int) -> None:
    count = sum(map(len, request.texts))
    if count > max_chars:
        raise TextTooLong(
            f"has {count} characters and at most {max_chars} are spoken in one job",
            field="text" if request.turns is None else "turns",
            hint="send it in several jobs",
        )
