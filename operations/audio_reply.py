"""Audio in a reply, or beside it when it is too large for one."""

from __future__ import annotations

import json
from typing import NotRequired, TypedDict

from operations.base import Job, Services


class AudioReply(TypedDict):
    """Exactly one of audio (base64) and audio_path, once audio was added."""

    audio: NotRequired[str]
    audio_path: NotRequired[str]
    warnings: list[str]


def add_audio(
    reply: AudioReply,
    audio: bytes,
    *,
    extension: str,
    inline_only: bool,
    advice: str,
    services: Services,
    job: Job,
) -> None:
    """Deliver ``audio`` with a reply that is complete but for it; see ``Delivery``. Raises OutputTooLarge."""
    delivered = services.delivery.deliver(
        audio,
        extension=extension,
        inline_only=inline_only,
        reply_bytes=len(json.dumps(reply, ensure_ascii=False).encode()),
        advice=advice,
        job=job,
    )
    reply["warnings"].extend(delivered.warnings)
    if delivered.audio is not None:
        reply["audio"] = delivered.audio
    if delivered.audio_path is not None:
        reply["audio_path"] = delivered.audio_path
