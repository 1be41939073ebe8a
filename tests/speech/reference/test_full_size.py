"""At the published size: conditionals of recordings equal upstream's.

Takes some 3 GB of memory; `make test-slow`.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from speech.models.dimensions import FULL
from speech.models.spec import CHATTERBOX
from speech.reference.conditionals import Conditionals
from speech.reference.encoder import ReferenceEncoder, load_reference_encoder
from speech.upstream import UpstreamReferenceEncoder, build_s3gen, build_voice_encoder
from speech.weights.checkpoint import Checkpoint
from tests.speech.reference.networks import unsettle
from tests.speech.reference.recordings import NAMES, recording
from tests.speech.reference.test_encoder import assert_same_conditionals

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("all_threads")]

DURATIONS_S = (2.0, 2.501, 3.333, 5.0, 6.0, 8.0, 10.0, 10.003, 30.0, 60.0)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> tuple[ReferenceEncoder, UpstreamReferenceEncoder]:
    """Ours and upstream's, with the same random weights."""
    folder, files = tmp_path_factory.mktemp("full"), CHATTERBOX.files
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        s3gen, voice_encoder = build_s3gen(FULL), build_voice_encoder(FULL)
    unsettle(s3gen)
    save_file(
        {
            name: tensor
            for name, tensor in s3gen.state_dict().items()
            if name.startswith(("tokenizer.", "speaker_encoder."))
        },
        folder / files.s3gen,
    )
    save_file(voice_encoder.state_dict(), folder / files.voice_encoder)
    ours = load_reference_encoder(Checkpoint(folder, None), CHATTERBOX, FULL, torch.device("cpu"))
    upstreams = UpstreamReferenceEncoder(s3gen.eval(), voice_encoder.eval(), CHATTERBOX.conditioning)
    return ours, upstreams


@pytest.fixture(scope="module")
def both(encoders) -> list[tuple[Conditionals, Conditionals]]:
    """What both make of ten recordings: every name with two durations."""
    recordings = [
        recording(NAMES[index % len(NAMES)], duration_s) for index, duration_s in enumerate(DURATIONS_S)
    ]
    return [tuple(encoder.compute(waveform) for encoder in encoders) for waveform in recordings]


@pytest.mark.parametrize("index", range(len(DURATIONS_S)))
def test_conditionals_equal_upstreams(both, index):
    ours, theirs = both[index]
    assert_same_conditionals(ours, theirs, tolerance=1e-5)
    assert len(ours.prompt_tokens.unique()) > 20  # else a test of their equality says little


@pytest.mark.parametrize("field", ["speaker_embedding", "xvector"])
def test_each_voice_has_its_own(both, field):
    """Else a test of their equality says little."""
    voices = torch.cat([F.normalize(getattr(ours, field), dim=1) for ours, _ in both[: len(NAMES)]])
    assert torch.pdist(voices).min() > 1e-3
