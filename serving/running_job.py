"""A job from when it is taken to when it is answered."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from errors import WorkerError
from speech.contract import Listener, Piece

Report = Callable[[Mapping[str, Any]], None]
Emit = Callable[[Mapping[str, Any]], None]

# The SDK sends each report from a thread of its own: what is sent last may arrive after the result.
PIECES_WITHOUT_REPORT = 2
SECONDS_BETWEEN_REPORTS = 2.0


class RunningJob(Listener):
    """Can be told to end, by its caller, its time or the platform; the first reason counts.

    report: told how far a long text is. emit: takes pieces of the reply ahead.
    """

    def __init__(self, job_id: str, report: Report | None = None, emit: Emit | None = None) -> None:
        self.id = job_id
        self.emit = emit
        self.ended = asyncio.Event()
        self._reason: WorkerError | None = None
        self._report = report
        self._reported_s = -SECONDS_BETWEEN_REPORTS
        self._audio_s = 0.0

    @property
    def reason(self) -> WorkerError:
        """Why it was told to end."""
        assert self._reason is not None
        return self._reason

    def end(self, reason: WorkerError) -> None:
        """On the event loop's thread."""
        if self._reason is None:
            self._reason = reason
            self.ended.set()

    def is_gone(self) -> bool:
        return self._reason is not None

    def hear(self, piece: Piece) -> None:
        self._audio_s += piece.waveform.duration_s
        done, now_s = piece.index + 1, time.monotonic()
        is_early = piece.count - done >= PIECES_WITHOUT_REPORT
        if self._report and is_early and now_s - self._reported_s >= SECONDS_BETWEEN_REPORTS:
            self._reported_s = now_s
            self._report({"chunk": done, "chunks": piece.count, "audio_seconds": round(self._audio_s, 3)})


def job_id_of(event: object) -> str:
    """The platform's id, fit for replies and logs; a new one when there is none."""
    job_id = event.get("id") if isinstance(event, Mapping) else None
    if not isinstance(job_id, str) or not job_id:
        return uuid.uuid4().hex
    return job_id.encode("utf-8", "backslashreplace").decode()
