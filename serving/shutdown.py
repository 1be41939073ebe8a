"""The end of the process."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

JOIN_S = 5.0
LATEST_EXIT_S = 10.0


def exit_process(exit_code: int) -> NoReturn:
    """Exits at once, whatever threads still hang; may be called from a signal handler.

    Every child process is killed first: the SDK's heartbeat would keep reporting the worker as alive. What is
    to be flushed may wait for a lock that a hung thread holds: a timer exits if that takes long.
    """
    timer = threading.Timer(LATEST_EXIT_S, os._exit, (exit_code,))
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread can be started any more
        timer.start()
    for child in multiprocessing.active_children():
        child.kill()
        child.join(JOIN_S)
    for pid in _children():
        with contextlib.suppress(OSError):  # it ended meanwhile, or is of another user
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    # RuntimeError: the signal came while the very stream was written to.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            stream.flush()
    os._exit(exit_code)


def _children() -> list[int]:
    """Returns the process numbers of all children; on a system without Linux's ``/proc`` none.

    multiprocessing lists a child only some lines after its fork, and a signal may come between the two.
    """
    children: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # that thread ended meanwhile
            children += [int(pid) for pid in path.read_text().split()]
    return children
