"""The use cases of the worker, one a file: a request and services in, a result out.

Nothing here knows how a job came or how its reply leaves: that is what transports (``serving``) are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic.json_schema import models_json_schema

from audio.decode import decode_audio
from audio.encode import encode
from audio.quality import measure_quality
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from characters import printable_excerpt
from errors import UnknownOperation
from operations import (
    check_watermark,
    clone_voice,
    convert_voice,
    delete_voice,
    get_voice,
    list_voices,
    tts,
    update_voice,
)
from operations.base import Operation
from operations.request import did_you_mean
from speech.text.normalization import normalize

OPERATIONS: Mapping[str, Operation[Any]] = {
    "tts": Operation(tts.TtsRequest, tts.run),
    "clone_voice": Operation(clone_voice.CloneVoiceRequest, clone_voice.run),
    "list_voices": Operation(list_voices.ListVoicesRequest, list_voices.run),
    "get_voice": Operation(get_voice.GetVoiceRequest, get_voice.run),
    "update_voice": Operation(update_voice.UpdateVoiceRequest, update_voice.run),
    "delete_voice": Operation(delete_voice.DeleteVoiceRequest, delete_voice.run),
    "convert_voice": Operation(convert_voice.ConvertVoiceRequest, convert_voice.run),
    "check_watermark": Operation(check_watermark.CheckWatermarkRequest, check_watermark.run),
}
# Names of the system that this worker replaces.
OLD_NAMES: Mapping[str, str] = {
    "expressive_tts": "tts",
    "voice_conversion": "convert_voice",
    "voice_transfer": "convert_voice",
    "voice_cloning": "clone_voice",
    "list_local_voices": "list_voices",
}
OLD_MODES: Mapping[str, str] = {"streaming_voice_cloning": "streaming"}  # of tts


def in_current_terms(name: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Returns an operation's name and fields without old names, and warnings about those that there were."""
    fields, warnings = dict(fields), []
    if name in OLD_NAMES:
        warnings.append(f"the operation {name} is called {OLD_NAMES[name]} now")
        name = OLD_NAMES[name]
    mode = fields.get("mode")
    if name == "tts" and isinstance(mode, str) and mode in OLD_MODES:
        warnings.append(f"the mode {mode} is called {OLD_MODES[mode]} now")
        fields["mode"] = OLD_MODES[mode]
    return name, fields, tuple(warnings)


def find_operation(name: str) -> Operation[Any]:
    """Returns the operation of that name. Raises UnknownOperation."""
    if name not in OPERATIONS:
        hints = [did_you_mean(name, OPERATIONS), f"the operations are {', '.join(OPERATIONS)}"]
        reason = f"'{printable_excerpt(name)}' is not an operation"
        raise UnknownOperation(reason, hint=" ".join(filter(None, hints)))
    return OPERATIONS[name]


def request_schemas(ref_template: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the JSON schema of each operation's request, and the schemas that those refer to.

    ref_template: of references to the latter, with ``{model}`` for the name.
    """
    inputs = [(operation.request, "validation") for operation in OPERATIONS.values()]
    references, definitions = models_json_schema(inputs, ref_template=ref_template)  # type: ignore[arg-type]
    schemas = {name: references[operation.request, "validation"] for name, operation in OPERATIONS.items()}
    return schemas, definitions.get("$defs", {})


# Numbers, a unit, a sum of money and a time: what reads each is imported.
_FIRST_TEXT = "In 1998, 5 km for $5.50 at 5:30."


def warm_up(language: str) -> None:
    """Reads a text, and decodes and measures a short recording, so that the first job need not import.

    Where the kernel refuses a part of the decoder's sandbox, the log says so at the start. language: the
    code of the worker's usual one.
    """
    normalize(_FIRST_TEXT, language)
    samples = np.linspace(-0.5, 0.5, MODEL_SAMPLE_RATE_HZ, dtype=np.float32)
    measure_quality(
        decode_audio(encode(Waveform(samples, MODEL_SAMPLE_RATE_HZ), "wav", MODEL_SAMPLE_RATE_HZ))
    )
