"""The end of the process, whatever hangs in it."""

import subprocess
import sys
import textwrap

import pytest

from tests.job_server import REPOSITORY

HUNG_THREAD = """
    import logging, sys, threading
    from serving import shutdown

    shutdown.LATEST_EXIT_S = 0.2
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    holds, never = threading.Event(), threading.Event()

    def hang():
        with handler.lock:
            holds.set()
            never.wait()

    threading.Thread(target=hang, daemon=True).start()
    holds.wait()
    shutdown.exit_process(3)
"""

SIGNAL_DURING_A_WRITE = """
    import signal, sys
    from serving import shutdown

    class Reentrant:
        def flush(self):
            raise RuntimeError("reentrant call inside")

    sys.stdout = Reentrant()
    signal.signal(signal.SIGTERM, lambda *_: shutdown.exit_process(3))
    signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("program", [HUNG_THREAD, SIGNAL_DURING_A_WRITE], ids=["hung thread", "signal"])
def test_nothing_keeps_the_process_from_exiting(program):
    command = [sys.executable, "-c", textwrap.dedent(program)]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=60, check=False)
    assert finished.returncode == 3, finished.stderr
