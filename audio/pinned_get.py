"""One GET request over HTTP, to addresses that were looked at before and to no others."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from audio.fetch import MAX_URL_CHARS, Answer, TransferError

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "chatterbox-voice-worker"}


@asynccontextmanager
async def pinned_get(url: str, addresses: list[str]) -> AsyncIterator[Answer]:
    """Neither follows redirects nor unpacks anything; no proxy, no cookies, no credentials of this machine.

    Raises TransferError, and OSError never.
    """
    connector = aiohttp.TCPConnector(resolver=_Pinned(addresses), force_close=True)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session,
            session.get(
                url, allow_redirects=False, headers=_HEADERS, max_line_size=MAX_URL_CHARS
            ) as response,
        ):
            _check_peer(response, addresses)
            parts = response.content.iter_any()
            yield Answer(response.status, response.headers, response.content_length, aiter(parts))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransferError(type(error).__name__) from None


def _check_peer(response: aiohttp.ClientResponse, addresses: list[str]) -> None:
    """aiohttp asks no resolver where it takes a host for an address: no difference in how that is spelled may
    lead elsewhere."""
    connection = response.connection  # gone when the answer came whole with its head
    transport = connection.transport if connection is not None else None
    peer = transport.get_extra_info("peername") if transport is not None else None
    if peer is not None and peer[0] not in addresses:
        raise TransferError("the connection leads to another address")


class _Pinned(AbstractResolver):
    """Whatever the host is called."""

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
        """There is nothing to close."""
