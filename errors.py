"""Errors of the worker, each with a stable code that callers can switch on.

A ``WorkerError`` is raised where the fault is found and carries facts (``field``, ``reason``, ``hint``), not
a finished sentence in one caller's terms: a transport or the command line renders it for its own callers.
Any other exception that escapes is a bug of the worker; callers see the code ``internal``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with what a caller sent.

    Rendered, it reads "<field> <reason>; <hint>".
    """

    reason: str  # the predicate of the sentence whose subject is the field, or a whole sentence without one
    field: str | None = None  # the JSON field at fault, as the API names it
    hint: str | None = None  # what to do about it, as a clause

    def render(self, rename: Callable[[str], str] = str) -> str:
        """The sentence. rename: gives a field's name in the caller's terms, e.g. an option's."""
        sentence = f"{rename(self.field)} {self.reason}" if self.field else self.reason
        return f"{sentence}; {self.hint}" if self.hint else sentence


class WorkerError(Exception):
    """A failure that is reported to the caller.

    Its texts name what to do and never hold a path of the machine, a host name or a traceback.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, reason: str, *, field: str | None = None, hint: str | None = None) -> None:
        self.problems: tuple[Problem, ...] = (Problem(reason, field, hint),)
        super().__init__(self.message)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Self:
        """The error for several problems at once; at least one."""
        error = cls("")
        error.problems = tuple(problems)
        error.args = (error.message,)
        return error

    @property
    def field(self) -> str | None:
        """The field of the first problem."""
        return self.problems[0].field

    @property
    def reason(self) -> str:
        """The reason of the first problem."""
        return self.problems[0].reason

    @property
    def hint(self) -> str | None:
        """The hint of the first problem."""
        return self.problems[0].hint

    @property
    def message(self) -> str:
        """All problems as one line in the API's terms."""
        return self.render()

    def render(self, rename: Callable[[str], str] = str) -> str:
        """All problems as one line. rename: see ``Problem.render``."""
        return "; ".join(problem.render(rename) for problem in self.problems)


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
