"""``get_voice``: one stored voice, and its recording if wanted."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import Field

from audio.encode import encode_lossless
from audio.waveform import Waveform
from operations.audio_reply import AudioReply, add_audio
from operations.base import Job, Services
from operations.stored_voice import StoredVoiceRequest, told

OTHER_WAY_OUT = "export the voice with python -m voice_store where the volume is mounted"


class GetVoiceRequest(StoredVoiceRequest):
    include_audio: Annotated[bool, Field(description="true or false")] = False


class GetVoiceResponse(AudioReply):
    """voice: as ``list_voices`` has it. The rest but the warnings: with include_audio only.

    duration: of the audio, in seconds. sample_rate: in Hz.
    """

    voice: dict[str, Any]
    format: NotRequired[str]
    sample_rate: NotRequired[int]
    duration: NotRequired[float]


def run(request: GetVoiceRequest, services: Services, job: Job) -> GetVoiceResponse:
    """Raises VoiceNotFound, StoreCorrupt (with include_audio), StoreUnavailable, OutputTooLarge."""
    if not request.include_audio:
        known = services.voices.metadata(name=request.voice_name, voice_id=request.voice_id)
        return GetVoiceResponse(voice=told(known), warnings=[])
    services.delivery.prepare("auto", job)
    voice = services.voices.get(name=request.voice_name, voice_id=request.voice_id)
    recording, warnings = _within_full_scale(voice.waveform)
    reply = GetVoiceResponse(
        voice=told(voice.metadata),
        format="flac",
        sample_rate=recording.sample_rate_hz,
        duration=round(recording.duration_s, 3),
        warnings=warnings,
    )
    add_audio(
        reply,
        encode_lossless(recording),
        extension="flac",
        mode="auto",
        advice=OTHER_WAY_OUT,
        services=services,
        job=job,
    )
    return reply


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
