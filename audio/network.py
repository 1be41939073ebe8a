"""Connections to hosts that a caller names: which addresses may be dialled, and for how long.

The caller chooses the host, so the outcome must not depend on where the worker stands: only public addresses
are dialled, and the address that was checked is the one that is dialled (``audio.pinned_http``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlsplit

from cancel import CancelToken
from errors import FetchFailed, FetchRefused

MAX_URL_CHARS = 4096
LOOK_UP_S = 20.0
_MAX_HOST_CHARS = 253
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_AS_WRITTEN = "".join(map(chr, range(0x21, 0x7F)))  # visible ASCII is sent as it is, "%" included

# The IANA special-purpose address registries (RFC 6890, as of 2026), and the addresses at which clouds keep
# what belongs to one machine alone. Python's own table (``is_global``) is asked too, but it differs between
# versions and passes some of these.
_SPECIAL_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private use
            "100.64.0.0/10",  # shared address space; Alibaba's metadata service is 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's virtual host
            "169.254.0.0/16",  # link local; most clouds' metadata services
            "172.16.0.0/12",  # private use
            "192.0.0.0/24",  # IETF protocol assignments; one of Oracle's metadata addresses
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private use
            "192.175.48.0/24",  # AS112, direct delegation
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# All IPv6 addresses outside of this block are special: loopback, IPv4-compatible, NAT64 (64:ff9b::/96 and
# 64:ff9b:1::/48), discard-only, SRv6 (5f00::/16), unique local, link local, site local, multicast.
_IPV6_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, AMT, AS112 (2001:4:112::/48), ORCHID, DRIP
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: holds an IPv4 address that a relay may go to
            "2620:4f:8000::/48",  # AS112, direct delegation
            "3fff::/20",  # documentation
        ),
    )
)
# ISATAP (RFC 5214): the lower 64 bits are [00|02|01|03]00:5efe and an IPv4 address, under any prefix.
_ISATAP_MASK, _ISATAP_BITS = 0xFCFFFFFF, 0x00005EFE

Resolve = Callable[[str, int], Awaitable[list[str]]]
Result = TypeVar("Result")


class TransferError(Exception):
    """A transfer over HTTP failed. The text names the kind of fault alone: texts of the library's errors hold
    URLs, and URLs hold signatures."""


@dataclass(frozen=True)
class Target:
    """Where one request goes."""

    url: str  # ASCII, as it is sent
    host: str  # ASCII, without the brackets of an IPv6 address
    port: int


def is_public(address: str) -> bool:
    """Returns whether an IP address is one of the public internet; False for what is no address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _SPECIAL_IPV4)
    if parsed not in _IPV6_GLOBAL_UNICAST or (int(parsed) >> 32) & _ISATAP_MASK == _ISATAP_BITS:
        return False
    return not any(parsed in network for network in _SPECIAL_IPV6)


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Returns all addresses of a host. Raises OSError."""
    # An executor of its own: a look-up that hangs must not delay the end of the event loop.
    pool = ThreadPoolExecutor(1)
    try:
        found = await asyncio.get_running_loop().run_in_executor(
            pool, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
    finally:
        pool.shutdown(wait=False)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class HostPolicy:
    """Decides which URLs and addresses may be dialled.

    allow_private: any address, and http too, for an operator's own network.
    """

    def __init__(self, *, allow_private: bool = False, resolve: Resolve = resolve_by_system) -> None:
        self._allow_private, self._resolve = allow_private, resolve

    def target(self, url: str, field: str) -> Target:
        """Returns where a request for ``url`` goes, without a look-up.

        The query and the path stay as they were given, since a signature may cover them; only characters that
        no request line can hold are percent-encoded, as UTF-8. Raises FetchRefused.
        """
        schemes = ("https", "http") if self._allow_private else ("https",)
        refused = FetchRefused(
            f"must be an {schemes[0]} URL of at most {MAX_URL_CHARS} characters", field=field
        )
        url = url.strip()
        if len(url) > MAX_URL_CHARS or any(char < " " or char == "\x7f" for char in url):
            raise refused
        try:
            parts = urlsplit(url)
            host, port = _ascii_host(parts.hostname or ""), parts.port
            path, query = _sendable(parts.path or "/"), _sendable(parts.query)
        except ValueError:
            raise refused from None
        if parts.scheme not in schemes or port == 0 or ("[" in parts.netloc and ":" not in host):
            raise refused
        if parts.username is not None or parts.password is not None:
            raise FetchRefused("holds a user name", field=field, hint="send a signed URL instead")
        netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
        sent = f"{parts.scheme}://{netloc}{path}{'?' + query if query else ''}"
        return Target(sent, host, port or (443 if parts.scheme == "https" else 80))

    def check(self, url: str, field: str, cancel: CancelToken | None = None) -> None:
        """Checks the address of a service that will be talked to later. Not to be called on an event loop.

        Raises FetchRefused, FetchFailed, Cancelled.
        """
        target = self.target(url, field)
        try:
            run_within(LOOK_UP_S, lambda: self.addresses(target, field), cancel)
        except TimeoutError as error:
            raise FetchFailed("names a host that was not found in time", field=field) from error

    async def addresses(self, target: Target, field: str) -> list[str]:
        """Returns the addresses of the target's host, all of which may be dialled.

        Raises FetchRefused, FetchFailed.
        """
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise FetchFailed("names a host that is not known", field=field, hint="check the URL") from error
        if not addresses or not (self._allow_private or all(map(is_public, addresses))):
            raise FetchRefused("leads to an address that is not public", field=field, hint="send one that is")
        return addresses


def _sendable(part: str) -> str:
    """Percent-encodes what no request line can hold. Raises ValueError for lone surrogates.

    Bytes of a redirect that are no UTF-8 come as escaped surrogates, and go out as the same bytes.
    """
    return quote(part, _AS_WRITTEN, errors="surrogateescape")


def _ascii_host(host: str) -> str:
    """Returns a host as DNS has it. Raises ValueError for what can be no host's name or address."""
    if ":" in host and "%" not in host:  # no zone: it names a network card of this machine
        return str(ipaddress.IPv6Address(host))
    if not host.isascii():
        host = host.encode("idna").decode("ascii")  # UnicodeError is a ValueError
    labels = host.removesuffix(".").split(".")
    if len(host) > _MAX_HOST_CHARS or not all(map(_HOST_LABEL.fullmatch, labels)):
        raise ValueError("no host")
    return host


def run_within(
    deadline_s: float, work: Callable[[], Awaitable[Result]], cancel: CancelToken | None = None
) -> Result:
    """Runs ``work`` on an event loop of its own and returns its result. Not to be called on an event loop.

    Raises TimeoutError once ``deadline_s`` is over and Cancelled once ``cancel`` is cancelled; the work is
    ended in both cases, whatever it waits for.
    """

    async def supervised() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end() -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)

        unregister = cancel.on_cancel(end) if cancel is not None else None
        try:
            async with asyncio.timeout(deadline_s):
                return await work()
        except asyncio.CancelledError:
            if cancel is not None:
                cancel.raise_if_cancelled()
            raise
        finally:
            if unregister is not None:
                unregister()

    if cancel is not None:
        cancel.raise_if_cancelled()
    return asyncio.run(supervised())
