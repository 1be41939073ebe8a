"""OpenAI's API in the terms of the operations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from characters import printable_excerpt
from errors import InvalidRequest, Problem
from operations.base import Services
from operations.chosen_voice import VOICE_FIELDS
from operations.request import did_you_mean, parse_request, value_excerpt
from operations.tts import TtsRequest
from operations.voice_details import comparable
from settings import OPENAI_MODEL_PREFIXES

# Voices of OpenAI's that clients send without asking which ones there are.
_OPENAI_VOICES = "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar"
OPENAI_VOICES = frozenset(_OPENAI_VOICES.split())
# Models of OpenAI's that clients send; each means the first model that speaks the text's language.
OPENAI_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
DEFAULT_FORMAT = "mp3"  # OpenAI's
STREAM_FORMATS = ("audio", "sse")
# Tools send these as empty strings when nobody filled in their settings.
UNSET_IF_EMPTY = ("model", "voice")
OWNER = "chatterbox-voice-worker"
MAX_VOICE_CHARS = 1024
# What OpenAI calls fields of ``tts``.
RENAMED = {"text": "input", "format": "response_format"}
NAMES = {**RENAMED, "voice_name": "voice", "voice_id": "voice"}
FIELDS = (
    *(RENAMED.get(name, name) for name in TtsRequest.model_fields),
    *("voice", "stream_format", "instructions"),
)

StreamFormat = Literal["audio", "sse"]


@dataclass(frozen=True)
class SpeechRequest:
    """A request to speak, whose voice has not been looked up yet."""

    request: TtsRequest
    voice: str | None  # a name, an id or one of OpenAI's; None: what the request says
    stream_format: StreamFormat = "audio"
    warnings: tuple[str, ...] = ()

    def with_voice(self, services: Services) -> tuple[TtsRequest, list[str]]:
        """Returns the request in its voice, and warnings about that.

        A stored voice's name or alias wins over an id, and both over a name of OpenAI's, which means the
        built-in voice. Raises VoiceNotFound, StoreUnavailable.
        """
        warnings = list(self.warnings)
        if self.voice is None:
            return self.request, warnings
        if services.voices.find(name=self.voice) is None:
            if services.voices.find(voice_id=self.voice) is not None:
                return self.request.model_copy(update={"voice_id": self.voice}), warnings
            openai_voice = comparable(self.voice)
            if openai_voice in OPENAI_VOICES:
                warnings.append(
                    f"no stored voice is called {openai_voice}: the model's built-in voice speaks"
                )
                return self.request, warnings
        return self.request.model_copy(update={"voice_name": self.voice}), warnings


SPEECH_PATH, MODELS_PATH, VOICES_PATH = "/v1/audio/speech", "/v1/models", "/v1/audio/voices"


@dataclass(frozen=True)
class OpenAIRoute:
    """A request to OpenAI's API that came as a job of the queue."""

    path: str
    fields: Mapping[str, Any]  # of its body


def openai_route(event: object) -> OpenAIRoute | None:
    """Returns what the platform's route for OpenAI's clients made of a request; None for any other job.

    Raises InvalidRequest for a route that is not here.
    """
    job_input = event.get("input") if isinstance(event, Mapping) else None
    if not isinstance(job_input, Mapping) or "openai_route" not in job_input:
        return None
    path, body = job_input["openai_route"], job_input.get("openai_input")
    known = (SPEECH_PATH, MODELS_PATH, VOICES_PATH)
    if path not in known:
        hint = f"the routes are {', '.join(known)}"
        raise InvalidRequest(f"{value_excerpt(path)} is not here", field="openai_route", hint=hint)
    if body is not None and not isinstance(body, Mapping):
        raise InvalidRequest("must be a JSON object", field="openai_input")
    return OpenAIRoute(path, body or {})


def openai_name(field: str) -> str:
    """Returns what OpenAI's request calls a field of ``tts``."""
    return NAMES.get(field, field)


def openai_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Returns problems of a ``tts`` job with OpenAI's names of the fields."""
    return tuple(replace(one, field=one.field and openai_name(one.field)) for one in problems)


