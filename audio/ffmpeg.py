"""Decodes recordings with FFmpeg, each in a sandboxed process of its own."""

from __future__ import annotations

import json
import logging
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.ffmpeg_server import EXIT_STATUS
from audio.limits import (
    LIMITS_BY_REQUEST,
    MAX_CHANNELS,
    MAX_SAMPLE_RATE_HZ,
    MIN_SAMPLE_RATE_HZ,
    REFERENCE,
    REPORT_BYTES,
    RecordingLimits,
)
from cancel import CancelToken
from errors import Internal, ReferenceInvalid

FORMATS_HINT = "send WAV, FLAC, OGG, Opus, MP3, M4A, WebM, AAC or AMR"

# The child's own limit is 2 or 8 s of CPU time; on a machine that is busy these take longer.
WALL_S = 20
_TRIES = 3  # a server may be killed, for a lack of memory or by somebody
_SERVER = Path(__file__).with_name("ffmpeg_server.py")
_MAX_SURPLUS_S = 60  # one packet more than the longest duration, at most
_REQUESTS = {limits: request for request, limits in LIMITS_BY_REQUEST.items()}

log = logging.getLogger(__name__)
_logged_gaps: set[str] = set()
_MAX_LOGGED_GAPS = 10  # a child that was taken over may make them up
_GAP = re.compile(r"[A-Za-z0-9_() ]{1,80}")


@dataclass(frozen=True, eq=False)
class Segment:
    """A run of samples with one rate and one number of channels."""

    frames: NDArray[np.float32]  # [n, channels]
    sample_rate_hz: int


class _BrokenReportError(ValueError):
    """The child did not write what it should: it was overwhelmed, or taken over by the recording."""


def decode_with_ffmpeg(
    data: bytes, field: str, cancel: CancelToken, limits: RecordingLimits = REFERENCE
) -> list[Segment]:
    """Decodes a recording in any of the accepted containers and codecs.

    Returns its segments in order, usually one; without samples none. A recording longer than
    ``limits.max_duration_s`` ends soon after it. Raises ReferenceInvalid, which names ``field``; Cancelled;
    Internal when this machine cannot decode at all.
    """
    if data == bytes(len(data)):  # a file that was never written: FFmpeg would look through all of it
        raise _refusal("unreadable", None, field)
    for _ in range(_TRIES):
        # New files for each try: the process of an earlier one may not have ended yet.
        with _memory_file("recording") as recording, _memory_file("samples") as samples:
            _write_whole(recording, data)
            os.lseek(recording, 0, os.SEEK_SET)
            exit_status = _decoder.run(recording, samples, field, cancel, _REQUESTS[limits])
            if exit_status is None:
                continue
            if exit_status != 0:
                log.warning("the process that decodes recordings ended with %d", exit_status)
                if exit_status == -signal.SIGXCPU:
                    raise _takes_too_long(field)
                raise _damaged(field)
            return read_samples(samples, field, limits)
    raise _cannot_decode()


def read_samples(samples: int, field: str, limits: RecordingLimits = REFERENCE) -> list[Segment]:
    """Reads what the child wrote to the file descriptor ``samples``, which is trusted with nothing.

    Raises ReferenceInvalid: for the reason that the child gives, or as damaged when it gives no valid report.
    """
    try:
        report = _read_report(os.pread(samples, REPORT_BYTES, 0))
        _log_gaps(report)
        if "refused" in report:
            raise _refusal(report["refused"], report.get("detail"), field)
        return _read_segments(samples, report.get("segments"), limits)
    except _BrokenReportError as error:
        log.warning("the process that decodes recordings left no valid report: %s", error)
        raise _damaged(field) from error


