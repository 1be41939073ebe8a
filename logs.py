"""Log lines: one for each event, each with the id of the job it belongs to."""

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
    """Within it, in this thread, every log line carries ``job_id``."""
    token = _job_id.set(job_id)
    try:
        yield
    finally:
        _job_id.reset(token)


def configure(level: str) -> None:
    """Our lines from ``level`` on, libraries' from WARNING on, all to stderr.

    Replaces what is there: importing the RunPod SDK installs a handler of its own.
    """
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(_OneLineFormatter("%(asctime)s %(levelname)s %(name)s job=%(job)s %(message)s"))
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), handlers=[to_stderr], force=True
    )
    logging.captureWarnings(True)
    # Deprecations and the like: addressed to those who write the libraries, not to those who run them.
    logging.getLogger("py.warnings").setLevel("WARNING" if level == "DEBUG" else "ERROR")
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)


class _OneLineFormatter(logging.Formatter):
    """What callers send cannot start a line of its own; tracebacks follow their line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the library's name
        record.job = _job_id.get()
        line = super().formatMessage(record)
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
