from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from speech.checkpoint import Model, load_model
from speech.decoders import make_decoder
from speech.engine import SpeechEngine
from speech.locate import Checkpoint
from speech.t3.request import Decoder
from speech.variants import CHATTERBOX
from speech.watermark import Watermarker

# The tiny modules gain nothing from threads, and lose much to them on a busy machine.
torch.set_num_threads(1)

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def checkpoint(smoke_checkpoint: Path) -> Checkpoint:
    return Checkpoint(smoke_checkpoint, None, chosen_by_name=True)


@pytest.fixture(scope="session")
def tiny_model(checkpoint: Checkpoint) -> Model:
    """With upstream's T3."""
    return load_model(CHATTERBOX, checkpoint, CPU, upstream=True)


@pytest.fixture(scope="session")
def our_model(checkpoint: Checkpoint) -> Model:
    """With our T3, in float32."""
    return load_model(CHATTERBOX, checkpoint, CPU)


@pytest.fixture(scope="session")
def engine(our_model: Model) -> SpeechEngine:
    return SpeechEngine(our_model, Watermarker(), make_decoder(our_model))


@pytest.fixture(scope="session")
def upstream_decoder(tiny_model: Model) -> Decoder:
    return make_decoder(tiny_model)


@pytest.fixture(scope="session")
def perth() -> Any:
    """Resemble's own watermarker."""
    import perth

    return perth.PerthImplicitWatermarker()
