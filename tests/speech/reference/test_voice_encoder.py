"""Speaker embeddings equal upstream's."""

from __future__ import annotations

import pytest
import torch

from speech.models.dimensions import FULL, TINY
from speech.reference.shapes import voice_encoder_shapes
from speech.reference.spectra import voice_encoder_mel
from speech.reference.voice_encoder import embed
from speech.upstream import build_voice_encoder, without_storage
from tests.speech.reference.recordings import NAMES, SILENCE, at_16k

# Frames around the lengths at which a recording gets another window.
FRAMES = (1, 51, 159, 160, 161, 204, 205, 206, 237, 281, 282, 283, 600, 6_001)
CASES = [*((NAMES[0], frames) for frames in FRAMES), (SILENCE, 51), (SILENCE, 600)]


@pytest.mark.parametrize(("name", "frames"), CASES)
def test_embeddings_of_any_length_are_upstreams(networks, name, frames):
    mel = voice_encoder_mel(at_16k(name, frames / 100))[:frames]
    assert len(mel) == frames
    with torch.inference_mode():
        found = embed(networks.voice_encoder, torch.from_numpy(mel))
    expected = networks.upstream_voice_encoder.embeds_from_mels([mel], rate=1.3)
    assert found.shape == (1, 256)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_embeddings_of_voices_are_upstreams_and_differ(networks):
    found = []
    for name in NAMES:
        samples = at_16k(name, 4.0)
        with torch.inference_mode():
            found.append(embed(networks.voice_encoder, torch.from_numpy(voice_encoder_mel(samples))))
        expected = networks.upstream_voice_encoder.embeds_from_wavs([samples], 16_000, trim_top_db=None)
        torch.testing.assert_close(found[-1], torch.from_numpy(expected), rtol=1e-4, atol=1e-6)
    distances = torch.cdist(torch.cat(found), torch.cat(found)) + 1e3 * torch.eye(len(found))
    assert distances.min() > 1e-3  # else a test of their equality says little


@pytest.mark.parametrize("dimensions", [TINY, FULL], ids=["tiny", "full"])
def test_shapes_are_upstreams(dimensions):
    with without_storage():
        state = build_voice_encoder(dimensions).state_dict()
    assert voice_encoder_shapes(dimensions) == {name: tuple(tensor.shape) for name, tensor in state.items()}
