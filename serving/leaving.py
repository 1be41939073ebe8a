"""The end of the process."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
from typing import NoReturn

JOIN_S = 5.0


def leave(exit_code: int) -> NoReturn:
    """At once, whatever threads still hang, and with the SDK's heartbeat, which would call a dead worker
    alive."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join(JOIN_S)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code)
