"""A web server on loopback whose answers a test decides, and resolvers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import contextmanager

from audio.fetch import Fetcher

FIELD = "reference_audio_url"
Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def server(respond: Respond):
    """Its URL, and the heads of the requests that it got. Runs until the with block ends."""
    loop = asyncio.new_event_loop()
    heads: list[bytes] = []
    stop = asyncio.Event()

    async def serve(started: threading.Event, port: list[int]) -> None:
        async def handle(reader, writer):
            try:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                await respond(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        running = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.append(running.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        running.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    started, port = threading.Event(), []
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(started, port)))
    thread.start()
    assert started.wait(timeout=30)
    try:
        yield f"http://127.0.0.1:{port[0]}", heads
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def answer(body: bytes, status: str = "200 OK", **headers: str) -> Respond:
    fields = {"Content-Length": str(len(body)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    async def respond(_reader, writer):
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()

    return respond


def fetch(url: str, **options) -> bytes:
    return Fetcher(**({"allow_private": True} | options)).fetch(url, FIELD)


def resolving_to(*answers: list[str]):
    """A resolver that gives another answer each time, and what it was asked."""
    asked: list[str] = []
    rest = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return resolve, asked
