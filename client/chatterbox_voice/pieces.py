"""Audio in pieces, and audio in replies."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from chatterbox_voice.errors import AudioElsewhere, DownloadFailed, UnexpectedReply, VoiceWorkerError
from chatterbox_voice.flow import ASK, Call, Flow, Part, Request, exchange
from chatterbox_voice.replies import as_object, number, whole

AUDIO_FIELDS = ("audio", "audio_url", "audio_path")
VOLUME = "/runpod-volume/"  # where the platform mounts a network volume


class Pieces:
    """Puts the pieces of a stream into their order, and knows when all are there."""

    def __init__(self) -> None:
        self.receipt: dict[str, Any] | None = None  # what comes after the last piece
        self.next_index = 0
        self._early: dict[int, dict[str, Any]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether the receipt and each piece before it were taken."""
        if self.receipt is None:
            return False
        return self.next_index >= whole(self.receipt, "pieces")

    def add(self, output: object) -> Iterator[dict[str, Any]]:
        """Takes what the worker sent; yields the pieces that are next. A piece that came before is ignored.

        Raises UnexpectedReply.
        """
        piece = as_object(output, "a piece")
        if "index" not in piece:
            self.receipt = piece
            return
        index = piece["index"]
        if not isinstance(index, int):
            raise UnexpectedReply("a piece has an index that is no number")
        if index >= self.next_index and any(name in piece for name in AUDIO_FIELDS):
            self._early[index] = piece
        while (following := self._early.pop(self.next_index, None)) is not None:
            self.next_index += 1
            yield following


def part_of(call: Call, piece: Mapping[str, Any]) -> Flow[None]:
    """Hands the audio of a piece, or of a whole reply, to the caller."""
    audio = yield from audio_of(call, piece)
    yield Part(audio, str(piece.get("format", "")), whole(piece, "sample_rate"))


def audio_of(call: Call, reply: Mapping[str, Any]) -> Flow[bytes]:
    """Returns the audio of a reply or a piece, from a bucket where it is there.

    Raises AudioElsewhere, DownloadFailed, UnexpectedReply.
    """
    if isinstance(reply.get("audio"), str):
        return decode(reply["audio"])
    if isinstance(reply.get("audio_url"), str):
        return (yield from _download(call, reply["audio_url"], reply))
    if isinstance(reply.get("audio_path"), str):
        raise _elsewhere(reply["audio_path"], reply)
    raise UnexpectedReply("the reply has no audio")


def end_s(piece: Mapping[str, Any]) -> float:
    """Returns where a piece ends in the audio, in seconds."""
    return number(piece, "start") + number(piece, "duration")


def decode(text: str) -> bytes:
    """Returns the bytes of a string in base64. Raises UnexpectedReply."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnexpectedReply("the audio is not base64") from None


def without_audio(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a reply without the audio itself."""
    return {name: value for name, value in reply.items() if name != "audio"}


def _download(call: Call, url: str, receipt: Mapping[str, Any]) -> Flow[bytes]:
    """Fetches a file from a bucket. The request has no key, and errors do not show the link's signature."""
    host = None
    with suppress(ValueError):
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    if not host:
        raise UnexpectedReply("audio_url is no link of the web")
    request = Request("GET", url, read_timeout_s=call.remaining_s(), follows_redirects=True)
    try:
        reply = yield from exchange(call, request, ASK)
    except VoiceWorkerError as error:
        if error.status is None:
            raise
        expired = "; the link may have expired" if error.status in (401, 403, 404) else ""
        raise DownloadFailed(
            f"the audio's link to {host} answered with status {error.status}{expired}",
            status=error.status,
            receipt=receipt,
        ) from None
    return reply.body


def _elsewhere(path: str, receipt: Mapping[str, Any]) -> AudioElsewhere:
    where = f"the audio is the file {path} on the worker's side, which this client cannot reach"
    smaller = "ask for format mp3 or opus, or set up a bucket for the endpoint (BUCKET_*)"
    if path.startswith(VOLUME):
        key = path.removeprefix(VOLUME)
        fetch = (
            f"fetch it by the volume's S3 API: aws s3 cp s3://VOLUME_ID/{key} . --region DATACENTER "
            "--endpoint-url https://s3api-DATACENTER.runpod.io/"
        )
        where = f"{where}; {fetch}"
    return AudioElsewhere(f"{where}; or {smaller}", path=path, receipt=receipt)
