"""Exceptions of the client. All derive from ``VoiceWorkerError``.

VoiceWorkerError
  x ConfigurationError          neither an endpoint nor a URL, or no key
  x TooLarge                    a request beyond the platform's limit; it is not sent
  x ConnectionFailed            no connection, or one that was lost
  x CallTimedOut                ``timeout_s`` has passed; the job has been cancelled
  x AudioElsewhere              the audio is on the endpoint's network volume
  x DownloadFailed              the link to the audio in a bucket does not work
  x PlatformError               the platform or the server refused the request
    + Unauthorized
    + NotFound
    + RateLimited
    + Unavailable
    + JobTimedOut
    + UnexpectedReply
  x JobFailed                   the worker refused the job; one class for each code of the API
    + InvalidRequest, VoiceNotFound, TextTooLong, Cancelled ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar


class VoiceWorkerError(Exception):
    """Base class of all errors of this package."""

    default_code: ClassVar[str] = "failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        job_id: str | None = None,
    ) -> None:
        """code: a stable name of the error. status: the HTTP status of the reply that reported it."""
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.status = status
        self.job_id = job_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ConfigurationError(VoiceWorkerError):
    """The client was set up wrongly."""

    default_code = "configuration"


class TooLarge(VoiceWorkerError):
    """The request is larger than the platform carries; nothing was sent, or the server refused it."""

    default_code = "request_too_large"


class ConnectionFailed(VoiceWorkerError):
    """There was no connection, or it was lost.

    ``was_sent`` says whether the request may have arrived: a job of a queue may then be running.
    """

    default_code = "connection_failed"

    def __init__(self, message: str, *, was_sent: bool, job_id: str | None = None) -> None:
        super().__init__(message, job_id=job_id)
        self.was_sent = was_sent


class CallTimedOut(VoiceWorkerError, TimeoutError):
    """The call took longer than ``timeout_s``. The client has asked the platform to cancel the job."""

    default_code = "call_timed_out"


class AudioElsewhere(VoiceWorkerError):
    """The audio is a file on the endpoint's network volume, which the client cannot reach.

    ``path`` is the file's path on the worker. ``receipt`` is the worker's reply.
    """

    default_code = "audio_elsewhere"

    def __init__(self, message: str, *, path: str, receipt: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.path = path
        self.receipt = dict(receipt)


class DownloadFailed(VoiceWorkerError):
    """A link to the audio does not work. ``receipt`` is the worker's reply, which has the link."""

    default_code = "download_failed"

    def __init__(self, message: str, *, status: int | None, receipt: Mapping[str, Any]) -> None:
        super().__init__(message, status=status)
        self.receipt = dict(receipt)


class PlatformError(VoiceWorkerError):
    """RunPod or the HTTP server refused the request, before or beside any work on it."""

    default_code = "platform_error"


class Unauthorized(PlatformError):
    """The key is missing or wrong, or may not be used for this."""

    default_code = "unauthorized"


class NotFound(PlatformError):
    """There is no such endpoint, route or job."""

    default_code = "not_found"


class RateLimited(PlatformError):
    """Too many requests, also after several tries."""

    default_code = "rate_limited"


class Unavailable(PlatformError):
    """No worker took the request, also after several tries."""

    default_code = "unavailable"


class JobTimedOut(PlatformError):
    """The platform ended the job: it waited or ran longer than the endpoint allows."""

    default_code = "timed_out"


class UnexpectedReply(PlatformError):
    """A reply that this client does not understand."""

    default_code = "unexpected_reply"


class JobFailed(VoiceWorkerError):
    """The worker answered with an error. Its code says which one."""


class InvalidRequest(JobFailed):
    default_code = "invalid_request"


class UnknownOperation(JobFailed):
    default_code = "unknown_operation"


class VoiceNotFound(JobFailed):
    default_code = "voice_not_found"


class VoiceExists(JobFailed):
    default_code = "voice_exists"


class ReferenceInvalid(JobFailed):
    default_code = "reference_invalid"


class ReferenceTooShort(JobFailed):
    default_code = "reference_too_short"


class TextTooLong(JobFailed):
    default_code = "text_too_long"


class UnsupportedLanguage(JobFailed):
    default_code = "unsupported_language"


class StoreCorrupt(JobFailed):
    default_code = "store_corrupt"


class StoreUnavailable(JobFailed):
    default_code = "store_unavailable"


class ModelUnavailable(JobFailed):
    default_code = "model_unavailable"


class FetchRefused(JobFailed):
    default_code = "fetch_refused"


class FetchFailed(JobFailed):
    default_code = "fetch_failed"


class DeliveryFailed(JobFailed):
    default_code = "delivery_failed"


class Cancelled(JobFailed):
    """The job was cancelled, took longer than the worker allows, or the worker had to leave."""

    default_code = "cancelled"


class OutputTooLarge(JobFailed):
    default_code = "output_too_large"


class OutOfMemory(JobFailed):
    default_code = "out_of_memory"


class Internal(JobFailed):
    default_code = "internal"


BY_CODE: Mapping[str, type[VoiceWorkerError]] = {
    **{kind.default_code: kind for kind in JobFailed.__subclasses__()},
    # Codes of the HTTP server.
    "unauthorized": Unauthorized,
    "forbidden": Unauthorized,
    "not_found": NotFound,
    "method_not_allowed": NotFound,
    "request_too_large": TooLarge,
    "request_timeout": Unavailable,
    "queue_full": Unavailable,
    "starting": Unavailable,
    "leaving": Unavailable,
}
_CODE = re.compile(r"([a-z][a-z_]*): (.*)", re.DOTALL)


def job_error(sentence: object, *, status: int | None = None, job_id: str | None = None) -> VoiceWorkerError:
    """Returns the exception for an ``error`` of the worker, "<code>: <what to do>".

    A sentence without a code, as the platform writes them, gives a ``JobFailed`` with the code "failed".
    """
    text = sentence if isinstance(sentence, str) and sentence else "the job failed without saying why"
    match = _CODE.fullmatch(text)
    if match is None:
        return JobFailed(text, status=status, job_id=job_id)
    code, message = match.groups()
    kind = BY_CODE.get(code, JobFailed)
    return kind(message, code=code, status=status, job_id=job_id)
