"""Whether this process may go on serving."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Condition:
    """Sound until it is condemned, which is for good: a process whose GPU is lost, or in which a
    thread hangs, must not take another job. Callable from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._listeners: list[Callable[[], object]] = []

    @property
    def is_condemned(self) -> bool:
        return self._reason is not None

    def condemn(self, reason: str) -> None:
        """The first reason counts. Tells the listeners."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            listeners = list(self._listeners)
        log.error("this worker serves no more: %s", reason)
        for listener in listeners:
            listener()

    def when_condemned(self, listener: Callable[[], object]) -> None:
        """Calls it once, now if it is so already. It must not wait for anything."""
        with self._lock:
            if self._reason is None:
                self._listeners.append(listener)
                return
        listener()