class _Decoder:
    """Owns the process that forks one for each recording, see ``ffmpeg_server``. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._retired: list[_Server] = []  # which end, or have ended and are to be waited for

    def run(
        self, recording: int, samples: int, field: str, cancel: CancelToken, request: bytes
    ) -> int | None:
        """Decodes in a forked process; returns its exit status, negative for a signal.

        Returns None where the server ended or hangs: the next call starts another. Raises ReferenceInvalid
        when decoding takes too long, Cancelled, and Internal when no server can be started.
        """
        server = self.start()
        control, servers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            with servers_end:
                fds = [recording, samples, servers_end.fileno()]
                try:
                    socket.send_fds(server.requests, [request], fds, socket.MSG_DONTWAIT)
                except OSError:  # it has ended or hangs, or another thread has retired it
                    self._give_up(server)
                    return None
            control.settimeout(WALL_S)
            unregister = cancel.on_cancel(lambda: _shut_down(control))
            try:
                forked = _receive(control)
                exit_status = _receive(control) if forked else None
            finally:
                unregister()
            cancel.raise_if_cancelled()
        if forked and exit_status is None:
            raise _takes_too_long(field)
        if not exit_status:
            self._give_up(server)
            return None
        status = int(EXIT_STATUS.unpack(exit_status)[0])
        if status not in (0, -signal.SIGXCPU, -signal.SIGKILL):
            # Forked processes have the same addresses; a recording that crashes them must not learn more.
            self._retire(server)
        return status

    def start(self) -> _Server:
        """Starts the server unless it runs. Raises Internal."""
        with self._lock:
            self._retired = [server for server in self._retired if server.process.poll() is None]
            if self._server is not None and self._server.process.poll() is not None:
                self._server.requests.close()
                self._server = None
            if self._server is None:
                try:
                    self._server = _Server.started()
                except OSError as error:
                    raise _cannot_decode() from error
            return self._server

    def stop(self) -> None:
        """Lets the server end, and waits until it has. A later recording starts another."""
        if (server := self._server) is not None:
            self._retire(server)
        for server in self._retired:
            server.process.wait()

    def _retire(self, server: _Server) -> None:
        """Lets a server end as soon as it has nothing to do."""
        with self._lock:
            server.requests.close()
            if self._server is server:
                self._server = None
                self._retired.append(server)

    def _give_up(self, server: _Server) -> None:
        log.error("the process that forks decoders does not answer; exit status: %s", server.process.poll())
        self._retire(server)
        server.process.kill()  # and with it what it has forked


@dataclass(frozen=True, eq=False)
class _Server:
    """A process that forks decoders, and the socket on which it takes requests."""

    requests: socket.socket
    process: subprocess.Popen[bytes]

    @classmethod
    def started(cls) -> _Server:
        requests, servers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with servers_end:
            try:
                process = subprocess.Popen(  # noqa: S603, our own program
                    [sys.executable, "-I", str(_SERVER)],
                    stdin=servers_end.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={},  # the worker's holds secrets
                    cwd="/",
                )
            except OSError:
                requests.close()
                raise
        return cls(requests, process)


def _receive(control: socket.socket) -> bytes | None:
    """Returns the next message, empty at the end of the connection; None when none comes in time."""
    try:
        return control.recv(EXIT_STATUS.size)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


def _shut_down(control: socket.socket) -> None:
    with suppress(OSError):
        control.shutdown(socket.SHUT_RDWR)


_decoder = _Decoder()


@contextmanager
def _memory_file(name: str) -> Iterator[int]:
    """A file descriptor of an empty file that has no place on any disk."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read_report(block: bytes) -> dict[str, Any]:
    """The child's report. Raises _BrokenReportError; the block may hold anything."""
    try:
        report = json.loads(block.rstrip(b"\0"))
    except (ValueError, RecursionError) as error:
        raise _BrokenReportError("not JSON") from error
    if not isinstance(report, dict):
        raise _BrokenReportError("not an object")
    return report


def _read_segments(samples: int, described: Any, limits: RecordingLimits) -> list[Segment]:
    """The segments behind the report, as views of the file's memory. Raises _BrokenReportError."""
    size = os.fstat(samples).st_size
    if not isinstance(described, list):
        raise _BrokenReportError("no segments")
    layouts = [_read_layout(item) for item in described]
    duration_s = sum(frames / rate_hz for rate_hz, _, frames in layouts)
    if duration_s > limits.max_duration_s + _MAX_SURPLUS_S:
        raise _BrokenReportError("too long")
    if sum(channels * frames for _, channels, frames in layouts) * 4 > max(size - REPORT_BYTES, 0):
        raise _BrokenReportError("less samples than reported")
    if size <= REPORT_BYTES:
        return []
    # The mapping outlives the descriptor, as long as an array refers to it.
    memory = mmap.mmap(samples, size, prot=mmap.PROT_READ)
    segments = []
    offset = REPORT_BYTES
    for rate_hz, channels, frames in layouts:
        values = np.frombuffer(memory, np.float32, channels * frames, offset)
        offset += values.nbytes
        segments.append(Segment(values.reshape(frames, channels), rate_hz))
    return segments


