"""RunPod's queue as a caller sees it: /run, /runsync, /status, /stream and /cancel, on loopback.

Jobs run in the worker's own job loop in this process, or, with a job server, in any worker of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from serving.job_worker import JobWorker
from tests.job_server import JobServer

KEY = "a-runpod-key-of-the-tests"
ENDPOINT = "endpoint-of-the-tests"
RUN_LIMIT_BYTES, RUNSYNC_LIMIT_BYTES = 10_000_000, 20_000_000
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


@dataclass
class PlatformJob:
    """A job as the platform has it."""

    id: str
    input: Any
    status: str = "IN_QUEUE"
    output: Any = None
    error: str | None = None
    pieces: list[Any] = field(default_factory=list)  # streamed, and not yet asked for
    work: asyncio.Task[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, status: str, output: Any = None, error: str | None = None) -> None:
        if self.status not in FINAL:
            self.status, self.output, self.error = status, output, error
            self.over.set()

    def state(self) -> dict[str, Any]:
        said = {"id": self.id, "status": self.status, "output": self.output, "error": self.error}
        return {name: value for name, value in said.items() if value is not None}


class Platform:
    """The platform of one endpoint.

    ``faults`` holds, for a route's name, what its next requests meet: a status, with a body and headers, or
    "drop", which closes the connection once the request was worked on. ``hold`` keeps workers from starting.
    """

    def __init__(self, run: Callable[[PlatformJob], AsyncGenerator[Any]], *, is_streaming: bool) -> None:
        """run: yields what a job's worker posts; the last one is the result."""
        self.jobs: dict[str, PlatformJob] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []  # routes and headers
        self.faults: dict[str, list[Any]] = {}
        self.max_wait_s = 60.0  # that /runsync is held, however long the caller wants
        self.address = ""
        self.files: dict[str, bytes] = {}  # of the bucket
        self.bucket_asked: list[dict[str, str]] = []  # headers
        self._run, self._is_streaming = run, is_streaming
        self._ids = itertools.count(1)
        self._workers_up = asyncio.Event()
        self._workers_up.set()
        self._loop = asyncio.get_running_loop()

    # --- for tests, from any thread

    def hold(self) -> None:
        """Lets the endpoint have no worker from now on."""
        self._loop.call_soon_threadsafe(self._workers_up.clear)

    def release(self) -> None:
        """Starts the endpoint's workers."""
        self._loop.call_soon_threadsafe(self._workers_up.set)

    def routes_asked(self) -> list[str]:
        return [name for name, _ in self.asked]

    # --- routes

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024**2)
        base = f"/v2/{ENDPOINT}"
        app.add_routes(
            [
                web.post(f"{base}/run", self._route("run", self._submit)),
                web.post(f"{base}/runsync", self._route("runsync", self._runsync)),
                web.get(base + "/status/{id}", self._route("status", self._status)),
                web.get(base + "/stream/{id}", self._route("stream", self._stream)),
                web.post(base + "/cancel/{id}", self._route("cancel", self._cancel)),
                web.get("/bucket/{name}", self._bucket),
                web.get("/moved/{name}", self._moved),
            ]
        )
        return app

    def _route(self, name: str, handle: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.asked.append((name, dict(request.headers)))
            if request.headers.get("Authorization") != f"Bearer {KEY}":
                return web.Response(status=401)
            fault = self.faults[name].pop(0) if self.faults.get(name) else None
            if isinstance(fault, tuple):
                status, body, headers = fault
                return web.Response(status=status, text=body, headers=headers)
            reply: web.StreamResponse = await handle(request)
            if fault == "drop":
                assert request.transport is not None
                request.transport.close()
            return reply

        return answer

    def _new_job(self, prefix: str, body: dict[str, Any]) -> PlatformJob:
        job = PlatformJob(f"{prefix}{next(self._ids)}-u1", body["input"])
        self.jobs[job.id] = job
        job.work = asyncio.create_task(self._work(job))
        return job

    async def _work(self, job: PlatformJob) -> None:
        await self._workers_up.wait()
        job.status = "IN_PROGRESS"
        posted = []
        async with contextlib.aclosing(self._run(job)) as outputs:
            async for output in outputs:
                if self._is_streaming and "error" not in output:
                    job.pieces.append(output)
                posted.append(output)
        if "error" in posted[-1]:
            rest = {name: value for name, value in posted[-1].items() if name != "error"}
            job.end("FAILED", rest or None, posted[-1]["error"])
        else:
            job.end("COMPLETED", posted if self._is_streaming else posted[-1])

    async def _submit(self, request: web.Request) -> web.Response:
        content = await request.read()
        if len(content) > RUN_LIMIT_BYTES:
            return web.json_response({"error": "too large"}, status=413)
        job = self._new_job("", json.loads(content))
        return web.json_response({"id": job.id, "status": job.status})

    async def _runsync(self, request: web.Request) -> web.Response:
        content = await request.read()
        if len(content) > RUNSYNC_LIMIT_BYTES:
            return web.json_response({"error": "too large"}, status=413)
        job = self._new_job("sync-", json.loads(content))
        wait_s = min(int(request.query.get("wait", 90_000)) / 1000, self.max_wait_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(job.over.wait(), wait_s)
        return web.json_response(job.state())

    async def _status(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        return web.json_response({"error": "job not found"}, status=404) if job is None else self._said(job)

    @staticmethod
    def _said(job: PlatformJob) -> web.Response:
        return web.json_response(job.state())

    async def _stream(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        pieces, job.pieces = job.pieces, []
        stream = [{"output": piece} for piece in pieces]
        return web.json_response({"status": job.status, "stream": stream})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        job.end("CANCELLED")
        if job.work is not None:
            job.work.cancel()
        return web.json_response({"id": job.id, "status": job.status})

    async def _bucket(self, request: web.Request) -> web.Response:
        self.bucket_asked.append(dict(request.headers))
        body = self.files.get(request.match_info["name"])
        return web.Response(status=403) if body is None else web.Response(body=body)

    async def _moved(self, request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"/bucket/{request.match_info['name']}"})


def in_process(worker: JobWorker, *, is_streaming: bool) -> Callable[[PlatformJob], AsyncGenerator[Any]]:
    """Runs jobs in a worker of this process."""

    async def run(job: PlatformJob) -> AsyncGenerator[Any]:
        event = {"id": job.id, "input": job.input}
        if not is_streaming:
            yield await worker.handle(event)
            return
        async with contextlib.aclosing(worker.stream(event)) as pieces:
            async for piece in pieces:
                yield dict(piece)

    return run


def by_job_server(server: JobServer) -> Callable[[PlatformJob], AsyncGenerator[Any]]:
    """Runs jobs in the workers of a job server, which are processes of their own."""

    async def run(job: PlatformJob) -> AsyncGenerator[Any]:
        server.submit(job.id, job.input)
        try:
            result = await server.result(job.id)
        except asyncio.CancelledError:
            server.cancel(job.id)
            raise
        for piece in server.pieces[job.id]:
            yield piece["output"]
        if "error" in result:
            yield {**(result.get("output") or {}), "error": result["error"]}
        elif not isinstance(result["output"], list):
            yield result["output"]

    return run


@contextlib.contextmanager
def serving(
    build: Callable[[], contextlib.AbstractAsyncContextManager[Platform]],
) -> Iterator[Platform]:
    """Serves a platform from a thread of its own."""
    started: Future[tuple[Platform, Callable[[], None]]] = Future()

    async def serve() -> None:
        try:
            async with build() as platform:
                runner = web.AppRunner(platform.app(), shutdown_timeout=1)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                host, port = runner.addresses[0][:2]
                platform.address = f"http://{host}:{port}/v2/{ENDPOINT}"
                stop = asyncio.Event()
                loop = asyncio.get_running_loop()
                started.set_result((platform, lambda: loop.call_soon_threadsafe(stop.set)))
                await stop.wait()
                works = [job.work for job in platform.jobs.values() if job.work is not None]
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)
                await runner.cleanup()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    platform, stop = started.result(60)
    try:
        yield platform
    finally:
        stop()
        thread.join(60)
        assert not thread.is_alive()


@contextlib.contextmanager
def platform_of(worker: JobWorker, *, is_streaming: bool = False) -> Iterator[Platform]:
    """Serves an endpoint whose worker is in this process."""

    @contextlib.asynccontextmanager
    async def build() -> AsyncGenerator[Platform]:
        yield Platform(in_process(worker, is_streaming=is_streaming), is_streaming=is_streaming)

    with serving(build) as platform:
        yield platform
