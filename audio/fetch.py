"""Recordings from URLs that callers send.

Only public addresses are dialled, each host is resolved once and that very address is dialled, redirects
included; no proxy, no credentials, no cookies; time and size are limited whatever the server does.
``safe_get`` of the RunPod SDK has the same aim; its limits of time are per read, and it takes some addresses
for public that are not.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from audio.decode import MAX_ENCODED_BYTES
from audio.network import HostPolicy, Resolve, TransferError, resolve_by_system, run_within
from cancel import CancelToken
from errors import FetchFailed, FetchRefused

if TYPE_CHECKING:
    from audio.pinned_http import Response

TOTAL_S = 20.0
MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

log = logging.getLogger(__name__)


class Fetcher:
    """Fetches what is at a URL. Thread-safe."""

    def __init__(
        self,
        *,
        allow_private: bool = False,  # any address, and http too, for an operator's own network
        total_s: float = TOTAL_S,  # for one URL, look-ups and redirects included
        max_bytes: int = MAX_ENCODED_BYTES,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self.hosts = HostPolicy(allow_private=allow_private, resolve=resolve)
        self._total_s, self._max_bytes = total_s, max_bytes

    def fetch(self, url: str, field: str, cancel: CancelToken | None = None) -> bytes:
        """Returns the body at ``url``. Not to be called on an event loop.

        field: the field that holds the URL, for errors. Raises FetchRefused, FetchFailed, Cancelled.
        """
        try:
            return run_within(self._total_s, lambda: self._fetch(url, field), cancel)
        except TimeoutError as error:
            raise FetchFailed(
                f"was not there within {self._total_s:g} s", field=field, hint="send another URL"
            ) from error
        except TransferError as error:
            log.warning("fetching failed: %s", error)
            raise FetchFailed(
                "could not be fetched", field=field, hint="check that the URL can be reached"
            ) from None

    async def _fetch(self, url: str, field: str) -> bytes:
        from audio.pinned_http import pinned_request  # aiohttp takes a while to import

        for _ in range(MAX_REDIRECTS + 1):
            target = self.hosts.target(url, field)
            addresses = await self.hosts.addresses(target, field)
            async with pinned_request(target, addresses) as response:
                if response.status not in _REDIRECTS:
                    return await self._read(response, field)
                url = _redirected(url, response, field)
        raise FetchFailed(
            f"redirects more than {MAX_REDIRECTS} times", field=field, hint="send the URL it ends at"
        )

    async def _read(self, response: Response, field: str) -> bytes:
        if response.status != 200:
            raise FetchFailed(
                f"is a URL whose server answered {response.status}", field=field, hint="check the URL"
            )
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise FetchRefused(
                "comes with a compressed transfer encoding",
                field=field,
                hint="send a URL of the file as it is",
            )
        too_large = FetchRefused(
            f"is larger than {self._max_bytes // 2**20} MiB",
            field=field,
            hint="send a shorter or compressed recording",
        )
        if (response.length_bytes or 0) > self._max_bytes:
            raise too_large
        data = bytearray()
        async for chunk in response.chunks:
            data += chunk
            if len(data) > self._max_bytes:
                raise too_large
        return bytes(data)


def _redirected(url: str, response: Response, field: str) -> str:
    try:
        return urljoin(url, response.headers["Location"])
    except (KeyError, ValueError):  # none; brackets that do not match
        raise FetchFailed("redirects to no URL", field=field, hint="send the URL it ends at") from None