def _read_layout(item: Any) -> tuple[int, int, int]:
    """Sample rate in Hz, channels and frames of one segment. Raises _BrokenReportError."""
    if not (isinstance(item, list) and len(item) == 3 and all(type(value) is int for value in item)):
        raise _BrokenReportError("not a segment")
    rate_hz, channels, frames = item
    if not (
        MIN_SAMPLE_RATE_HZ <= rate_hz <= MAX_SAMPLE_RATE_HZ and 1 <= channels <= MAX_CHANNELS and frames >= 0
    ):
        raise _BrokenReportError("a segment beyond the limits")
    return rate_hz, channels, frames


def _log_gaps(report: dict[str, Any]) -> None:
    """Says once for each protection that the kernel refused that decoding goes on without it."""
    missing = report.get("unprotected")
    for gap in missing if isinstance(missing, list) else []:
        if not (isinstance(gap, str) and _GAP.fullmatch(gap)):
            raise _BrokenReportError("not a protection")
        if gap not in _logged_gaps and len(_logged_gaps) < _MAX_LOGGED_GAPS:
            _logged_gaps.add(gap)
            log.warning("recordings are decoded without %s: the kernel refused this part of the sandbox", gap)


def _refusal(name: Any, detail: Any, field: str) -> ReferenceInvalid:
    """The error for a ``refused`` of the report. Raises _BrokenReportError for one that does not exist."""
    if name == "codec":
        shown = detail if re.fullmatch(r"[a-z0-9_]{1,32}", str(detail)) else "unknown"
        return ReferenceInvalid(
            f"holds audio in an encoding that is not supported ({shown})", field=field, hint=FORMATS_HINT
        )
    if name == "channels" and type(detail) is int:
        return ReferenceInvalid(
            f"has {detail} channels, {MAX_CHANNELS} are the most", field=field, hint="send mono or stereo"
        )
    if name == "sample_rate" and type(detail) is int:
        return ReferenceInvalid(
            f"has a sample rate of {detail} Hz",
            field=field,
            hint=f"send {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz",
        )
    if name == "damaged":
        return _damaged(field)
    if not isinstance(name, str) or name not in _REFUSALS:
        raise _BrokenReportError("an unknown refusal")
    reason, hint = _REFUSALS[name]
    return ReferenceInvalid(reason, field=field, hint=hint)


_REFUSALS = {
    "unreadable": (
        "is not audio that can be read, it is damaged, incomplete or in an unknown format",
        FORMATS_HINT,
    ),
    "container": ("is a file of a format that is not supported", FORMATS_HINT),
    "variant": (
        "uses a part of its format that is not supported, or joins recordings of different kinds",
        f"export it again, or {FORMATS_HINT}",
    ),
    "no_audio": ("holds no audio", f"{FORMATS_HINT} with speech in it"),
    "memory": ("takes too much memory to decode", f"export it again, or {FORMATS_HINT}"),
    "changes": ("changes its sample rate or channels too often", "export it with one rate and one layout"),
    "too_much": (
        "unpacks to more samples than are accepted",
        "send mono, a lower sample rate or a shorter recording",
    ),
}


def _cannot_decode() -> Internal:
    return Internal("recordings cannot be decoded by this worker", hint="see the worker's log")


def _damaged(field: str) -> ReferenceInvalid:
    return ReferenceInvalid(
        "cannot be decoded, it is damaged or incomplete",
        field=field,
        hint=f"export it again, or {FORMATS_HINT}",
    )


def _takes_too_long(field: str) -> ReferenceInvalid:
    return ReferenceInvalid(
        "takes too long to decode", field=field, hint=f"send a shorter recording, or {FORMATS_HINT}"
    )
