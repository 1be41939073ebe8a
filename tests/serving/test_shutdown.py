"""The end of the process, whatever hangs in it."""

import os
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


SIGNAL_BETWEEN_A_FORK_AND_ITS_ENTRY = """
    import multiprocessing, multiprocessing.popen_fork, signal, sys, time
    from serving import shutdown

    signal.signal(signal.SIGTERM, lambda *_: shutdown.exit_process(3))

    class SignalAfterTheFork(multiprocessing.popen_fork.Popen):
        def __init__(self, process):
            super().__init__(process)
            print(self.pid, flush=True)
            signal.raise_signal(signal.SIGTERM)

    class Process(multiprocessing.Process):
        _Popen = staticmethod(SignalAfterTheFork)

    Process(target=time.sleep, args=(600,), daemon=True).start()
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="children that multiprocessing does not list are found by /proc"
)
def test_a_child_that_was_forked_this_moment_does_not_outlive_the_process():
    command = [sys.executable, "-c", textwrap.dedent(SIGNAL_BETWEEN_A_FORK_AND_ITS_ENTRY)]
    # A child that lives on would hold the pipes open, and the run would not end before its time is up.
    finished = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 3, finished.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(finished.stdout), 0)
