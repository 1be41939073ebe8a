"""A queue endpoint of RunPod: jobs by /run and /runsync, results by /status and /stream.

Source: RunPod's documentation, "Send API requests" and "Operation reference".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chatterbox_voice.errors import (
    Cancelled,
    ConnectionFailed,
    JobFailed,
    JobTimedOut,
    NotFound,
    TooLarge,
    Unavailable,
    UnexpectedReply,
    VoiceWorkerError,
    job_error,
)
from chatterbox_voice.flow import (
    ASK,
    SUBMIT,
    Call,
    Flow,
    Progress,
    Request,
    Tell,
    exchange,
    to_json,
    wait,
)
from chatterbox_voice.pieces import Pieces, end_s, part_of, without_audio
from chatterbox_voice.replies import as_list, as_object, number, whole

PLATFORM = "https://api.runpod.ai/v2"
RUN_LIMIT_BYTES = 10_000_000
RUNSYNC_LIMIT_BYTES = 20_000_000
# How long /runsync is held. A job has no id before it is answered, and cannot be cancelled: so not longer
# than a short job takes. The rest of the time is asked for by /status.
RUNSYNC_WAIT_S = 10
MAX_POLL_S = 2.0  # between two questions about a job
MAX_STREAM_POLL_S = 0.5  # while its audio is wanted as it comes
UNFINISHED = ("IN_QUEUE", "IN_PROGRESS", "RUNNING")
# Operations that change nothing and cost next to nothing: they are sent again after any failure.
REPEATABLE = frozenset({"list_voices", "get_voice"})
SMALLER = "send a recording as mp3 or flac or a shorter one, or its address instead of the file"


class QueueEndpoint:
    """Builds requests for one endpoint and reads its replies."""

    def __init__(self, address: str, api_key: str) -> None:
        """address: of the endpoint, without a slash at the end."""
        self.address = address
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def run(self, call: Call, job_input: Mapping[str, Any]) -> Flow[Any]:
        """Runs a job; returns its output. An endpoint that streams gives a list. Raises VoiceWorkerError."""
        path = f"runsync?wait={RUNSYNC_WAIT_S * 1000}"
        job = yield from self._submit(call, path, job_input, RUNSYNC_LIMIT_BYTES, RUNSYNC_WAIT_S)
        job = yield from self._finished(call, job)
        return _output_of(job)

    def stream(self, call: Call, job_input: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """Runs a job that answers in pieces, and hands over their audio; returns its receipt.

        An endpoint that does not stream gives one part. Raises VoiceWorkerError.
        """
        job = yield from self._submit(call, "run", job_input, RUN_LIMIT_BYTES, 0)
        job_id, pieces, pause_s = job["id"], Pieces(), call.poll_s
        while True:
            state, outputs = _streamed((yield from self._ask(call, f"stream/{_quoted(job_id)}")))
            for output in outputs:
                yield from _take(call, pieces, output, job_id)
            if pieces.is_complete or (state not in UNFINISHED and not outputs):
                break
            if outputs:
                pause_s = call.poll_s
                continue
            yield Tell(Progress("waiting" if state == "IN_QUEUE" else "running"))
            yield from wait(call, pause_s)
            pause_s = min(pause_s * 1.5, MAX_POLL_S if state == "IN_QUEUE" else MAX_STREAM_POLL_S)
        if not pieces.is_complete:
            # The platform hands out each piece once: one that was lost on the way is in the job's result.
            job = as_object((yield from self._ask(call, f"status/{_quoted(job_id)}")))
            outputs = _output_of((yield from self._finished(call, {**job, "id": job_id})))
            for output in outputs if isinstance(outputs, list) else [outputs]:
                yield from _take(call, pieces, output, job_id)
        call.cancel = None
        if pieces.receipt is None or not pieces.is_complete:
            reason = "the stream ended early: pieces of the audio are missing"
            raise ConnectionFailed(reason, was_sent=True, job_id=job_id)
        if "pieces" not in pieces.receipt:  # audio in one
            yield from part_of(call, pieces.receipt)
        return without_audio(pieces.receipt)

    def _submit(
        self, call: Call, path: str, job_input: Mapping[str, Any], limit_bytes: int, wait_s: int
    ) -> Flow[Mapping[str, Any]]:
        body = to_json({"input": job_input})
        if len(body) > limit_bytes:
            name = path.partition("?")[0]
            raise TooLarge(f"the job has {len(body):,} bytes, and /{name} takes {limit_bytes:,}; {SMALLER}")
        read_timeout_s = min(wait_s + 60.0, max(call.remaining_s(), 1.0))
        request = self._request("POST", path, body, read_timeout_s)
        rule = ASK if job_input.get("operation") in REPEATABLE else SUBMIT
        try:
            reply = yield from exchange(call, request, rule)
        except (ConnectionFailed, Unavailable) as error:
            is_refused = error.status in SUBMIT.statuses
            may_run = error.was_sent if isinstance(error, ConnectionFailed) else not is_refused
            if may_run and rule is SUBMIT:
                error.message += "; the job may run all the same, so it was not sent again"
            raise
        job = as_object(reply.json())
        if not isinstance(job.get("id"), str):
            raise UnexpectedReply(f"the platform gave no job: {reply.excerpt()}", status=reply.status)
        if job.get("status") in UNFINISHED:
            call.cancel = self._request("POST", f"cancel/{_quoted(job['id'])}")
        return job

    def _finished(self, call: Call, job: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
        """Asks about a job until it is over; returns its last state."""
        job_id, pause_s = job["id"], call.poll_s
        while job.get("status") in UNFINISHED:
            yield Tell(_progress_of(job))
            yield from wait(call, pause_s)
            pause_s = min(pause_s * 1.5, MAX_POLL_S)
            job = as_object((yield from self._ask(call, f"status/{_quoted(job_id)}")))
        call.cancel = None
        return {**job, "id": job_id}

    def _ask(self, call: Call, path: str) -> Flow[Any]:
        try:
            reply = yield from exchange(call, self._request("GET", path), ASK)
        except NotFound as error:
            call.cancel = None
            reason = "the platform no longer has the job: its result is kept for minutes only"
            raise NotFound(reason, status=error.status, job_id=path.partition("/")[2]) from None
        return reply.json()

    def _request(
        self, method: str, path: str, body: bytes | None = None, read_timeout_s: float = 60.0
    ) -> Request:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        return Request(method, f"{self.address}/{path}", headers, body, read_timeout_s)


def is_not_streaming(error: VoiceWorkerError) -> bool:
    """Whether a worker refused a job because its endpoint does not stream."""
    return error.code == "invalid_request" and "ENDPOINT_MODE=streaming" in error.message


def _take(call: Call, pieces: Pieces, output: object, job_id: str) -> Flow[None]:
    if isinstance(output, dict) and "error" in output:
        call.cancel = None
        raise job_error(output["error"], job_id=job_id)
    for piece in pieces.add(output):
        yield from part_of(call, piece)
        yield Tell(Progress("running", audio_s=end_s(piece)))


def _streamed(said: Any) -> tuple[str, list[Any]]:
    """Returns a job's status and its new pieces, of a reply to /stream: an object, or the bare list."""
    if isinstance(said, list):
        status, items = "IN_PROGRESS" if said else "COMPLETED", said
    else:
        status = str(as_object(said).get("status"))
        items = as_list(said.get("stream") or [], "the stream")
    return status, [item["output"] for item in items if isinstance(item, dict) and "output" in item]


