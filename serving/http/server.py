"""The HTTP server: it listens at once, is ready when the model has spoken, and drains before it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from errors import Cancelled, WorkerError
from operations.base import Services
from serving.envelope import start_failure
from serving.http.app import build_app, build_health_app, new_gate
from serving.http.gate import Gate
from serving.http.metrics import Metrics
from serving.job_worker import JobWorker
from settings import Settings

HEADER_TIMEOUT_S = 15.0  # what a client gets to send a request's head
KEEP_ALIVE_S = 30
MAX_HEAD_BYTES = 64 * 1024
MAX_CONNECTIONS = 2048
SEND_TIMEOUT_S = 60.0  # what a client gets to read anything of a reply that is ahead of it
LAST_REPLIES_S = 5.0  # what connections get to take what is sent already, once no job runs

log = logging.getLogger(__name__)


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which ends connections that do not get on.

    They are those whose request's head does not come in time, and those that read nothing of a reply: its job
    would keep its place.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waits_for_head = self.cycle is None or self.cycle.response_complete
        if waits_for_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._head_is_late)
        elif not waits_for_head and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        super().resume_writing()

    def _watch_reader(self, unread_bytes: float = math.inf) -> None:
        """Ends the connection if nothing was read since there were ``unread_bytes``; else looks again."""
        now_bytes = self.transport.get_write_buffer_size()
        if now_bytes < unread_bytes:
            self._send_timer = self.loop.call_later(SEND_TIMEOUT_S, self._watch_reader, now_bytes)
        else:  # not closed: that would wait for the client to read what was sent
            self.transport.abort()

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: who runs several servers handles signals once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: Settings, worker: JobWorker, loading: Future[Services]) -> int:
    """Serves until a signal comes or the worker is unhealthy. Returns the exit code.

    loading: of the weights, begun already.
    """
    http = settings.http
    try:
        sockets = [_listen(http.host, port) for port in dict.fromkeys((http.port, http.health_port))]
    except OSError as error:
        log.error("cannot start: %s; set HOST, PORT and PORT_HEALTH to others", error)
        return 1
    log.info("listening on %s", " and ".join("{}:{}".format(*each.getsockname()[:2]) for each in sockets))
    return asyncio.run(_serve(settings, worker, loading, sockets))


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens. Raises OSError, which names the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise OSError(f"{host}, port {port}: {error.strerror or error}") from error


async def _serve(
    settings: Settings, worker: JobWorker, loading: Future[Services], sockets: Sequence[socket.socket]
) -> int:
    """sockets: of the server, and of the health check where that has a port of its own."""
    gate, metrics = new_gate(worker.health, settings), Metrics()
    metrics.gauge("jobs_in_place", "Jobs that run or wait.", lambda: gate.device.jobs)
    apps = (build_app(worker, settings, gate, metrics), build_health_app(gate))
    servers = [Server(serving_config(app)) for app, _ in zip(apps, sockets, strict=False)]
    listening = [
        asyncio.create_task(server.serve([each])) for server, each in zip(servers, sockets, strict=True)
    ]
    leaving, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leaving.set)
    worker.health.on_unhealthy(lambda: loop.call_soon_threadsafe(leaving.set))
    starting = asyncio.create_task(_start(worker, loading, gate, metrics))
    starting.add_done_callback(lambda _: None if gate.is_ready else leaving.set())
    await leaving.wait()
    failure = starting.result() if starting.done() else None
    if failure is None:
        await _drain(worker, gate, settings.shutdown_grace_s)
    else:
        log.error("%s", failure)
    starting.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.wait([starting, *listening])
    return 1 if failure is not None or worker.health.is_unhealthy else 0


async def _start(worker: JobWorker, loading: Future[Services], gate: Gate, metrics: Metrics) -> str | None:
    """Waits until the model speaks. Returns why it does not."""
    try:
        services = await asyncio.wrap_future(loading)
        await asyncio.wrap_future(worker.runner.submit(services.models.check))
    except WorkerError as error:
        return start_failure(error)
    metrics.watch(services)
    gate.is_ready = True
    log.info("ready")
    return None


async def _drain(worker: JobWorker, gate: Gate, grace_s: float) -> None:
    """Takes no further job, and waits for those that run; cancels them when their time is over."""
    gate.is_leaving = True
    log.info("leaving: no further job is taken, those that run have %.0f s", grace_s)
    try:
        async with asyncio.timeout(grace_s):
            await gate.until_empty()
    except TimeoutError:
        reason = "the worker had to leave before the job was done"
        worker.runner.cancel_all(Cancelled(reason, hint="send the job again"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_REPLIES_S):
                await gate.until_empty()


def serving_config(app: ASGIApp) -> uvicorn.Config:
    """Returns the server's configuration, limits of connections among it."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,  # as ours are configured
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(LAST_REPLIES_S),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        limit_concurrency=MAX_CONNECTIONS,
        proxy_headers=False,
    )
