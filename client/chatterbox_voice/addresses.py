"""Where the worker is, and which key goes there: from arguments, else from the environment."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from chatterbox_voice.errors import ConfigurationError
from chatterbox_voice.http_server import HttpServer
from chatterbox_voice.queue_endpoint import PLATFORM, QueueEndpoint

ENDPOINT, URL = "VOICE_WORKER_ENDPOINT", "VOICE_WORKER_URL"
RUNPOD_KEY, WORKER_KEY = "RUNPOD_API_KEY", "VOICE_WORKER_API_KEY"
RUNPOD_HOST = "runpod.ai"


def find_worker(
    endpoint: str | None, url: str | None, api_key: str | None, runpod_api_key: str | None
) -> QueueEndpoint | HttpServer:
    """Returns the worker that the arguments name, or else the environment. Raises ConfigurationError.

    RunPod's key is taken from the environment for RunPod's hosts alone.
    """
    if endpoint is None and url is None:
        endpoint, url = os.environ.get(ENDPOINT) or None, os.environ.get(URL) or None
    if (endpoint is None) == (url is None):
        many = "both an endpoint and a URL are" if endpoint else "neither an endpoint nor a URL is"
        raise ConfigurationError(
            f"{many} set; set one: the id of a queue endpoint ({ENDPOINT}) or the address of a worker's HTTP "
            f"server ({URL})"
        )
    if endpoint is not None:
        return _queue_endpoint(endpoint, api_key or runpod_api_key)
    assert url is not None
    address = _address(url)
    if _is_runpod(address):
        runpod_api_key = runpod_api_key or os.environ.get(RUNPOD_KEY) or None
    return HttpServer(address, _key(api_key, WORKER_KEY), _key(runpod_api_key))


def _queue_endpoint(endpoint: str, api_key: str | None) -> QueueEndpoint:
    if "/" not in endpoint:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", endpoint):
            raise ConfigurationError(f"{endpoint!r} is no endpoint's id; it has letters and digits alone")
        endpoint = f"{PLATFORM}/{endpoint}"
    address = _address(endpoint)
    variable = RUNPOD_KEY if _is_runpod(address) else WORKER_KEY
    key = _key(api_key, variable)
    if key is None:
        raise ConfigurationError(f"a queue endpoint needs RunPod's key: set {variable}, or pass api_key")
    return QueueEndpoint(address, key)


def _key(key: str | None, variable: str | None = None) -> str | None:
    """Returns a key that can be sent in a header. Its text is in no error."""
    if key is None and variable is not None:
        key = os.environ.get(variable) or None
    if key is not None:
        key = key.strip()
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigurationError("the key is empty or has characters that no key has")
    return key


def _address(url: str) -> str:
    """Returns a URL without a slash at its end. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ConfigurationError("the address must be one of http or https, such as http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigurationError("the address must not have a key or a query in it; pass keys as api_key")
    return url.rstrip("/")


def _is_runpod(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    is_secure = urlsplit(address).scheme == "https"
    return is_secure and (host == RUNPOD_HOST or host.endswith(f".{RUNPOD_HOST}"))
