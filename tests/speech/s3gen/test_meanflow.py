"""S3Gen with meanflow gives the mels and samples of upstream's ``S3Gen(meanflow=True)``, draw for draw."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from errors import ModelUnavailable
from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX, MEANFLOW
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import Draws, S3Gen
from speech.s3gen.weights import WeightsView, prepare
from speech.smoke import untrained_s3gen, write_smoke_checkpoint
from speech.upstream import UpstreamS3Gen, load_upstream_model, quiet_upstream
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from speech.weights.pack import pack_model
from tests.speech.s3gen.packing import EIGHT, distance, make_requests
from tests.speech.speaking import join, speak

CPU = torch.device("cpu")
FILE = "s3gen_meanflow.safetensors"
# The English model around the other S3Gen.
SPEC = dataclasses.replace(CHATTERBOX, flow=MEANFLOW, files=dataclasses.replace(CHATTERBOX.files, s3gen=FILE))


@pytest.fixture(scope="module")
def module() -> Any:
    """Upstream's, with a mixer that heeds the end of a step."""
    quiet_upstream()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return untrained_s3gen(TINY, MEANFLOW).eval()


@pytest.fixture(scope="module")
def upstream(module) -> UpstreamS3Gen:
    return UpstreamS3Gen(module)


@pytest.fixture(scope="module")
def weights(module) -> WeightsView:
    return prepare(module.state_dict())


@pytest.fixture(scope="module")
def expected(upstream) -> list[torch.Tensor]:
    return upstream.render(make_requests(EIGHT, CPU))


def test_mels_are_upstreams(weights, upstream):
    ours = S3Gen(weights, MEANFLOW)
    for one, other in zip(make_requests(EIGHT, CPU), make_requests(EIGHT, CPU), strict=True):
        torch.testing.assert_close(ours.mel(one), upstream.mel(other), rtol=0, atol=5e-6)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_samples_are_upstreams(weights, expected, count):
    for samples, theirs in zip(
        S3Gen(weights, MEANFLOW).render(make_requests(EIGHT[:count], CPU)), expected, strict=False
    ):
        torch.testing.assert_close(samples, theirs, rtol=0, atol=5e-6)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("in_batches", [False, True], ids=["alone", "in batches"])
def test_chunks_of_any_length_and_voice_are_upstreams(weights, expected, count, in_batches):
    ours = PackedS3Gen(weights, MEANFLOW, torch.float32, graphs=False, in_batches=in_batches)
    for samples, theirs in zip(ours.render(make_requests(EIGHT[:count], CPU)), expected, strict=False):
        torch.testing.assert_close(samples, theirs, rtol=0, atol=5e-6)


def test_the_end_of_a_step_matters(weights, module, expected):
    """With the mixer as upstream initialises it, the estimator knows a step's begin alone."""
    state = module.state_dict()
    name = "flow.decoder.estimator.time_embed_mixer.weight"
    width = len(state[name])
    state[name] = torch.cat([torch.eye(width), torch.zeros(width, width)], dim=1)
    (found,) = S3Gen(prepare(state), MEANFLOW).render(make_requests(EIGHT[:1], CPU))
    assert (found - expected[0]).abs().max() > 1e-3


def test_the_chunks_noise_is_drawn_before_the_prompts():
    """Upstream's order: the chunk's own noise is what the generator gives first, whatever the prompt."""
    short, long = make_requests([(3, 0, 20), (30, 1, 20)], CPU)
    long.generator.set_state(short.generator.get_state())
    first, second = (Draws.of(each, MEANFLOW).noise for each in (short, long))
    assert first.shape == (1, 80, 46)
    assert second.shape == (1, 80, 100)
    assert torch.equal(first[:, :, 6:], second[:, :, 60:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("meanflow")
    write_smoke_checkpoint(folder, spec=SPEC)
    return folder


def load(folder: Path) -> Model:
    return load_model(SPEC, Checkpoint(folder, None, may_be_unpublished=True), CPU)


def test_a_model_with_meanflow_is_loaded_by_its_spec(folder):
    ours = load(folder).s3gen
    theirs = load_upstream_model(SPEC, Checkpoint(folder, None, may_be_unpublished=True), CPU).s3gen
    for samples, other in zip(
        ours.render(make_requests(EIGHT[:2], CPU)), theirs.render(make_requests(EIGHT[:2], CPU)), strict=True
    ):
        torch.testing.assert_close(samples, other, rtol=0, atol=5e-6)


def test_packed_weights_hold_all_that_meanflow_needs(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    checkpoint = Checkpoint(tmp_path, None, may_be_unpublished=True)
    pack_model(SPEC, checkpoint)
    rounded = load_model(SPEC, checkpoint, CPU, torch.bfloat16).s3gen
    assert isinstance(rounded, PackedS3Gen)
    found, expected = (each.mel(make_requests(EIGHT, CPU)[0]) for each in (rounded, load(folder).s3gen))
    assert 0 < distance(found, expected) < 0.02


def test_a_stream_is_as_long_as_the_whole(folder, build):
    synthesizer = build(load(folder))
    whole, pieces = (speak(synthesizer, seed=3, hop=hop) for hop in ("whole", "stream"))
    assert len(pieces) > len(whole)
    samples = join(pieces)
    assert np.isfinite(samples).all()
    assert len(samples) == len(join(whole))


def test_upstream_prints_nothing(folder, capsys):
    model = load_upstream_model(SPEC, Checkpoint(folder, None, may_be_unpublished=True), CPU)
    model.s3gen.render(make_requests(EIGHT[1:2], CPU))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["missing", "misshapen"])
def test_a_mixer_that_does_not_fit_is_named(folder, tmp_path, damage):
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    state, name = load_file(folder / FILE), "flow.decoder.estimator.time_embed_mixer.weight"
    mixer = state.pop(name)
    if damage == "misshapen":
        state[name] = mixer[:, :-1].contiguous()
    (tmp_path / FILE).unlink()
    save_file(state, tmp_path / FILE)
    with pytest.raises(ModelUnavailable, match=f"{FILE} does not fit this model: .*1 "):
        load(tmp_path)
