"""``check_watermark``: whether a recording carries the watermark of the model's makers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, TypedDict

from pydantic import Field

from audio.limits import LONG
from audio.vad import SILENT_BELOW_DBFS, measure_levels
from cancel import CancelToken
from errors import Problem, ReferenceInvalid, ReferenceTooShort
from operations.base import Result, Services
from operations.reference import decode_sent, one_recording
from operations.request import Request

AUDIO = "audio"
THRESHOLD = 0.5  # PerTh's own: ``get_watermark`` rounds there. docs/api.md has measurements on both sides
SHORTEST_S = 1.0  # of half a second of unmarked speech the detector is sure now and then
CERTAIN_S = 5.0  # of 3 s it has been just over the threshold
CONFIDENCE_DIGITS = 4


class CheckWatermarkRequest(Request):
    audio: Annotated[
        str | None, Field(description="a recording in base64, with or without a data: prefix")
    ] = None
    audio_url: Annotated[str | None, Field(description="an https URL of a recording")] = None

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        return one_recording(sent, AUDIO)


class CheckWatermarkFacts(TypedDict):
    """What is returned."""

    watermarked: bool
    confidence: float  # of the detector that the watermark is there, 0 to 1
    duration: float  # seconds that were listened to
    warnings: list[str]


def run(request: CheckWatermarkRequest, services: Services, cancel: CancelToken) -> Result:
    """Returns CheckWatermarkFacts.

    Raises ReferenceInvalid, ReferenceTooShort, FetchRefused, FetchFailed, OutOfMemory, DeviceLost, Cancelled.
    """
    recording, field = decode_sent(request, AUDIO, services.fetch, cancel, LONG)
    if recording.duration_s < SHORTEST_S:
        raise ReferenceTooShort(
            f"is {recording.duration_s:.1f} s long, {SHORTEST_S:.0f} s is the least",
            field=field,
            hint="send more of it",
        )
    level_dbfs, _ = measure_levels(recording)
    if level_dbfs.max() < SILENT_BELOW_DBFS:  # the detector's spectra are relative to the loudest frame
        raise ReferenceInvalid("is silent", field=field, hint="send a recording with sound in it")
    confidence = services.models.first.detect_watermark(recording, cancel)
    facts = CheckWatermarkFacts(
        watermarked=confidence >= THRESHOLD,
        confidence=round(confidence, CONFIDENCE_DIGITS),
        duration=round(recording.duration_s, 3),
        warnings=[]
        if recording.duration_s >= CERTAIN_S
        else [f"{field} is {recording.duration_s:.1f} s long: less than {CERTAIN_S:.0f} s may be misjudged"],
    )
    return Result({**facts})
