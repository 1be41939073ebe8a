"""Errors as HTTP replies: one table from an error's code to a status, and two shapes of bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse

from errors import WorkerError
from serving.envelope import error_reply

OPENAI_PREFIX = "/v1/"
RETRY_AFTER_S = 5  # what a client is asked to wait while the worker is full, starting or leaving

STATUS: Mapping[str, int] = {
    "invalid_request": 400,
    "unknown_operation": 400,
    "unsupported_language": 400,
    "reference_invalid": 400,
    "reference_too_short": 400,
    "text_too_long": 400,
    "fetch_refused": 400,
    "fetch_failed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "voice_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "voice_exists": 409,
    "output_too_large": 413,
    "request_too_large": 413,
    "internal": 500,
    "store_corrupt": 500,
    "delivery_failed": 502,
    "model_unavailable": 503,
    "store_unavailable": 503,
    "out_of_memory": 503,
    "queue_full": 503,
    "starting": 503,
    "leaving": 503,
    "cancelled": 504,
}


class Refused(WorkerError):
    """A request that the HTTP server itself refuses, before any operation sees it."""

    def __init__(self, code: str, reason: str, *, hint: str | None = None) -> None:
        """code: a key of ``STATUS``."""
        super().__init__(reason, hint=hint)
        self.code = code  # type: ignore[misc]


def status_of(code: str) -> int:
    """Returns the HTTP status for an error's code."""
    return STATUS.get(code, 500)


def error_response(error: WorkerError, path: str, *, rename: Callable[[str], str] = str) -> JSONResponse:
    """Returns the reply for a request that failed: in OpenAI's shape below /v1, elsewhere in ours.

    rename: gives a field's name in the caller's terms, see ``Problem.render``.
    """
    status = status_of(error.code)
    body = openai_error(error, rename) if path.startswith(OPENAI_PREFIX) else error_reply(error)
    return JSONResponse(body, status, error_headers(status))


def openai_error(error: WorkerError, rename: Callable[[str], str] = str) -> dict[str, Any]:
    """Returns an error in OpenAI's shape, in which all four keys are required."""
    param = None if error.field is None else rename(error.field)
    if error.code == "voice_not_found" and error.field is None:  # the store does not know who named it
        param = "voice"
    return {
        "error": {
            "message": error.render(rename),
            "type": "server_error" if status_of(error.code) >= 500 else "invalid_request_error",
            "param": param,
            "code": error.code,
        }
    }


def error_headers(status: int) -> dict[str, str]:
    """Returns the headers that go with a status."""
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
