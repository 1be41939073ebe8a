"""Who may ask: keys, hosts, origins, and limits of what is sent. Plain ASGI, in front of all routes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import time
import uuid
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.errors import Refused, error_response
from settings import LOOPBACK_HOSTS, HttpSettings

MAX_BODY_BYTES = 30_000_000  # what a load-balancing endpoint carries
BODY_TIMEOUT_S = 60.0  # what a client gets to send more of its body
WHOLE_BODY_TIMEOUT_S = 300.0  # and all of it
MAX_HEADERS, MAX_HEADER_BYTES = 100, 64 * 1024
MAX_REQUEST_ID_CHARS = 128
REQUEST_ID = "X-Request-Id"
PUBLIC_PATHS = frozenset({"/", "/ping", "/openapi.json", "/docs"})
PUBLIC_FOLDERS = ("/static/", "/static-offline-docs/")
SAFE_METHODS = ("GET", "HEAD")


class Guard:
    """Refuses requests before a route sees them, and gives each an id.

    A browser sends requests of any page to any address that it reaches, this machine's own among them. So a
    request that a page of another origin made is refused, unless that origin is one of CORS_ORIGINS; and on
    loopback the Host must name this machine, since a foreign page's own name can be made to point here.
    """

    def __init__(self, app: ASGIApp, settings: HttpSettings, *, is_behind_platform: bool) -> None:
        """is_behind_platform: requests come through the platform's load balancer, which names any host."""
        self._app, self._settings = app, settings
        self._checks_host = settings.is_on_loopback or (settings.api_key is None and not is_behind_platform)
        self._key_digest = None if settings.api_key is None else _digest(settings.api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"], state["has_own_id"] = request_id, headers.get(REQUEST_ID) == request_id
        send = _with_header(send, REQUEST_ID, request_id)
        try:
            self._check(scope["method"], scope["path"], headers)
        except Refused as refused:
            await error_response(refused, scope["path"])(scope, receive, send)
            return
        await self._app(scope, _Body(receive).receive, send)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        size_bytes = sum(len(name) + len(value) for name, value in headers.raw)
        if len(headers.raw) > MAX_HEADERS or size_bytes > MAX_HEADER_BYTES:
            raise Refused(
                "request_too_large",
                f"the request has more than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them",
            )
        self._check_host(headers)
        self._check_origin(method, path, headers)
        if not self._is_public(path):
            self._check_key(headers)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            raise _too_large()

    def _is_public(self, path: str) -> bool:
        if path == "/metrics":
            return self._settings.metrics_public
        return path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._checks_host and not _names_an_address(host):
            raise Refused(
                "forbidden",
                "this host's name is not the worker's",
                hint="use its address, such as 127.0.0.1, or set API_KEY and HOST",
            )

    def _check_origin(self, method: str, path: str, headers: Headers) -> None:
        allowed = self._settings.cors_origins
        origin = headers.get("origin")
        if origin is not None:
            if origin in allowed or "*" in allowed or _is_same(origin, headers.get("host", "")):
                return
            raise _foreign_page()
        site = headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin"):
            return
        # A link on another page may lead to our page, which then asks for itself.
        is_link = headers.get("sec-fetch-mode") == "navigate" and method in SAFE_METHODS
        if not (is_link and self._is_public(path)):
            raise _foreign_page()

    def _check_key(self, headers: Headers) -> None:
        if self._key_digest is None:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        sent = [token.strip()] if scheme.lower() == "bearer" else []
        sent.append(headers.get("x-api-key", ""))
        # Digests have one length, and each is compared whole, so that the time tells nothing about the key.
        if not any(hmac.compare_digest(_digest(key), self._key_digest) for key in sent):
            raise Refused(
                "unauthorized",
                "the key is missing or wrong",
                hint="send it as Authorization: Bearer KEY or as X-API-Key",
            )


class _Body:
    """A request's body as it comes, within its limits."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received_bytes = 0
        self._is_complete = False
        self._deadline_s = time.monotonic() + WHOLE_BODY_TIMEOUT_S

    async def receive(self) -> Message:
        """Raises Refused for a body that is too large or takes too long."""
        if self._is_complete:  # what follows is the end of the connection, which may be long in coming
            return await self._receive()
        try:
            left_s = self._deadline_s - time.monotonic()
            async with asyncio.timeout(min(BODY_TIMEOUT_S, max(left_s, 0.0))):
                message = await self._receive()
        except TimeoutError:
            raise Refused("request_timeout", "the body did not come in time") from None
        self._is_complete = not message.get("more_body", False)
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > MAX_BODY_BYTES:
            raise _too_large()
        return message


def _too_large() -> Refused:
    return Refused(
        "request_too_large",
        f"the body has more than {MAX_BODY_BYTES} bytes",
        hint="send a recording as mp3 or flac, or its address as reference_audio_url",
    )


def _foreign_page() -> Refused:
    return Refused(
        "forbidden",
        "a page of another origin may not use this worker",
        hint="add its origin to CORS_ORIGINS",
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _request_id(headers: Mapping[str, str]) -> str:
    sent = headers.get(REQUEST_ID, "")
    is_fit = 0 < len(sent) <= MAX_REQUEST_ID_CHARS and all("!" <= char <= "~" for char in sent)
    return sent if is_fit else uuid.uuid4().hex


def _names_an_address(host: str) -> bool:
    """Whether a Host header has an IP address or localhost, which no foreign name server can give."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in LOOPBACK_HOSTS:
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin has the host and port of a Host header. Its scheme is that of a proxy before us."""
    try:
        parts = urlsplit(origin)
        own = urlsplit(f"{parts.scheme}://{host}")
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return parts.hostname is not None and (parts.hostname, parts.port or default) == (
            own.hostname,
            own.port or default,
        )
    except ValueError:
        return False


def _with_header(send: Send, name: str, value: str) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault(name, value)
            headers.setdefault("X-Content-Type-Options", "nosniff")
        await send(message)

    return send_with_header
