"""The parameters of speech: sent with a job, or kept with a voice for the jobs that do not send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from audio.speed import FASTEST, SLOWEST
from errors import InvalidRequest
from operations.request import Request, between, parse_request
from speech.contract import PARAMETER_NAMES, PARAMETER_RANGES, SamplingParams

DEFAULT_PARAMETERS = "default_parameters"  # the field that keeps them with a voice
SPEED = "speed"
NORMAL_SPEED = 1.0


def resolved(parameters: Mapping[str, Any]) -> tuple[SamplingParams, float]:
    """Returns what the model is to sample with, and the speed. parameters: those that were sent or kept."""
    sampling = {name: value for name, value in parameters.items() if name != SPEED}
    return SamplingParams(**sampling), float(parameters.get(SPEED, NORMAL_SPEED))


class SpeechParameters(Request):
    """The fields of ``SamplingParams``, with their ranges, and the speed. None: not sent."""

    exaggeration: Annotated[float | None, between(*PARAMETER_RANGES["exaggeration"])] = None
    cfg_weight: Annotated[float | None, between(*PARAMETER_RANGES["cfg_weight"])] = None
    temperature: Annotated[float | None, between(*PARAMETER_RANGES["temperature"])] = None
    top_p: Annotated[float | None, between(*PARAMETER_RANGES["top_p"])] = None
    min_p: Annotated[float | None, between(*PARAMETER_RANGES["min_p"])] = None
    repetition_penalty: Annotated[float | None, between(*PARAMETER_RANGES["repetition_penalty"])] = None
    top_k: Annotated[int | None, between(*PARAMETER_RANGES["top_k"], "a whole number")] = None
    speed: Annotated[float | None, between(SLOWEST, FASTEST)] = None

    def sent_parameters(self) -> dict[str, Any]:
        """The parameters that were sent, those of ``SamplingParams`` and ``speed``."""
        return self.model_dump(include={*PARAMETER_NAMES, SPEED}, exclude_none=True)


def usable_defaults(stored: Mapping[str, float]) -> tuple[dict[str, Any], list[str]]:
    """Returns the parameters that are kept with a voice, and a warning about each that is unusable here.

    stored: the voice's ``default_parameters``, which another program or another version may have written.
    """
    usable: dict[str, Any] = {}
    warnings = []
    for name, value in stored.items():
        try:
            request = parse_request(SpeechParameters, DEFAULT_PARAMETERS, {name: value})
        except InvalidRequest as error:
            sentence = error.render(lambda field: f"{DEFAULT_PARAMETERS}.{field}")
            warnings.append(f"ignored, though stored with the voice: {sentence}")
        else:
            usable |= request.sent_parameters()
    return usable, warnings
