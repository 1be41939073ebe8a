"""Recordings from addresses that strangers give.

The caller decides the address, so the answer must not depend on where the worker stands: only public
addresses are dialled, each is resolved once and that very address is dialled, redirects included; no proxy,
no credentials, no cookies; and time and size have an end whatever the server does. ``safe_get`` of the RunPod
SDK has the same aim; its limits of time are per read, and it takes some addresses for public that are not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from audio.decode import MAX_ENCODED_BYTES
from errors import FetchFailed, FetchRefused

TOTAL_S = 20.0
MAX_REDIRECTS = 3
MAX_URL_CHARS = 4096
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# Global by Python's table, and yet not: the first four hold an IPv4 address that a gateway may go to, the
# last ones are where clouds keep what belongs to a machine alone.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "2002::/16",  # 6to4
            "2001::/32",  # Teredo
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",
            "::/96",  # IPv4-compatible
            "fec0::/10",  # site-local
            "100.64.0.0/10",  # shared address space
            "192.0.0.0/24",  # one of Oracle's metadata addresses among them
            "168.63.129.16/32",  # Azure's
        ),
    )
)


class TransferError(Exception):
    """What went wrong on the way, by its kind alone: texts of such errors hold URLs, and URLs hold
    signatures."""


@dataclass(frozen=True)
class Answer:
    """length_bytes: as it was announced. parts: of the body, as they come; may raise TransferError."""

    status: int
    headers: Mapping[str, str]
    length_bytes: int | None
    parts: AsyncIterator[bytes]


Resolve = Callable[[str, int], Awaitable[list[str]]]
Result = TypeVar("Result")

log = logging.getLogger(__name__)


def is_public(address: str) -> bool:
    """Whether an IP address is anybody's to reach; False for what is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if any(parsed.version == network.version and parsed in network for network in _NOT_PUBLIC):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


async def resolve_by_system(host: str, port: int) -> list[str]:
    """All addresses of a host. Raises OSError."""
    pool = ThreadPoolExecutor(1)  # of its own: a lookup that hangs must not hold up the end of the loop
    try:
        found = await asyncio.get_running_loop().run_in_executor(
            pool, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
    finally:
        pool.shutdown(wait=False)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class Fetcher:
    """allow_private: any address, and http, for those who keep recordings in a network of their own."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        total_s: float = TOTAL_S,
        max_bytes: int = MAX_ENCODED_BYTES,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._allow_private, self._total_s, self._max_bytes = allow_private, total_s, max_bytes
        self._resolve = resolve

    def fetch(self, url: str, field: str) -> bytes:
        """What is at ``url``. Raises FetchRefused, FetchFailed, naming ``field``. Not on an event loop."""
        return asyncio.run(self._in_time(self._fetch(url, field), field))

    def check_endpoint(self, url: str, field: str) -> None:
        """For what another library will talk to. Raises FetchRefused, FetchFailed.

        The library resolves anew: https, whose certificate a private machine cannot have for a public
        name, is what keeps it from elsewhere then.
        """
        host, port = self._address(url, field)
        asyncio.run(self._in_time(self._look_up(host, port, field), field))

    async def _in_time(self, work: Awaitable[Result], field: str) -> Result:
        try:
            async with asyncio.timeout(self._total_s):
                return await work
        except TimeoutError as error:
            raise FetchFailed(
                f"{field} was not there within {self._total_s:g} s; send another URL"
            ) from error
        except TransferError as error:
            log.warning("fetching failed: %s", error)
            raise FetchFailed(f"{field} could not be fetched; check that the URL can be reached") from None

    async def _fetch(self, url: str, field: str) -> bytes:
        from audio.pinned_get import pinned_get  # its library takes a while to import

        for _ in range(MAX_REDIRECTS + 1):
            host, port = self._address(url, field)
            addresses = await self._look_up(host, port, field)
            async with pinned_get(url, addresses) as answer:
                if answer.status not in _REDIRECTS:
                    return await self._read(answer, field)
                url = urljoin(url, answer.headers.get("Location", ""))
        raise FetchFailed(f"{field} redirects more than {MAX_REDIRECTS} times; send the URL it ends at")

    async def _read(self, answer: Answer, field: str) -> bytes:
        if answer.status != 200:
            raise FetchFailed(f"{field}: the server answered {answer.status}; check the URL")
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise FetchRefused(f"{field} comes compressed for the way; send a URL of the file as it is")
        too_large = FetchRefused(
            f"{field} is larger than {self._max_bytes // 2**20} MiB: send a shorter or compressed recording"
        )
        if (answer.length_bytes or 0) > self._max_bytes:
            raise too_large
        data = bytearray()
        async for part in answer.parts:
            data += part
            if len(data) > self._max_bytes:
                raise too_large
        return bytes(data)

    def _address(self, url: str, field: str) -> tuple[str, int]:
        """Host and port. Raises FetchRefused for what must not be asked for at all."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
            parts = urlsplit("")
        schemes = ("https", "http") if self._allow_private else ("https",)
        if not host or parts.scheme not in schemes or len(url) > MAX_URL_CHARS:
            raise FetchRefused(f"{field} must be an {schemes[0]} URL of at most {MAX_URL_CHARS} characters")
        if parts.username is not None or parts.password is not None:
            raise FetchRefused(f"{field} holds a user name; send a signed URL instead")
        return host, port or (443 if parts.scheme == "https" else 80)

    async def _look_up(self, host: str, port: int, field: str) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise FetchFailed(f"{field}: its host is not known; check the URL") from error
        if not self._allow_private and not (addresses and all(map(is_public, addresses))):
            raise FetchRefused(f"{field} leads to an address that is not public; send one that is")
        return addresses
