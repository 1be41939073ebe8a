"""Who may have a job done now, who waits, and who is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from errors import WorkerError
from serving.health import WorkerHealth
from serving.http.errors import Refused

MAX_STORE_JOBS = 64  # that run or wait; those that only read and write voices do not wait for speech


class _Lane:
    """Jobs of one kind that run or wait."""

    def __init__(self, max_jobs: int) -> None:
        self.jobs, self.max_jobs = 0, max_jobs
        self.is_empty = asyncio.Event()
        self.is_empty.set()


class Gate:
    """Counts the jobs that run or wait. For use on the event loop's thread."""

    def __init__(self, health: WorkerHealth, max_jobs: int) -> None:
        """max_jobs: that run or wait at a time; further ones are refused."""
        self._health = health
        self.is_ready = False  # once the model has spoken
        self.is_leaving = False
        self.device, self.store = _Lane(max_jobs), _Lane(MAX_STORE_JOBS)

    @property
    def status(self) -> int:
        """The status of /ping: 204 while starting, 200 when ready, 503 when unhealthy or leaving."""
        if self.is_leaving or self._health.is_unhealthy:
            return 503
        return 200 if self.is_ready else 204

    @asynccontextmanager
    async def place(self, lane: _Lane | None = None) -> AsyncIterator[None]:
        """Holds a place for one job, by default one that speaks. Raises Refused when there is none."""
        lane = lane or self.device
        if self.is_leaving or self._health.is_unhealthy:
            raise Refused("leaving", "the worker is leaving", hint="send the request again")
        if not self.is_ready:
            raise Refused("starting", "the model is still being loaded", hint="send the request again")
        if lane.jobs >= lane.max_jobs:
            reason = f"{lane.jobs} requests are being answered or wait already"
            raise Refused("queue_full", reason, hint="send the request again a little later")
        lane.jobs += 1
        lane.is_empty.clear()
        try:
            yield
        finally:
            lane.jobs -= 1
            if lane.jobs == 0:
                lane.is_empty.set()

    async def until_empty(self) -> None:
        """Returns when no job runs or waits."""
        for lane in (self.device, self.store):
            await lane.is_empty.wait()

    def translated(self, error: WorkerError) -> WorkerError:
        """Returns an error in this transport's terms: what a leaving worker ends is to be sent again."""
        if error.code == "cancelled" and self.status == 503:
            return Refused("leaving", error.reason, hint=error.hint)
        if error.code == "internal" and self._health.is_unhealthy:
            return Refused("leaving", error.reason, hint="send the request again")
        return error
