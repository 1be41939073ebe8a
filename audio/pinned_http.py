"""One HTTP request to addresses that were checked before, and to no others."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from audio.network import MAX_URL_CHARS, Target, TransferError

BLOCK_BYTES = 2**18  # of a body that is sent: cancelling takes effect between two blocks
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "chatterbox-voice-worker"}


@dataclass(frozen=True)
class Response:
    """The answer to a request, its body not read yet."""

    status: int
    headers: Mapping[str, str]
    length_bytes: int | None  # as it was announced
    chunks: AsyncIterator[bytes]  # of the body, as they arrive; may raise TransferError

    async def read_at_most(self, max_bytes: int) -> bytes:
        """Returns the beginning of the body, or what came of it before the connection broke."""
        body = bytearray()
        with suppress(TransferError):
            async for chunk in self.chunks:
                body += chunk
                if len(body) >= max_bytes:
                    break
        return bytes(body[:max_bytes])


@asynccontextmanager
async def pinned_request(
    target: Target,
    addresses: list[str],
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    connect_s: float | None = None,
    answer_s: float | None = None,
) -> AsyncIterator[Response]:
    """Sends one request. Neither follows redirects nor decompresses; uses no proxy, no cookies and no
    credentials of this machine. The connection is closed when the block ends, however it ends.

    connect_s: limit for the connection. answer_s: limit for the answer's head once the body is sent, and for
    each chunk of it. A limit for everything together is the caller's task.

    Raises TransferError, and OSError never.
    """
    sockets: list[socket.socket] = []

    def open_socket(info: tuple[Any, ...]) -> socket.socket:
        # aiohttp asks no resolver where it takes a host for an address; it cannot get past this.
        family, kind, protocol, _, address = info
        if address[0] not in addresses:
            raise OSError("the connection would lead to another address")
        opened = socket.socket(family, kind, protocol)
        sockets.append(opened)
        return opened

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=_Pinned(addresses), force_close=True, socket_factory=open_socket
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=answer_s),
    )
    response = None
    try:
        response = await session.request(
            method,
            URL(target.url, encoded=True),  # signatures cover the URL as it is written
            allow_redirects=False,
            headers={**_HEADERS, **(headers or {}), **({"Content-Length": str(len(body))} if body else {})},
            data=_blocks(body) if body else None,
            max_line_size=MAX_URL_CHARS,
        )
        yield Response(response.status, response.headers, response.content_length, _chunks(response.content))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransferError(type(error).__name__) from None
    finally:
        if response is not None:
            response.close()
        for opened in sockets:
            # What is still to be sent would otherwise keep the connection, and this coroutine, waiting.
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        await session.close()


async def _blocks(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(view), BLOCK_BYTES):
        yield bytes(view[start : start + BLOCK_BYTES])


async def _chunks(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    try:
        async for chunk in content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransferError(type(error).__name__) from None


class _Pinned(AbstractResolver):
    """Resolves every host name to the addresses given."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Does nothing: there is nothing to close."""