def _output_of(job: Mapping[str, Any]) -> Any:
    """Returns the output of a job that is over. Raises VoiceWorkerError for one that failed."""
    status, job_id, output = job.get("status"), job.get("id"), job.get("output")
    said = job.get("error") or (output.get("error") if isinstance(output, dict) else None)
    if status == "CANCELLED":
        raise Cancelled("the job was cancelled", job_id=job_id)
    if status == "TIMED_OUT":
        hint = "raise the endpoint's execution timeout, or send a long text in several jobs"
        raise JobTimedOut(f"the platform ended the job for its time; {hint}", job_id=job_id)
    if status == "FAILED" or said:
        raise job_error(said, job_id=job_id)
    if status != "COMPLETED":
        raise UnexpectedReply(f"the job has the status {status!r}", job_id=job_id)
    if output is None:
        raise JobFailed(
            "the job has no output: it was too large for the platform, or got lost", job_id=job_id
        )
    return output


def _progress_of(job: Mapping[str, Any]) -> Progress:
    """Returns the progress that the status of an unfinished job reports."""
    if job.get("status") == "IN_QUEUE":
        return Progress("waiting")
    said = job.get("output")
    if not isinstance(said, dict):
        return Progress("running")
    chunks = whole(said, "chunks") or None
    return Progress("running", whole(said, "chunk"), chunks, number(said, "audio_seconds"))


def _quoted(job_id: str) -> str:
    return quote(job_id, safe="")
