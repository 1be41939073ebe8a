"""``get_voice``: one stored voice, and its recording and its preview if wanted."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
from pydantic import Field

from audio.waveform import Waveform
from cancel import CancelToken
from operations.base import Result, Services
from operations.stored_voice import FIELDS_OF_ONE, StoredVoiceRequest, public_metadata


class GetVoiceRequest(StoredVoiceRequest):
    include_audio: Annotated[bool, Field(description="true or false")] = False
    include_preview: Annotated[bool, Field(description="true or false")] = False


class GetVoiceFacts(TypedDict):
    """What is returned besides the recording."""

    voice: dict[str, Any]  # as ``list_voices`` has it, and its pronunciations
    duration: NotRequired[float]  # of the recording, in seconds, with include_audio
    warnings: list[str]


def run(request: GetVoiceRequest, services: Services, cancel: CancelToken) -> Result:
    """Returns GetVoiceFacts, the recording with include_audio, and the kept preview with include_preview.

    Raises VoiceNotFound, InvalidRequest (the id), StoreCorrupt (with include_audio), StoreUnavailable.
    """
    recording, preview = None, None
    if request.include_audio:
        voice = services.voices.get(name=request.voice_name, voice_id=request.voice_id)
        recording, warnings = _within_full_scale(voice.waveform)
        facts = GetVoiceFacts(
            voice=public_metadata(voice.metadata, FIELDS_OF_ONE),
            duration=round(recording.duration_s, 3),
            warnings=warnings,
        )
    else:
        known = services.voices.metadata(name=request.voice_name, voice_id=request.voice_id)
        facts = GetVoiceFacts(voice=public_metadata(known, FIELDS_OF_ONE), warnings=[])
    if request.include_preview:
        preview = services.voices.preview(facts["voice"]["voice_id"])
        if preview is None:
            facts["warnings"].append("no preview of the voice was kept: clone it with keep_preview")
    return Result({**facts}, recording=recording, kept_preview=preview)


def _within_full_scale(waveform: Waveform) -> tuple[Waveform, list[str]]:
    """The waveform, turned down if other programs stored samples that no file with integers can hold."""
    peak = float(np.abs(waveform.samples).max())
    if peak <= 1.0:
        return waveform, []
    # In float64: the reciprocal of a huge float32 is too small for one.
    quieter = (waveform.samples.astype(np.float64) / peak).astype(np.float32)
    warning = (
        "the stored recording goes beyond full scale: in the audio it is turned down by "
        f"{20 * np.log10(peak):.1f} dB"
    )
    return Waveform(quieter, waveform.sample_rate_hz), [warning]
