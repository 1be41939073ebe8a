"""Loading gives upstream's tensors, and damage is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from errors import ModelUnavailable
from speech.checkpoint import Model, load_model
from speech.locate import Checkpoint
from speech.sizes import TINY
from speech.upstream import build_s3gen, build_t3, build_voice_encoder
from speech.upstream_checkpoint import COMPUTED_BUFFERS, assign_weights, load_upstream
from speech.variants import CHATTERBOX
from speech.weight_files import fingerprint

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
    [("t3", build_t3, "t3_cfg.safetensors"), ("s3gen", build_s3gen, "s3gen.safetensors")],
)
def test_each_tensor_equals_initialising_and_copying(smoke_checkpoint, part, build, file):
    t3, s3gen = load_upstream(smoke_checkpoint, TINY, CPU)
    upstreams = build(TINY)
    upstreams.load_state_dict(load_file(smoke_checkpoint / file), strict=False)
    assert_same_tensors({"t3": t3, "s3gen": s3gen}[part], upstreams)


def test_modules_are_ready_for_inference(smoke_checkpoint):
    for module in load_upstream(smoke_checkpoint, TINY, CPU):
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


@pytest.fixture
def damaged(smoke_checkpoint, tmp_path) -> Path:
    folder = tmp_path / "damaged"
    shutil.copytree(smoke_checkpoint, folder)
    return folder


def load(folder: Path) -> Model:
    return load_model(CHATTERBOX, Checkpoint(folder, None, chosen_by_name=True), CPU)


@pytest.mark.parametrize("name", ["ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors"])
def test_a_torn_weights_file_is_named(damaged, name):
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelUnavailable, match=f"{name} cannot be read"):
        load(damaged).reference_encoder()


@pytest.mark.parametrize(
    "tensor", ["flow.encoder_proj.weight", "mel2wav.conv_pre.bias", "mel2wav.ups.2.bias"]
)
def test_a_tensor_that_s3gen_lacks_is_named(damaged, tensor):
    weights = load_file(damaged / "s3gen.safetensors")
    del weights[tensor]
    save_file(weights, damaged / "s3gen.safetensors")
    with pytest.raises(ModelUnavailable, match=r"s3gen.safetensors does not fit this model: 1 tensors"):
        load(damaged)


def test_weights_of_another_size_do_not_load(damaged):
    weights = load_file(damaged / "t3_cfg.safetensors")
    weights["speech_head.weight"] = weights["speech_head.weight"][:, :8].contiguous()
    del weights["text_head.weight"]
    save_file(weights, damaged / "t3_cfg.safetensors")
    with pytest.raises(ModelUnavailable, match="t3_cfg.safetensors does not fit.*1 tensors are missing, 1 h"):
        load(damaged)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR."])
def test_a_damaged_or_hostile_builtin_voice_is_named_and_not_run(damaged, content, monkeypatch):
    monkeypatch.chdir(damaged)
    (damaged / "conds.pt").write_bytes(content)
    with pytest.raises(ModelUnavailable, match="conds.pt cannot be read"):
        load(damaged)
    assert not (damaged / "pwned").exists()


def test_a_checkpoint_without_a_builtin_voice_loads(damaged):
    (damaged / "conds.pt").unlink()
    assert load(damaged).builtin_voice is None


def test_a_damaged_tokenizer_is_named(damaged):
    (damaged / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json cannot be read"):
        load(damaged)


def test_a_damaged_config_is_named(damaged):
    config = json.loads((damaged / "config.json").read_text())
    del config["sizes"]["t3_width"]
    (damaged / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        load(damaged)


def test_untrained_weights_must_be_chosen_by_name(smoke_checkpoint):
    with pytest.raises(ModelUnavailable, match="untrained"):
        load_model(CHATTERBOX, Checkpoint(smoke_checkpoint, "0" * 40), CPU)


def test_the_fingerprint_follows_the_content(damaged):
    before = fingerprint(damaged, CHATTERBOX.files)
    assert before == fingerprint(damaged, CHATTERBOX.files)
    weights = load_file(damaged / "ve.safetensors")
    weights["proj.bias"] += 1
    save_file(weights, damaged / "ve.safetensors")
    assert fingerprint(damaged, CHATTERBOX.files) != before
