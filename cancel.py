"""Cancellation of a job: one token, passed down to everything that works for the job."""

from __future__ import annotations

import threading
from collections.abc import Callable

from errors import Cancelled


class CancelToken:
    """Tells the work of one job to end. Thread-safe; the first reason counts, and it is final.

    Long work calls ``raise_if_cancelled`` between its steps. Work that waits inside another library (a
    socket, a process) registers a callback with ``on_cancel`` that ends the wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: Cancelled | None = None
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._reason is not None

    @property
    def reason(self) -> Cancelled | None:
        """The error that ``raise_if_cancelled`` raises; None while the token is not cancelled."""
        return self._reason

    def cancel(self, reason: Cancelled) -> None:
        """Cancels the token and calls the registered callbacks, in the caller's thread.

        A second call has no effect.
        """
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def raise_if_cancelled(self) -> None:
        """Raises the reason (``errors.Cancelled``) once the token is cancelled."""
        if self._reason is not None:
            raise self._reason

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Registers a callback for ``cancel``; calls it at once if that has happened already.

        Returns a function that unregisters the callback. The callback runs in the thread that cancels and
        must neither block nor raise.
        """
        with self._lock:
            if self._reason is None:
                self._callbacks.append(callback)
                return lambda: self._unregister(callback)
        callback()
        return lambda: None

    def _unregister(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
