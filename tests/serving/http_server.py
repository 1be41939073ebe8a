"""A worker that serves HTTP in this process, on a port of loopback, for tests that ask it as clients do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from serving.http.app import build_app, new_gate
from serving.http.gate import Gate
from serving.http.metrics import Metrics
from serving.http.server import serving_config
from serving.job_worker import JobWorker
from settings import Settings
from tests.fakes import FakeSynthesizer, as_list, build_worker

KEY = "a-key-of-the-tests"


@dataclass
class HttpServer:
    """A server in a thread of its own."""

    worker: JobWorker
    gate: Gate
    address: str
    loop: asyncio.AbstractEventLoop
    synthesizer: FakeSynthesizer = field(default_factory=FakeSynthesizer)  # of the first model

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@contextlib.contextmanager
def http_server(
    root: Path,
    synthesizer: FakeSynthesizer | Sequence[FakeSynthesizer] | None = None,
    env: Mapping[str, str] | None = None,
    **options: object,
) -> Iterator[HttpServer]:
    """Starts a server that is ready, and ends it. env: settings. options: of ``build_worker``."""
    settings = Settings.from_env({"ENDPOINT_MODE": "http", **(env or {})})
    synthesizers = as_list(synthesizer)
    worker = build_worker(root, synthesizers, settings=settings, **options)
    started: Future[HttpServer] = Future()

    async def serve() -> None:
        gate, metrics = new_gate(worker.health, settings), Metrics()
        server = uvicorn.Server(serving_config(build_app(worker, settings, gate, metrics)))
        listening = socket.create_server(("127.0.0.1", 0))
        ended = asyncio.create_task(server.serve([listening]))
        while not server.started and not ended.done():
            await asyncio.sleep(0.005)
        metrics.watch(worker.services())
        gate.is_ready = True
        port = listening.getsockname()[1]
        address, loop = f"http://127.0.0.1:{port}", asyncio.get_running_loop()
        stop = asyncio.Event()
        started.stop = lambda: loop.call_soon_threadsafe(stop.set)
        started.set_result(HttpServer(worker, gate, address, loop, synthesizers[0]))
        await stop.wait()
        server.should_exit = True
        await ended

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    found = started.result(60)
    try:
        yield found
    finally:
        started.stop()
        thread.join(60)
        assert not thread.is_alive()
