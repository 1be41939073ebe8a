"""Whether jobs run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs = 0

    @contextmanager
    def of_a_job(self) -> Iterator[None]:
        with self._changed:
            self._jobs += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._jobs -= 1
                self._changed.notify_all()

    def wait_for_quiet(self, quiet_s: float) -> None:
        """Returns once no job has run for so long."""
        with self._changed:
            while self._jobs or self._changed.wait_for(lambda: self._jobs > 0, timeout=quiet_s):
                self._changed.wait_for(lambda: self._jobs == 0)
