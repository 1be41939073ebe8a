"""The worker's HTTP server: operations by POST /jobs/OPERATION, audio as server-sent events.

Behind RunPod's load balancer, at ``https://ENDPOINT_ID.api.runpod.ai``, RunPod's key goes into Authorization
and the worker's own into X-API-Key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from chatterbox_voice.errors import ConnectionFailed, TooLarge, UnexpectedReply, job_error
from chatterbox_voice.flow import SERVER, Call, Flow, Lost, Progress, Read, Request, Tell, exchange, to_json
from chatterbox_voice.pieces import Pieces, end_s, part_of
from chatterbox_voice.replies import as_object

BODY_LIMIT_BYTES = 30_000_000
SMALLER = "send a recording as mp3 or flac or a shorter one, or its address instead of the file"
EVENT = b"data: "


class HttpServer:
    """Builds requests for one server and reads its replies."""

    def __init__(self, address: str, api_key: str | None, runpod_api_key: str | None) -> None:
        """address: of the server, without a slash at the end."""
        self.address = address
        self._headers = {"Content-Type": "application/json"}
        if runpod_api_key is not None:
            self._headers["Authorization"] = f"Bearer {runpod_api_key}"
        if api_key is not None:
            self._headers["X-API-Key"] = api_key

    def run(self, call: Call, job_input: Mapping[str, Any]) -> Flow[Any]:
        """Runs a job; returns its reply. Raises VoiceWorkerError."""
        yield Tell(Progress("running"))
        reply = yield from exchange(call, self._request(call, job_input), SERVER)
        return reply.json()

    def stream(self, call: Call, job_input: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """Runs a job that answers in pieces, and hands over their audio; returns its receipt.

        Events, and not the bare audio, since they end with the receipt. Raises VoiceWorkerError.
        """
        yield Tell(Progress("running"))
        request = self._request(call, job_input, accept="text/event-stream")
        yield from exchange(call, request, SERVER, opens=True)
        pieces, events = Pieces(), _Events()
        try:
            while block := (yield Read()):
                for event in events.add(block):
                    if "error" in event:
                        raise job_error(event["error"])
                    for piece in pieces.add(event):
                        yield from part_of(call, piece)
                        yield Tell(Progress("running", audio_s=end_s(piece)))
                call.remaining_s()
        except Lost as lost:
            raise ConnectionFailed(f"the audio is not complete: {lost}", was_sent=True) from None
        if pieces.receipt is None or not pieces.is_complete:
            raise ConnectionFailed("the audio is not complete: the server ended it early", was_sent=True)
        return pieces.receipt

    def _request(self, call: Call, job_input: Mapping[str, Any], accept: str = "application/json") -> Request:
        fields = {name: value for name, value in job_input.items() if name != "operation"}
        body = to_json(fields)
        if len(body) > BODY_LIMIT_BYTES:
            raise TooLarge(
                f"the request has {len(body):,} bytes, and the server takes {BODY_LIMIT_BYTES:,}; {SMALLER}"
            )
        url = f"{self.address}/jobs/{quote(str(job_input['operation']), safe='')}"
        return Request("POST", url, {**self._headers, "Accept": accept}, body, call.remaining_s())


class _Events:
    """Splits a byte stream into server-sent events with one line of JSON each."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def add(self, block: bytes) -> Iterator[dict[str, Any]]:
        self._pending += block
        *lines, rest = self._pending.split(b"\n")
        self._pending = bytearray(rest)
        for line in lines:
            if line.startswith(EVENT):
                try:
                    event = json.loads(line[len(EVENT) :])
                except ValueError:
                    raise UnexpectedReply("an event is not JSON") from None
                yield as_object(event, "an event")
