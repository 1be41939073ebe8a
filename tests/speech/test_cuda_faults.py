"""Faults that a real GPU has, each in a process of its own, since some of them end it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.job_server import REPOSITORY

pytestmark = pytest.mark.requires_cuda

PROGRAM = """
import dataclasses, sys
from pathlib import Path
import torch
from errors import WorkerError
from speech.contract import SpeechParams
from speech.engine import SpeechEngine, load_engine
from speech.decoders import make_decoder
from speech.watermark import Watermarker

engine = load_engine("chatterbox", checkpoint_dir=Path(sys.argv[1]), device="cuda")
engine.check()
inner, armed = engine.model.token_to_wave, [True]

def faulty(tokens, prompt):
    if armed:
        armed.clear()
        FAULT
    return inner(tokens, prompt)

faulty_engine = SpeechEngine(
    dataclasses.replace(engine.model, token_to_wave=faulty), Watermarker(), make_decoder(engine.model)
)
for _ in range(2):
    try:
        faulty_engine.speak("Good morning.", None, SpeechParams(seed=1))
        print("spoken")
    except WorkerError as error:
        print(type(error).__name__)
"""
ASSERT = "torch.zeros(2, device='cuda')[torch.tensor([7], device='cuda')]; torch.cuda.synchronize()"
TOO_MUCH = "torch.empty(2**44, dtype=torch.uint8, device='cuda')"


def run(fault: str, checkpoint: Path) -> list[str]:
    program = PROGRAM.replace("FAULT", fault)
    finished = subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return finished.stdout.split()


def test_a_device_assert_is_told_from_a_fault_that_passes(smoke_checkpoint):
    assert run(ASSERT, smoke_checkpoint) == ["DeviceLost", "DeviceLost"]


def test_memory_that_is_not_there_is_out_of_memory_and_the_next_job_runs(smoke_checkpoint):
    """Once is made good by the second try; so the fault is not even heard of."""
    assert run(TOO_MUCH, smoke_checkpoint) == ["spoken", "spoken"]
