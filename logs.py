"""Log lines: one for each event, each with the id of the job that it belongs to."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar

OUR_LOGGERS = ("__main__", "handler", "serving", "delivery", "operations", "voice_store", "audio", "speech")
NO_JOB = "-"

_job_id: ContextVar[str] = ContextVar("job_id", default=NO_JOB)


@contextlib.contextmanager
def job_lines(job_id: str) -> Iterator[None]:
    """Puts ``job_id`` into every log line of this thread within the block."""
    token = _job_id.set(job_id)
    try:
        yield
    finally:
        _job_id.reset(token)


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
        record.job = _job_id.get()
        first, *traceback = super().format(record).split("\n")
        return "\n".join([first, *(f"    {_escaped(line)}" for line in traceback)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the library's name
        return _escaped(super().formatMessage(record))


def _escaped(line: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
