"""The platform as a worker sees it: a server on loopback that hands out jobs and takes results.

Speaks what the RunPod SDK's worker loop asks for: job-take, for one job or several, and job-stop (held open
until there is something to say), job-done, job-stream and ping.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

REPOSITORY = Path(__file__).parent.parent
WAIT_S = 120  # what any answer may take on a busy machine before a test gives up


class JobServer:
    """progress, pieces: what was told of a job before its result. pings: the queries of all.
    out_of_order: each request for a job fails while it is set. is_hasty: says at once that there is none,
    instead of holding the request. asked: how often a job was asked for; asked_at_s: when.
    taken_by: the worker that a job was last handed out to.
    """

    def __init__(self) -> None:
        self.progress: dict[str, list[Any]] = defaultdict(list)
        self.pieces: dict[str, list[Any]] = defaultdict(list)
        self.pings: list[Mapping[str, str]] = []
        self.out_of_order = False
        self.is_hasty = False
        self.asked_at_s: list[float] = []
        self.taken_by: dict[str, str] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._cancelled: set[str] = set()
        self._stops: dict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._results: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._closing = asyncio.Event()
        self._base_url = ""

    @property
    def asked(self) -> int:
        return len(self.asked_at_s)

    def submit(self, job_id: str, job_input: object) -> None:
        self._results[job_id] = asyncio.get_running_loop().create_future()
        self._jobs[job_id] = {"id": job_id, "input": job_input}
        self._queue.put_nowait(self._jobs[job_id])

    def submit_raw(self, job: Any) -> None:
        """Whatever it is, to a worker that asks for several."""
        self._queue.put_nowait(job)

    def cancel(self, job_id: str) -> None:
        """Of a job that a worker has: it is told to stop. Of another: nobody gets it."""
        self._cancelled.add(job_id)
        if job_id in self.taken_by:
            self._stops[self.taken_by[job_id]].put_nowait(job_id)

    def hand_out_again(self, worker: str) -> list[str]:
        """What a worker that died had and nobody cancelled."""
        lost = [
            job_id
            for job_id, holder in self.taken_by.items()
            if holder == worker and not self.has_result(job_id) and job_id not in self._cancelled
        ]
        for job_id in lost:
            del self.taken_by[job_id]
            self._queue.put_nowait(self._jobs[job_id])
        self._stops.pop(worker, None)
        return lost

    @property
    def waiting_jobs(self) -> int:
        return self._queue.qsize()

    def has_result(self, job_id: str) -> bool:
        return self._results[job_id].done()

    async def result(self, job_id: str) -> dict[str, Any]:
        """What the worker posted: {"output": ...} or {"error": ..., "output": ...}."""
        async with asyncio.timeout(WAIT_S):
            return await self._results[job_id]

    def release(self) -> None:
        """Answer every held request with "nothing", now and from now on: what a worker waits for to leave."""
        self._closing.set()

    def environment(self) -> dict[str, str]:
        """What the platform sets for a worker of this server; the machine's checks are skipped."""
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self._base_url}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self._base_url}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{self._base_url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{self._base_url}/ping/$RUNPOD_POD_ID",
            "RUNPOD_AI_API_KEY": "a-key-of-the-tests",
            "RUNPOD_POD_ID": "pod-of-the-tests",
            "RUNPOD_POD_HOSTNAME": "host-of-the-tests",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls) -> AsyncIterator[JobServer]:
        server = cls()
        app = web.Application(client_max_size=64 * 1024**2)
        app.add_routes(
            [
                web.get("/job-take/{worker}", server._take),
                web.get("/job-take-batch/{worker}", server._take_several),
                web.get("/job-stop/{worker}", server._stop),
                web.post("/job-done/{worker}/{job}", server._finish),
                web.post("/job-stream/{worker}/{job}", server._stream),
                web.get("/ping/{worker}", server._ping),
            ]
        )
        # A worker that was killed must not take a job through the request it left behind.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        server._base_url = f"http://{host}:{port}"
        try:
            yield server
        finally:
            server.release()
            await runner.cleanup()

    async def _take_several(self, request: web.Request) -> web.Response:
        """What there is of as many jobs as are asked for, and the next one at least."""
        reply = await self._take(request)
        if reply.status != 200:
            return reply
        assert isinstance(reply.body, bytes)
        jobs = [json.loads(reply.body)]
        while len(jobs) < int(request.query["batch_size"]) and not self._queue.empty():
            jobs.append(await self._next())
            self._note(jobs[-1], request)
        return web.json_response(jobs)

    async def _take(self, request: web.Request) -> web.Response:
        """The next job, once there is one; nothing once the server closes."""
        self.asked_at_s.append(time.monotonic())
        if self.out_of_order:
            return web.Response(status=500)
        if self.is_hasty and self._queue.empty():
            return web.Response(status=204)
        job = asyncio.ensure_future(self._next())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({job, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                return web.Response(status=204)
            self._note(job.result(), request)
            return web.json_response(job.result())
        finally:
            job.cancel()
            closing.cancel()

    def _note(self, job: Any, request: web.Request) -> None:
        if isinstance(job, dict) and "id" in job:
            self.taken_by[job["id"]] = request.match_info["worker"]

    async def _next(self) -> dict[str, Any]:
        while True:
            job: dict[str, Any] = await self._queue.get()
            if not (isinstance(job, dict) and job.get("id") in self._cancelled):
                return job

    async def _stop(self, request: web.Request) -> web.Response:
        stop = asyncio.ensure_future(self._stops[request.match_info["worker"]].get())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({stop, closing}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                return web.json_response({"jobsToStop": [stop.result()]})
            return web.Response(status=204)
        finally:
            stop.cancel()
            closing.cancel()

    async def _finish(self, request: web.Request) -> web.Response:
        result = json.loads(await request.read())
        job_id = request.match_info["job"]
        if result.get("status") == "IN_PROGRESS":
            self.progress[job_id].append(result["output"])
            return web.Response()
        waiting = self._results[job_id]
        if not waiting.done():  # the SDK repeats a post whose answer got lost
            waiting.set_result(result)
        return web.Response()

    async def _stream(self, request: web.Request) -> web.Response:
        self.pieces[request.match_info["job"]].append(json.loads(await request.read()))
        return web.Response()

    async def _ping(self, request: web.Request) -> web.Response:
        self.pings.append(dict(request.query))
        return web.Response()


@dataclass
class WorkerProcess:
    """A worker in a process of its own, which writes all it prints to ``log_path``."""

    process: asyncio.subprocess.Process
    log_path: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, server: JobServer | None, program: Path, folder: Path, settings: Mapping[str, str]
    ) -> AsyncIterator[WorkerProcess]:
        """``program``, a Python file, as the platform runs it; its working directory is ``folder``.

        server: hands out jobs; None: there is no queue.
        """
        log_path = folder / "worker.log"
        environment = {} if server is None else server.environment()
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(program),
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own, to which its heartbeat process belongs
            )
        worker = cls(process, log_path)
        try:
            yield worker
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def is_alive(self) -> bool:
        """Whether it, or a process that it started, is."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def log(self) -> str:
        return self.log_path.read_text()

    async def leave(self) -> int:
        """Have it end as the platform does, with SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        """Of a worker that ends by itself."""
        async with asyncio.timeout(WAIT_S):
            return await self.process.wait()
