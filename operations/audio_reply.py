"""Audio in a reply, or beside it when it is too large for one."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from operations.base import DeliveryMode, Job, Services


class AudioReply(TypedDict):
    """Exactly one of audio (base64), audio_url and audio_path, once audio was added."""

    audio: NotRequired[str]
    audio_url: NotRequired[str]
    audio_path: NotRequired[str]
    warnings: list[str]


def add_audio(
    reply: AudioReply,
    audio: bytes,
    *,
    extension: str,
    mode: DeliveryMode,
    advice: str,
    services: Services,
    job: Job,
) -> None:
    """Deliver ``audio`` with a reply that is complete but for it; see ``Delivery``. Raises what that
    raises."""
    delivered = services.delivery.deliver(
        audio, extension=extension, mode=mode, reply=reply, advice=advice, job=job
    )
    reply["warnings"].extend(delivered.warnings)
    reply.update(delivered.fields())  # type: ignore[typeddict-item]  # which are the reply's own
