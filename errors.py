"""Every way a job can fail that a caller is told about.

A ``WorkerError`` carries a stable ``code`` and a sentence that says what to do.
Anything else that escapes is a bug of ours: the caller sees ``internal`` and the log
gets the traceback.
"""

from __future__ import annotations

from typing import ClassVar


class WorkerError(Exception):
    """A failure with a code that callers can switch on.

    ``message`` is shown to the caller: it names the field at fault, says what to do,
    and never holds a path, a host name or a traceback.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def reply(self) -> dict[str, str]:
        """The job's answer: ``{"error": "<code>: <sentence>", "error_code": "<code>"}``."""
        return {"error": f"{self.code}: {self.message}", "error_code": self.code}


class InvalidRequest(WorkerError):
    code = "invalid_request"


class UnknownOperation(WorkerError):
    code = "unknown_operation"


class VoiceNotFound(WorkerError):
    code = "voice_not_found"


class VoiceExists(WorkerError):
    code = "voice_exists"


class ReferenceInvalid(WorkerError):
    code = "reference_invalid"


class ReferenceTooShort(WorkerError):
    code = "reference_too_short"


class TextTooLong(WorkerError):
    code = "text_too_long"


class UnsupportedLanguage(WorkerError):
    code = "unsupported_language"


class StoreCorrupt(WorkerError):
    code = "store_corrupt"


class StoreUnavailable(WorkerError):
    code = "store_unavailable"


class ModelUnavailable(WorkerError):
    code = "model_unavailable"


class OutputTooLarge(WorkerError):
    code = "output_too_large"


class OutOfMemory(WorkerError):
    code = "out_of_memory"


class FetchRefused(WorkerError):
    code = "fetch_refused"


class FetchFailed(WorkerError):
    code = "fetch_failed"


class DeliveryFailed(WorkerError):
    code = "delivery_failed"


class Cancelled(WorkerError):
    """Somebody else than the job's own work ended it: its caller, its time, the platform."""

    code = "cancelled"


class Internal(WorkerError):
    """What a caller sees of a bug: nothing but that it happened, and which job it was."""

    code = "internal"


class DeviceSuspect(Internal):
    """The GPU failed in one call; whether the next one works has to be tried."""


class DeviceLost(Internal):
    """The GPU computes nothing more in this process: only another one can help."""
