"""Log lines: one for each event, each with the id of the job that it belongs to."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

OUR_LOGGERS = ("__main__", "handler", "serving", "delivery", "operations", "voice_store", "audio", "speech")
NONE = "-"


@dataclass(eq=False)
class LoggedJob:
    """A job as its log lines name it."""

    id: str
    model: str = NONE  # the name of the model that the job used last; NONE before it used one

    @property
    def model_prefix(self) -> str:
        """What a line about the job's failure begins with: "model=turbo ", or nothing without a model."""
        return "" if self.model == NONE else f"model={self.model} "


_job: ContextVar[LoggedJob | None] = ContextVar("job", default=None)


@contextlib.contextmanager
def job_lines(job: LoggedJob) -> Iterator[None]:
    """Puts the job's id into every log line of this thread within the block."""
    token = _job.set(job)
    try:
        yield
    finally:
        _job.reset(token)


def note_model(name: str) -> None:
    """Notes that the job of this thread uses the model of that name. Without a job it does nothing."""
    job = _job.get()
    if job is not None:
        job.model = name


def configure(level: str) -> None:
    """Sends our lines from ``level`` on, and libraries' from WARNING on, to stderr.

    Replaces the handlers that are there: importing the RunPod SDK installs one of its own.
    """
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s job=%(job)s %(message)s"))
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), handlers=[to_stderr], force=True
    )
    logging.captureWarnings(True)
    # Deprecations and the like: addressed to those who write the libraries, not to those who run them.
    logging.getLogger("py.warnings").setLevel("WARNING" if level == "DEBUG" else "ERROR")
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)


class _Formatter(logging.Formatter):
    """Writes one line an event; tracebacks follow theirs, indented.

    What callers and servers send can neither start a line of its own nor hold control characters.
    """

    def format(self, record: logging.LogRecord) -> str:
        job = _job.get()
        record.job = NONE if job is None else job.id
        first, *traceback = super().format(record).split("\n")
        return "\n".join([first, *(f"    {_escaped(line)}" for line in traceback)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the library's name
        return _escaped(super().formatMessage(record))


def _escaped(line: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