def parse_openai_request(
    fields: Mapping[str, Any], models: Collection[str], mode: str = "streaming"
) -> SpeechRequest:
    """Reads an OpenAI speech request; further fields are those of ``tts``. Raises InvalidRequest.

    models: the names of this worker's. mode: of ``tts``, unless the request has one.
    """
    rest = {
        name: value
        for name, value in fields.items()
        if value is not None and not (value == "" and name in UNSET_IF_EMPTY)
    }
    problems: list[Problem] = []
    warnings: list[str] = []
    model = rest.get("model")
    if model is not None and not _is_known(model, models):
        reason = f"{value_excerpt(model)} is not spoken by this worker"
        problems.append(Problem(reason, "model", f"send one of {', '.join([*models, *OPENAI_MODELS])}"))
    if not isinstance(model, str) or model not in models:
        rest.pop("model", None)  # unknown, or a name of OpenAI's: whichever speaks the language
    stream_format = rest.pop("stream_format", "audio")
    if stream_format not in STREAM_FORMATS:
        reason = f"must be one of {', '.join(STREAM_FORMATS)}, not {value_excerpt(stream_format)}"
        problems.append(Problem(reason, "stream_format"))
    if rest.pop("instructions", None) not in (None, ""):
        warnings.append("instructions have no effect on this model: use exaggeration and temperature")
    voice = _voice(rest.pop("voice", None), problems)
    if voice is not None and (others := [name for name in VOICE_FIELDS if name in rest]):
        reason = f"voice and {' and '.join(others)} exclude each other"
        problems.append(Problem(reason, hint="send one of them"))
    for name in [name for name in rest if name not in FIELDS]:
        if name in RENAMED:  # not as the problem's field, which is given OpenAI's name
            problems.append(Problem(f"{name} is not a field of speech", hint=f"send {RENAMED[name]}"))
        else:
            hint = did_you_mean(name, FIELDS)
            problems.append(Problem("is not a field of speech", printable_excerpt(name), hint))
        del rest[name]
    if rest.get("turns") is not None and "input" in rest:
        if rest["input"] != "":  # which OpenAI's libraries require
            problems.append(Problem("input and turns exclude each other", hint="send one of them"))
        del rest["input"]
    for ours, theirs in RENAMED.items():
        if theirs in rest:
            rest[ours] = rest.pop(theirs)
    if "audio_normalization" in rest:  # whoever wants the loudness of the whole waits for the whole
        mode = "basic"
    try:
        request = parse_request(TtsRequest, "speech", {"format": DEFAULT_FORMAT, "mode": mode, **rest})
    except InvalidRequest as error:
        raise InvalidRequest.of([*problems, *openai_problems(error.problems)]) from None
    if problems:
        raise InvalidRequest.of(problems)
    if isinstance(voice, dict):
        request, voice = request.model_copy(update={"voice_id": voice["id"]}), None
    return SpeechRequest(request, voice, stream_format, tuple(warnings))


def speech_schema(tts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the JSON schema of OpenAI's speech request, with the further fields that are taken here.

    tts: the schema of ``TtsRequest``.
    """
    fields = {RENAMED.get(name, name): field for name, field in tts["properties"].items()}
    del fields["delivery"]  # the audio is the reply
    fields["response_format"] = {**fields["response_format"], "default": DEFAULT_FORMAT}
    fields["mode"] = {**fields["mode"], "default": "streaming"}
    fields["voice"] = {"anyOf": [{"type": "string"}, {"type": "object", "required": ["id"]}]}
    fields["stream_format"] = {"enum": [*STREAM_FORMATS], "default": "audio"}
    fields["instructions"] = {"type": "string"}
    said = [{"required": ["input"]}, {"required": ["turns"]}]
    return {"type": "object", "properties": fields, "additionalProperties": False, "anyOf": said}


def models_list(models: Mapping[str, Sequence[str]], created: int) -> dict[str, Any]:
    """Returns the worker's models, and OpenAI's names that mean any of them, as OpenAI lists models.

    models: languages by name. created: seconds since 1970.
    """
    names = (*models, *OPENAI_MODELS)
    return {"object": "list", "data": [model_entry(name, models, created) for name in names]}


def model_entry(name: str, models: Mapping[str, Sequence[str]], created: int) -> dict[str, Any]:
    """Returns a model as OpenAI's API describes one, and its languages. Arguments: see ``models_list``."""
    languages = models.get(name) or dict.fromkeys(code for codes in models.values() for code in codes)
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "languages": list(languages),
    }


def voices_list(voices: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns stored voices under both names by which clients look for them."""
    listed = [{"id": voice["voice_id"], "name": voice["speaker_name"]} for voice in voices]
    return {"object": "list", "data": listed, "voices": listed}


def _is_known(model: object, models: Collection[str]) -> bool:
    return isinstance(model, str) and (model in models or model.startswith(OPENAI_MODEL_PREFIXES))


def _voice(voice: object, problems: list[Problem]) -> str | dict[str, str] | None:
    """Returns the voice as it was sent, a name or ``{"id": ...}``; None where none was, or a bad one."""
    name = voice.get("id") if isinstance(voice, dict) and set(voice) == {"id"} else voice
    if voice is None or (isinstance(name, str) and 0 < len(name) <= MAX_VOICE_CHARS):
        return voice  # type: ignore[return-value]
    wanted = 'must be the name or the id of a voice, or {"id": ...}'
    problems.append(Problem(f"{wanted}, not {value_excerpt(voice)}", "voice"))
    return None
