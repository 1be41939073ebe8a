"""Loading gives upstream's tensors, and damage is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from errors import ModelUnavailable
from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX
from speech.s3gen.packed import PackedS3Gen
from speech.upstream import load_upstream_model
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from tests.speech.s3gen.packing import EIGHT, make_requests

CPU = torch.device("cpu")


@pytest.fixture
def damaged(smoke_checkpoint, tmp_path) -> Path:
    folder = tmp_path / "damaged"
    shutil.copytree(smoke_checkpoint, folder)
    return folder


def load(folder: Path) -> Model:
    return load_model(CHATTERBOX, Checkpoint(folder, None, may_be_unpublished=True), CPU)


def load_upstreams(folder: Path) -> Model:
    return load_upstream_model(CHATTERBOX, Checkpoint(folder, None, may_be_unpublished=True), CPU)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("ve.safetensors", load),
        ("t3_cfg.safetensors", load),
        ("s3gen.safetensors", load),
        ("t3_cfg.safetensors", load_upstreams),
        ("s3gen.safetensors", load_upstreams),
        ("ve.safetensors", load_upstreams),
    ],
)
def test_a_torn_weights_file_is_named(damaged, name, load):
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelUnavailable, match=f"{name} cannot be read"):
        load(damaged)


@pytest.mark.parametrize(
    "tensor",
    [
        "flow.encoder_proj.weight",
        "mel2wav.conv_pre.bias",
        "mel2wav.ups.2.bias",
        "tokenizer.encoder.conv1.bias",
        "speaker_encoder.head.bn1.running_var",
    ],
)
def test_a_tensor_that_s3gen_lacks_is_named(damaged, tensor):
    weights = load_file(damaged / "s3gen.safetensors")
    del weights[tensor]
    save_file(weights, damaged / "s3gen.safetensors")
    with pytest.raises(ModelUnavailable, match=r"s3gen.safetensors does not fit this model: 1 tensors"):
        load(damaged)


@pytest.mark.parametrize("load", [load, load_upstreams], ids=["ours", "upstream"])
def test_weights_of_another_size_do_not_load(damaged, load):
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


@pytest.mark.parametrize("part", ["t3", "gen"])
def test_a_builtin_voice_that_lacks_something_is_named(damaged, part):
    content = torch.load(damaged / "conds.pt", weights_only=True)
    del content[part]
    torch.save(content, damaged / "conds.pt")
    with pytest.raises(ModelUnavailable, match="conds.pt cannot be read"):
        load(damaged)


def test_the_builtin_voice_is_the_files(smoke_checkpoint, our_model):
    content, voice = torch.load(smoke_checkpoint / "conds.pt", weights_only=True), our_model.builtin_voice
    assert torch.equal(voice.speaker_embedding, content["t3"]["speaker_emb"])
    assert torch.equal(voice.t3_prompt_tokens, content["t3"]["cond_prompt_speech_tokens"])
    assert torch.equal(voice.prompt_tokens, content["gen"]["prompt_token"])
    assert torch.equal(voice.prompt_mel, content["gen"]["prompt_feat"])
    assert torch.equal(voice.xvector, content["gen"]["embedding"])
    assert voice.fits(CHATTERBOX.conditioning)


def test_a_checkpoint_without_a_builtin_voice_loads(damaged):
    (damaged / "conds.pt").unlink()
    assert load(damaged).builtin_voice is None


def test_a_damaged_tokenizer_is_named(damaged):
    (damaged / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json cannot be read"):
        load(damaged)


def test_a_tokenizer_of_another_model_is_named(damaged):
    config = json.loads((damaged / "tokenizer.json").read_text())
    config["model"]["vocab"].pop("[START]")
    config["added_tokens"] = []
    (damaged / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json is of another model"):
        load(damaged)


def change_config(folder: Path, **fields) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"sizes": {"t3_width": 64}},
        {"sizes": asdict(TINY) | {"t3_heads": 0}},
        {"sizes": asdict(TINY) | {"t3_heads": True}},
        {"sizes": asdict(TINY) | {"t3_heads": 3}},
        {"sizes": asdict(TINY) | {"t3_layers": 10**9}},
        {"sizes": asdict(TINY) | {"t3_width": 64.0}},
        {"format": "chatterbox-voice-worker/9"},
        {"weights": "someone's"},
        {"max_chunk_chars": 99},
        {"max_chunk_chars": 281},
        {"max_chunk_chars": "many"},
        {"default_parameters": {"warmth": 1.0}},
        {"default_parameters": {"temperature": "hot"}},
        {"default_parameters": {"temperature": float("nan")}},
        {"default_parameters": {"repetition_penalty": 0}},
        {"default_parameters": ["temperature"]},
    ],
    ids=str,
)
def test_a_damaged_config_is_named(damaged, fields):
    change_config(damaged, **fields)
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        load(damaged)


@pytest.mark.parametrize("loader", [load_model, load_upstream_model])
def test_a_checkpoint_may_have_defaults_of_its_own(damaged, loader):
    change_config(damaged, max_chunk_chars=110, default_parameters={"repetition_penalty": 2.0, "top_k": 9})
    spec = loader(CHATTERBOX, Checkpoint(damaged, None, may_be_unpublished=True), CPU).spec
    assert spec.max_chunk_chars == 110
    # top_k is not among them: the model does not have it.
    assert spec.default_parameters == {**CHATTERBOX.default_parameters, "repetition_penalty": 2.0}
    assert load(damaged).spec == spec


def test_untrained_weights_must_be_chosen_by_name(smoke_checkpoint):
    with pytest.raises(ModelUnavailable, match="untrained"):
        load_model(CHATTERBOX, Checkpoint(smoke_checkpoint, "0" * 40), CPU)


def test_the_revision_is_the_commit_or_the_contents_fingerprint(damaged):
    commit = "0" * 40
    named = load_model(CHATTERBOX, Checkpoint(damaged, commit, may_be_unpublished=True), CPU)
    assert named.revision == commit
    before = load(damaged).revision
    assert before == load_upstreams(damaged).revision != commit
    change_config(damaged, default_parameters={"temperature": 0.7})
    assert load(damaged).revision == load_upstreams(damaged).revision != before


def test_chunks_are_rendered_together_in_float32_where_that_is_asked_for(smoke_checkpoint, our_model):
    """As by GPUs that do not compute in bfloat16: the samples are those of one chunk after the other."""
    checkpoint = Checkpoint(smoke_checkpoint, None, may_be_unpublished=True)
    packed = load_model(CHATTERBOX, checkpoint, CPU, together=True).s3gen
    assert isinstance(packed, PackedS3Gen)
    found, expected = (each.render(make_requests(EIGHT[:3], CPU)) for each in (packed, our_model.s3gen))
    for samples, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(samples, plain, rtol=0, atol=5e-6)
