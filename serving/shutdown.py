"""The end of the process."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import threading
from typing import NoReturn

JOIN_S = 5.0
LATEST_EXIT_S = 10.0


def exit_process(exit_code: int) -> NoReturn:
    """Exits at once, whatever threads still hang; may be called from a signal handler.

    The SDK's heartbeat process is killed first: it would keep reporting the worker as alive. What is to be
    flushed may wait for a lock that a hung thread holds: a timer exits if that takes long.
    """
    timer = threading.Timer(LATEST_EXIT_S, os._exit, (exit_code,))
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread can be started any more
        timer.start()
    for child in multiprocessing.active_children():
        child.kill()
        child.join(JOIN_S)
    # RuntimeError: the signal came while the very stream was written to.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            stream.flush()
    os._exit(exit_code)
