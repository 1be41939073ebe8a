"""The parameters of speech: sent with a job, or kept with a voice for the jobs that do not send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from errors import InvalidRequest
from operations.request import Request, between, parse_request
from speech.contract import PARAMETER_NAMES

DEFAULT_PARAMETERS = "default_parameters"  # the field that keeps them with a voice


class SpeechParameters(Request):
    """The fields of ``SamplingParams``, with their ranges. None: not sent."""

    exaggeration: Annotated[float | None, between(0, 2)] = None
    cfg_weight: Annotated[float | None, between(0, 1)] = None
    temperature: Annotated[float | None, between(0, 5)] = None
    top_p: Annotated[float | None, between(0, 1)] = None
    min_p: Annotated[float | None, between(0, 1)] = None
    repetition_penalty: Annotated[float | None, between(1, 2)] = None
    top_k: Annotated[int | None, between(0, 1000, "a whole number")] = None

    def sent_parameters(self) -> dict[str, Any]:
        """The parameters that were sent, as ``SamplingParams`` takes them."""
        return self.model_dump(include=set(PARAMETER_NAMES), exclude_none=True)


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
