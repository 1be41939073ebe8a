"""Which threads compute on a CPU. In interpreters of their own: OpenMP counts the threads of a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from speech.threads import load_with_all_threads

REPOSITORY = Path(__file__).parents[2]
PRELUDE = """
import os, sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(2)

def openmp_threads():
    return len(os.listdir("/proc/self/task")) - threading.active_count() - others

def wait_for(threads):
    # The system ends a thread later than join returns.
    while openmp_threads() != threads:
        time.sleep(0.01)
    return threads

others = 0
others = openmp_threads()
"""

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")


def run_fresh(program: str, *arguments: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.split()


@needs_proc
def test_openmps_threads_end_with_the_work():
    said = run_fresh(
        "from speech.threads import load_with_all_threads\n"
        "def work():\n"
        "    (torch.ones(2000, 2000) @ torch.ones(2000, 2000)).exp()\n"
        "    return openmp_threads()\n"
        "print(load_with_all_threads(work), wait_for(0))\n"
    )
    assert said == ["1", "0"]


@needs_proc
def test_only_the_owner_of_the_device_computes_with_several_threads(smoke_checkpoint):
    """From loading to a voice and speech in jobs' threads, as many OpenMP threads as CPUs are there."""
    said = run_fresh(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from audio.waveform import Waveform\n"
        "from cancel import CancelToken\n"
        "from speech.contract import Utterance\n"
        "from speech.pipeline import load_synthesizer\n"
        "from speech.voice_activity import contains_speech\n"
        "from speech.weights.load import Model\n"
        "from tests.recordings import speech_like\n"
        "Model.is_tiny = False\n"
        "synthesizer = load_synthesizer('chatterbox', checkpoint_dir=Path(sys.argv[1]), device='cpu')\n"
        "recording = Waveform(speech_like(6.0), 24_000)\n"
        "def job(number):\n"
        "    assert contains_speech(recording, 5.0)\n"
        "    voice = synthesizer.encode_reference(recording, CancelToken())\n"
        "    chunks = synthesizer.synthesize([Utterance('One. Two.', voice, seed=number)], CancelToken())\n"
        "    assert list(synthesizer.watermark(chunks))\n"
        "    return torch.get_num_threads()\n"
        "with ThreadPoolExecutor(2) as pool:\n"
        "    threads = [synthesizer._runtime.run(torch.get_num_threads), *pool.map(job, range(2))]\n"
        "    print(*threads, wait_for(1))\n",
        str(smoke_checkpoint),
    )
    assert said[-4:] == ["2", "1", "1", "1"]


def test_a_second_load_has_as_many_threads_as_the_first():
    said = run_fresh(
        "from speech.threads import load_with_all_threads\n"
        "def fail():\n"
        "    raise KeyError\n"
        "first = load_with_all_threads(torch.get_num_threads)\n"
        "try:\n"
        "    load_with_all_threads(fail)\n"
        "except KeyError:\n"
        "    print(first, load_with_all_threads(torch.get_num_threads))\n"
    )
    assert said == ["2", "2"]


def test_what_the_work_raises_is_raised():
    def fail() -> None:
        raise KeyError("key")

    with pytest.raises(KeyError, match="key"):
        load_with_all_threads(fail)
