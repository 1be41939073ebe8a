"""X-vectors equal upstream's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from speech.models.dimensions import FULL, TINY
from speech.reference.shapes import xvector_shapes
from speech.reference.spectra import xvector_features
from speech.reference.xvector import embed
from speech.upstream import build_speaker_encoder, without_storage
from tests.speech.reference.recordings import NAMES, SILENCE, at_16k

CASES = [
    *((NAMES[0], duration_s) for duration_s in (0.5, 0.501, 1.0, 2.025, 6.0, 10.003)),
    (SILENCE, 0.5),
    (SILENCE, 6.0),
]


@pytest.mark.parametrize(("name", "duration_s"), CASES)
def test_x_vectors_of_any_length_are_upstreams(networks, name, duration_s):
    samples = torch.from_numpy(at_16k(name, duration_s))
    with torch.inference_mode():
        found = embed(networks.camp_plus, xvector_features(samples))
        expected = networks.s3gen.speaker_encoder.inference(samples[None])
    assert found.shape == (1, 192)
    assert_same_direction(found, expected)


def assert_same_direction(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 1e-5 once they have the length 1, as S3Gen takes them. Silence has lengths of 60."""
    difference = F.normalize(found, dim=1) - F.normalize(expected, dim=1)
    assert difference.abs().max() < 1e-5


def test_x_vectors_of_voices_are_upstreams_and_differ(networks):
    found = []
    for name in NAMES:
        samples = torch.from_numpy(at_16k(name, 4.0))
        with torch.inference_mode():
            found.append(embed(networks.camp_plus, xvector_features(samples)))
            expected = networks.s3gen.speaker_encoder.inference(samples[None])
        assert_same_direction(found[-1], expected)
    distances = torch.cdist(torch.cat(found), torch.cat(found)) + 1e3 * torch.eye(len(found))
    assert distances.min() > 0.05  # else a test of their equality says little


@pytest.mark.parametrize("dimensions", [TINY, FULL], ids=["tiny", "full"])
def test_shapes_are_upstreams(dimensions):
    with without_storage():
        state = build_speaker_encoder(dimensions).state_dict()
    assert xvector_shapes(dimensions) == {name: tuple(tensor.shape) for name, tensor in state.items()}
