from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speech.checkpoint import Model, load_model
from speech.engine import SpeechEngine
from speech.locate import Checkpoint
from speech.variants import CHATTERBOX
from speech.watermark import Watermarker

# The tiny modules gain nothing from threads, and lose much to them on a busy machine.
torch.set_num_threads(1)

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def tiny_model(smoke_checkpoint: Path) -> Model:
    return load_model(CHATTERBOX, Checkpoint(smoke_checkpoint, None, chosen_by_name=True), CPU)


@pytest.fixture(scope="session")
def engine(tiny_model: Model) -> SpeechEngine:
    return SpeechEngine(tiny_model, Watermarker())
