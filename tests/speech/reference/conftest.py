"""Fixtures: the networks that encode a reference, ours and upstream's with the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from speech.models.dimensions import TINY, ModelDimensions
from speech.models.spec import CHATTERBOX
from speech.reference import speech_tokenizer, voice_encoder, xvector
from speech.reference.encoder import ReferenceEncoder, load_reference_encoder
from speech.s3gen.weights import WeightsView
from speech.upstream import (
    UpstreamReferenceEncoder,
    build_voice_encoder,
    load_upstream_modules,
    without_storage,
)
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import read_config
from speech.weights.modules import assign_weights
from tests.speech.reference.networks import unsettle
from tests.speech.reference.recordings import REPOSITORY

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Networks:
    """The same weights twice."""

    folder: Path  # of the checkpoint
    dimensions: ModelDimensions
    s3gen: Any  # upstream's, for its tokenizer and speaker encoder
    upstream_voice_encoder: Any
    tokenizer: WeightsView
    camp_plus: WeightsView
    voice_encoder: WeightsView

    @classmethod
    def of(cls, folder: Path) -> Networks:
        dimensions = read_config(folder).dimensions
        _, s3gen = load_upstream_modules(CHATTERBOX, Checkpoint(folder, None), dimensions, CPU)
        with without_storage():
            upstream_voice_encoder = build_voice_encoder(dimensions)
        assign_weights(upstream_voice_encoder, folder / CHATTERBOX.files.voice_encoder, CPU)
        return cls(
            folder,
            dimensions,
            s3gen,
            upstream_voice_encoder,
            speech_tokenizer.prepare(s3gen.tokenizer.state_dict()),
            xvector.prepare(s3gen.speaker_encoder.state_dict()),
            voice_encoder.prepare(upstream_voice_encoder.state_dict()),
        )

    def ours(self) -> ReferenceEncoder:
        return load_reference_encoder(Checkpoint(self.folder, None), CHATTERBOX, self.dimensions, CPU)

    def upstreams(self) -> UpstreamReferenceEncoder:
        return UpstreamReferenceEncoder(self.s3gen, self.upstream_voice_encoder, CHATTERBOX.conditioning)


@pytest.fixture(scope="session")
def unsettled_checkpoint(smoke_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with other encoders, see ``unsettle``."""
    folder = tmp_path_factory.mktemp("unsettled")
    for file in smoke_checkpoint.iterdir():
        (folder / file.name).symlink_to(file)
    file = folder / CHATTERBOX.files.s3gen
    _, s3gen = load_upstream_modules(CHATTERBOX, Checkpoint(folder, None), TINY, CPU)
    unsettle(s3gen)
    weights = load_file(file) | {
        name: tensor
        for name, tensor in s3gen.state_dict().items()
        if name.startswith(("tokenizer.", "speaker_encoder."))
    }
    file.unlink()
    save_file(weights, file)
    return folder


@pytest.fixture(scope="session", params=["untrained", "trained"])
def networks(request: pytest.FixtureRequest, unsettled_checkpoint: Path) -> Networks:
    """Of the tiny checkpoint, and of the small model."""
    return Networks.of(
        unsettled_checkpoint if request.param == "untrained" else REPOSITORY / "samples" / "small"
    )
