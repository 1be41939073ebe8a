"""Faults that a real GPU has, each in a process of its own, since some of them end it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.requires_cuda

REPOSITORY = Path(__file__).resolve().parent.parent.parent

PROGRAM = """
import dataclasses, sys
from pathlib import Path
import torch
from cancel import CancelToken
from errors import WorkerError
from speech.contract import Utterance
from speech.models.spec import CHATTERBOX
from speech.pipeline import make_synthesizer
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import load_model

checkpoint = Checkpoint(Path(sys.argv[1]), None, may_be_unpublished=True)
model = load_model(CHATTERBOX, checkpoint, torch.device("cuda"))
faults = []
free_bytes = torch.cuda.mem_get_info()[0]

def allocate_most(fail):
    held = torch.empty(int(0.6 * free_bytes), dtype=torch.uint8, device="cuda")
    if fail:
        raise torch.OutOfMemoryError("CUDA out of memory")

class FaultyRenderer:
    def render(self, requests):
        if faults:
            faults.pop()
            FAULT
        return model.s3gen.render(requests)

synthesizer = make_synthesizer(dataclasses.replace(model, s3gen=FaultyRenderer()), Watermarker())
synthesizer.check()
faults += [None] * TIMES
for _ in range(2):
    try:
        list(synthesizer.synthesize(
            [Utterance("Good morning.", synthesizer.builtin_voice(), seed=1)], CancelToken()
        ))
        print("spoken", flush=True)
    except WorkerError as error:
        print(type(error).__name__, flush=True)
"""
ASSERT = "torch.zeros(2, device='cuda')[torch.tensor([7], device='cuda')]; torch.cuda.synchronize()"
UNNOTICED_ASSERT = "torch.zeros(2, device='cuda')[torch.tensor([7], device='cuda')]"
TOO_MUCH = "torch.empty(2**44, dtype=torch.uint8, device='cuda')"
# Fails the first time. The second time it finds room only if what the first one held is given back.
MOST_OF_IT = "allocate_most(fail=bool(faults))"


def run(fault: str, checkpoint: Path, times: int = 1) -> list[str]:
    program = PROGRAM.replace("FAULT", fault).replace("TIMES", str(times))
    finished = subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.stdout, finished.stderr
    return finished.stdout.split()


def test_a_device_assert_is_told_from_a_fault_that_passes(smoke_checkpoint):
    assert run(ASSERT, smoke_checkpoint) == ["DeviceLost", "DeviceLost"]


def test_a_device_assert_that_shows_when_the_audio_is_waited_for_is_told_too(smoke_checkpoint):
    assert run(UNNOTICED_ASSERT, smoke_checkpoint) == ["DeviceLost", "DeviceLost"]


def test_memory_that_runs_out_once_is_made_good_by_the_second_try(smoke_checkpoint):
    assert run(TOO_MUCH, smoke_checkpoint) == ["spoken", "spoken"]


def test_memory_that_runs_out_twice_is_out_of_memory_and_the_next_job_runs(smoke_checkpoint):
    assert run(TOO_MUCH, smoke_checkpoint, times=2) == ["OutOfMemory", "spoken"]


def test_the_memory_of_the_failed_try_is_free_for_the_second(smoke_checkpoint):
    assert run(MOST_OF_IT, smoke_checkpoint, times=2) == ["spoken", "spoken"]
