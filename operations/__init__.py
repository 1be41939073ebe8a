"""The operations by name, and the way from a job's input to its reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from audio.quality import measure_quality
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import InvalidRequest, UnknownOperation
from operations import clone_voice, delete_voice, get_voice, list_voices, tts, update_voice
from operations.base import Job, Operation, Services
from operations.request import did_you_mean, parse_request, shown
from speech.contract import UNTRAINED_WARNING

OPERATIONS: Mapping[str, Operation[Any]] = {
    "tts": Operation(tts.TtsRequest, tts.run),
    "clone_voice": Operation(clone_voice.CloneVoiceRequest, clone_voice.run),
    "list_voices": Operation(list_voices.ListVoicesRequest, list_voices.run),
    "get_voice": Operation(get_voice.GetVoiceRequest, get_voice.run),
    "update_voice": Operation(update_voice.UpdateVoiceRequest, update_voice.run),
    "delete_voice": Operation(delete_voice.DeleteVoiceRequest, delete_voice.run),
}


def warm_up() -> None:
    """Pay for what the first recording would: measuring loudness imports scipy, for seconds."""
    measure_quality(
        Waveform(np.linspace(-0.5, 0.5, MODEL_SAMPLE_RATE_HZ, dtype=np.float32), MODEL_SAMPLE_RATE_HZ)
    )


def dispatch(job_input: object, services: Services, job: Job) -> dict[str, Any]:
    """The reply to a job's ``input``. Raises WorkerError."""
    if not isinstance(job_input, Mapping):
        raise InvalidRequest("input must be a JSON object with an 'operation' and its fields")
    name = job_input.get("operation")
    if not isinstance(name, str):
        raise InvalidRequest(f"operation is required: send one of {', '.join(OPERATIONS)}")
    if name not in OPERATIONS:
        hints = [did_you_mean(name, OPERATIONS), f"the operations are {', '.join(OPERATIONS)}"]
        raise UnknownOperation(f"'{shown(name)}' is not an operation: {' '.join(filter(None, hints))}")
    operation = OPERATIONS[name]
    fields = {field: value for field, value in job_input.items() if field != "operation"}
    request = parse_request(operation.request, name, fields)
    reply = dict(operation.run(request, services, job))
    if services.speaker.info.untrained:
        reply["warnings"] = [*reply.get("warnings", []), UNTRAINED_WARNING]
    return reply
