"""Upstream's modules, loaded without initialising: the same as upstream's own loading, tensor by tensor."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX
from speech.upstream import (
    COMPUTED_BUFFERS,
    build_s3gen,
    build_t3,
    build_voice_encoder,
    load_upstream_modules,
)
from speech.weights.checkpoint import Checkpoint
from speech.weights.modules import assign_weights

CPU = torch.device("cpu")


def every_tensor(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters, buffers in and out of the state dict, and tensors kept as plain attributes."""
    found = dict(module.named_parameters()) | dict(module.named_buffers())
    for path, part in module.named_modules():
        found |= {f"{path}.{name}": value for name, value in vars(part).items() if torch.is_tensor(value)}
    return found


def assert_same_tensors(ours: nn.Module, upstreams: nn.Module) -> None:
    mine, theirs = every_tensor(ours), every_tensor(upstreams)
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert mine[name].dtype == tensor.dtype, name
        assert mine[name].device == tensor.device, name
        assert torch.equal(mine[name], tensor), name


@pytest.mark.parametrize(
    ("part", "build", "file"),
    [
        ("t3", partial(build_t3, spec=CHATTERBOX), "t3_cfg.safetensors"),
        ("s3gen", build_s3gen, "s3gen.safetensors"),
    ],
)
def test_each_tensor_equals_initialising_and_copying(smoke_checkpoint, part, build, file):
    t3, s3gen = load_upstream_modules(CHATTERBOX, Checkpoint(smoke_checkpoint, None), TINY, CPU)
    upstreams = build(TINY)
    upstreams.load_state_dict(load_file(smoke_checkpoint / file), strict=False)
    assert_same_tensors({"t3": t3, "s3gen": s3gen}[part], upstreams)


def test_modules_are_ready_for_inference(smoke_checkpoint):
    for module in load_upstream_modules(CHATTERBOX, Checkpoint(smoke_checkpoint, None), TINY, CPU):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_buffers_that_the_published_file_lacks_are_computed(smoke_checkpoint, tmp_path):
    weights = load_file(smoke_checkpoint / "s3gen.safetensors")
    assert weights.keys() >= COMPUTED_BUFFERS
    file = tmp_path / "s3gen.safetensors"
    save_file({name: value for name, value in weights.items() if name not in COMPUTED_BUFFERS}, file)
    module = build_s3gen(TINY)
    assign_weights(module, file, CPU, may_lack=COMPUTED_BUFFERS, may_exceed=True)
    for name in COMPUTED_BUFFERS:
        assert torch.equal(module.state_dict()[name], weights[name])


def test_half_precision_files_become_float32(smoke_checkpoint, tmp_path):
    file = tmp_path / "ve.safetensors"
    weights = load_file(smoke_checkpoint / "ve.safetensors")
    save_file({name: value.half() for name, value in weights.items()}, file)
    module = build_voice_encoder(TINY)
    assign_weights(module, file, CPU)
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float32}
