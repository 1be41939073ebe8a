"""Jobs and replies in JSON, audio in base64, and limits of size."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

from audio.encode import encode
from audio.waveform import Waveform
from delivery.delivering import ENVELOPE_BYTES, posted_bytes
from errors import Internal, InvalidRequest, OutOfMemory, OutputTooLarge, WorkerError
from operations import OPERATIONS, find_operation, in_current_terms
from operations.base import Operation
from operations.request import Request, parse_request
from version import WORKER

PIECE_LIMIT_BYTES = 1_000_000  # for one piece of a stream

_WARNINGS_BYTES = 512  # room for what is said about a list that is cut


@dataclass(frozen=True)
class Limits:
    """How large a reply may be that arrives. None: any size does."""

    reply_bytes: int | None  # of a reply in one; on an endpoint that streams it is a piece
    result_bytes: int | None  # of all pieces of a stream together


# The limits of a job with this id, and whether it is answered in pieces.
LimitsOf = Callable[[str, bool], Limits]


@dataclass(frozen=True)
class Job:
    """A job that has been read."""

    id: str
    operation: Operation[Any]
    request: Request
    input: Mapping[str, Any]  # as it came
    s3_config: Mapping[str, Any] | None  # the bucket that the job brings, unchecked
    warnings: tuple[str, ...] = ()  # about how it was sent


def job_id_of(event: object) -> str:
    """The platform's id, fit for replies and logs; a new one when there is none."""
    job_id = event.get("id") if isinstance(event, Mapping) else None
    if not isinstance(job_id, str) or not job_id:
        return uuid.uuid4().hex
    return job_id.encode("utf-8", "backslashreplace").decode()


def parse_job(event: object, job_id: str) -> Job:
    """Returns the job. job_id: see ``job_id_of``. Raises InvalidRequest, UnknownOperation."""
    if not isinstance(event, Mapping) or "input" not in event:
        raise InvalidRequest("is required", field="input", hint='send {"input": {"operation": ...}}')
    s3_config = event.get("s3Config")
    if s3_config is not None and not isinstance(s3_config, Mapping):
        raise InvalidRequest("must be an object, beside input", field="s3Config")
    job_input = event["input"]
    if not isinstance(job_input, Mapping):
        raise InvalidRequest("must be a JSON object with an 'operation' and its fields", field="input")
    name = job_input.get("operation")
    if not isinstance(name, str):
        hint = f"send one of {', '.join(OPERATIONS)}"
        raise InvalidRequest("is required", field="operation", hint=hint)
    fields = {field: value for field, value in job_input.items() if field != "operation"}
    name, fields, warnings = in_current_terms(name, fields)
    operation = find_operation(name)
    request = parse_request(operation.request, name, fields)
    return Job(job_id, operation, request, job_input, s3_config, warnings)


def error_sentence(error: WorkerError) -> str:
    """The error in the API's terms, behind its code."""
    return f"{error.code}: {error.render()}"


def start_failure(error: WorkerError) -> str:
    """What is said of a worker that cannot start. Hints for a job's caller are left out."""
    if isinstance(error, Internal | OutOfMemory):
        return (
            f"cannot start: the loaded model does not speak: {error.reason}; check the weights and the GPU, "
            "the log says more"
        )
    return f"cannot start: {error_sentence(error)}"


def error_reply(error: WorkerError) -> dict[str, Any]:
    """The reply of a job that failed."""
    return {"error": error_sentence(error), "error_code": error.code}


def complete(reply: dict[str, Any], notices: Iterable[str] = ()) -> dict[str, Any]:
    """The reply with what every reply says: the worker that made it, and what is odd about its weights.

    notices: about the weights, see ``Models.notices``; the receipt of speech has its own.
    """
    reply = {**reply, "worker": WORKER}
    if warnings := [*reply.get("warnings", []), *notices]:
        reply["warnings"] = warnings
    return reply


def add_preview(reply: dict[str, Any], preview: Waveform, limits: Limits) -> None:
    """Adds the preview of a voice as ``sample_audio``; without it, the voice is stored all the same."""
    encoded = base64.b64encode(encode(preview, "wav", preview.sample_rate_hz)).decode("ascii")
    limit_bytes = limits.reply_bytes
    if limit_bytes is not None and posted_bytes(reply) + len(encoded) + ENVELOPE_BYTES > limit_bytes:
        reply["warnings"].append("the preview is too large for a reply: speak a sentence with tts instead")
    else:
        reply["sample_audio"] = encoded


def add_kept_preview(reply: dict[str, Any], preview: bytes, limits: Limits) -> None:
    """Adds the kept preview of a voice as ``preview``, where it fits."""
    encoded = base64.b64encode(preview).decode("ascii")
    limit_bytes = limits.reply_bytes
    if limit_bytes is not None and posted_bytes(reply) + len(encoded) + ENVELOPE_BYTES > limit_bytes:
        reply["warnings"].append("the preview is too large for this reply: ask for it without include_audio")
    else:
        reply["preview"] = encoded


def cut_list(reply: dict[str, Any], offset: int, limits: Limits) -> None:
    """Leaves out the voices of ``list_voices`` that do not fit, and says so."""
    if limits.reply_bytes is None:
        return
    room_bytes = limits.reply_bytes - ENVELOPE_BYTES - _WARNINGS_BYTES
    if posted_bytes(reply) <= room_bytes:
        return
    voices, reply["voices"] = reply["voices"], []
    if posted_bytes(reply) > room_bytes:  # nearly every voice has a gender of its own
        reply["stats"]["gender_distribution"] = {}
        reply["warnings"].append("gender_distribution is left out, because there are too many genders")
    sizes_bytes = (posted_bytes(voice) + len(", ") for voice in voices)
    used_bytes = accumulate(sizes_bytes, initial=posted_bytes(reply))
    count = sum(1 for _ in takewhile(lambda used: used <= room_bytes, used_bytes)) - 1
    reply["voices"] = voices[:count]
    reply["warnings"].append(
        f"{len(voices) - count} of {len(voices)} voices are left out, because a reply has at most "
        f"{limits.reply_bytes} bytes: ask for them with offset {offset + count}, or for fewer at a time with "
        "limit"
    )


def check_sendable(reply: Mapping[str, Any], limit_bytes: int | None) -> None:
    """Raises TypeError, ValueError or OutputTooLarge for what the SDK or the platform drops, without an
    error."""
    size_bytes = posted_bytes(reply)
    if limit_bytes is not None and size_bytes > limit_bytes:
        raise OutputTooLarge(
            f"the reply would have {size_bytes} bytes and {limit_bytes} is the platform's limit",
            hint="ask for less",
        )
