"""Work for a client that may go away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Answer = TypeVar("Answer")


class ClientGone(Exception):
    """The client has closed its connection: nobody reads an answer."""


async def unless_gone(receive: Receive, work: Awaitable[Answer]) -> Answer:
    """Returns what the work returns. When the client leaves before that, cancels it and raises ClientGone.

    receive: of a request whose body has been read.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.wait({working, leaving})
    if working.cancelled():
        raise ClientGone
    return working.result()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class StreamedResponse(Response):
    """A reply that is sent while its job runs. A client that goes away ends the job."""

    def __init__(self) -> None:
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientGone):
            await unless_gone(receive, self._send(scope, receive, send))

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the head of the reply and its body."""
        raise NotImplementedError
