"""Loading gives upstream's tensors, and damage is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from audio.waveform import Waveform
from errors import ModelUnavailable
from speech.models.dimensions import TINY
from speech.models.gpt2_t3 import gpt2_shapes
from speech.models.llama_t3 import upstream_shapes
from speech.models.spec import CHATTERBOX, MODELS, NANO, TURBO, ModelSource, ModelSpec
from speech.s3gen.packed import PackedS3Gen
from speech.upstream import COMPUTED_BUFFERS, load_upstream_model
from speech.weights import load as loading
from speech.weights.checkpoint import Checkpoint
from speech.weights.find import find_model
from speech.weights.load import Model, load_model, read_config
from speech.weights.sizes import with_backbone, with_vocabularies
from tests.recordings import speech_like
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
        {"max_chunk_s": 6.6},
        {"max_chunk_s": 18.8},
        {"max_chunk_s": float("nan")},
        {"max_chunk_s": "long"},
        {"max_chunk_s": True},
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
    change_config(damaged, max_chunk_s=7.5, default_parameters={"repetition_penalty": 2.0, "top_k": 9})
    spec = loader(CHATTERBOX, Checkpoint(damaged, None, may_be_unpublished=True), CPU).spec
    assert spec.max_chunk_s == 7.5
    # top_k is not among them: the model does not have it.
    assert spec.default_parameters == {**CHATTERBOX.default_parameters, "repetition_penalty": 2.0}
    assert load(damaged).spec == spec


def test_the_longest_chunk_may_be_counted_in_letters_of_english(damaged):
    change_config(damaged, max_chunk_chars=120)
    assert read_config(damaged).max_chunk_s == 8.0


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


def turn_to_pt(folder: Path, name: str, *, nested: bool = False) -> None:
    state = load_file(folder / name)
    torch.save({"model": [state]} if nested else state, (folder / name).with_suffix(".pt"))
    (folder / name).unlink()


@pytest.mark.parametrize("loader", [load, load_upstreams], ids=["ours", "upstream"])
def test_a_checkpoint_of_pt_files_is_the_same_model(damaged, our_model, loader):
    turn_to_pt(damaged, "t3_cfg.safetensors", nested=True)
    turn_to_pt(damaged, "s3gen.safetensors")
    turn_to_pt(damaged, "ve.safetensors")
    model = loader(damaged)
    assert model.revision != our_model.revision  # of other files, which nobody has compared
    requests = make_requests(EIGHT[:1], CPU)
    (found,), (expected,) = (
        model.s3gen.render(requests),
        our_model.s3gen.render(make_requests(EIGHT[:1], CPU)),
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("loader", [load, load_upstreams], ids=["ours", "upstream"])
def test_tables_that_can_be_computed_need_not_be_there(damaged, loader):
    """As in ``s3gen_v3.safetensors``."""
    weights = load_file(damaged / "s3gen.safetensors")
    rest = {name: value for name, value in weights.items() if name not in COMPUTED_BUFFERS}
    save_file(rest, damaged / "s3gen.safetensors")
    waveform = Waveform(speech_like(2.0, 24_000, seed=1), 24_000)
    voice = loader(damaged).reference_encoder.compute(waveform)
    assert voice.prompt_tokens.shape[1] == 50


@pytest.fixture
def tiny(monkeypatch) -> ModelSpec:
    """A published model of the size that tests have: no configuration says it."""
    spec = replace(CHATTERBOX, dimensions=TINY)
    monkeypatch.setitem(MODELS, spec.name, spec)
    return spec


@pytest.fixture
def fine_tune(damaged, tmp_path, tiny) -> Path:
    """A folder with a T3 alone: fewer layers, a narrower feed-forward network, more text ids."""
    (damaged / "config.json").unlink()
    folder = tmp_path / "narrator"
    folder.mkdir()
    state = load_file(damaged / "t3_cfg.safetensors")
    state = {name: value for name, value in state.items() if "tfmr.layers.1." not in name}
    for name in ("text_emb.weight", "text_head.weight"):
        state[name] = torch.cat([state[name], state[name][:96]])
    for name, axis in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
        key = f"tfmr.layers.0.mlp.{name}.weight"
        state[key] = state[key].narrow(axis, 0, 80).contiguous()
    save_file(state, folder / "t3_cfg.safetensors")
    return folder


def find_fine_tune(folder: Path, base: Path) -> tuple[ModelSpec, Checkpoint]:
    spec, checkpoint = find_model(ModelSource("narrator", folder=folder), hub_caches=(base.parent / "hub",))
    return spec, checkpoint


@pytest.fixture
def base_in_cache(damaged, tmp_path) -> Path:
    repository = tmp_path / "hub" / "models--ResembleAI--chatterbox"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(damaged)
    return damaged


@pytest.mark.parametrize("loader", [load_model, load_upstream_model])
def test_a_fine_tunes_sizes_are_those_of_its_t3(fine_tune, base_in_cache, loader):
    shutil.copy(base_in_cache / "tokenizer.json", fine_tune)
    model = loader(*find_fine_tune(fine_tune, base_in_cache), CPU)
    dimensions = model.dimensions
    assert (dimensions.t3_layers, dimensions.t3_feed_forward, dimensions.t3_heads) == (1, 80, TINY.t3_heads)
    assert model.spec.text_vocabulary == CHATTERBOX.text_vocabulary + 96
    assert model.spec.name == "narrator"
    assert model.builtin_voice is not None  # the base's


def test_with_another_vocabulary_it_needs_its_own_tokenizer(fine_tune, base_in_cache):
    with pytest.raises(ModelUnavailable, match=r"T3 has 800 text ids.*made for 704.*tokenizer\.json"):
        load_model(*find_fine_tune(fine_tune, base_in_cache), CPU)


@pytest.mark.parametrize("loader", [load, load_upstreams], ids=["ours", "upstream"])
def test_a_tokenizer_with_more_ids_than_t3_is_refused_with_both_numbers(damaged, loader):
    config = json.loads((damaged / "tokenizer.json").read_text())
    config["model"]["vocab"]["zu"] = 2453
    (damaged / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="2454.*704"):
        loader(damaged)


@pytest.mark.parametrize("loader", [load_model, load_upstream_model])
def test_a_fine_tunes_tokenizer_with_fewer_ids_than_t3_is_a_warning_with_both_numbers(
    fine_tune, base_in_cache, loader, caplog
):
    shutil.copy(base_in_cache / "tokenizer.json", fine_tune)
    loader(*find_fine_tune(fine_tune, base_in_cache), CPU)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the tokenizer of narrator, tokenizer.json, has 321 tokens, and T3 800 text ids: "
        "is it the one that T3 was trained with?"
    ]


@pytest.mark.parametrize("loader", [load, load_upstreams], ids=["ours", "upstream"])
def test_weights_that_are_known_to_have_ids_to_spare_are_no_warning(smoke_checkpoint, loader, caplog):
    caplog.set_level("INFO")
    loader(smoke_checkpoint)
    (record,) = [record for record in caplog.records if "tokens" in record.getMessage()]
    assert record.levelname == "INFO"


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"text_emb.weight": (100, 1024)}, "it has 100 text ids"),
        ({"text_emb.weight": (2**31, 1024)}, "it has 2147483648 text ids"),
        ({"speech_emb.weight": (6561, 1024)}, "it has 6561 speech ids"),
        ({"text_emb.weight": (704, 1000)}, "width of 1000 is no multiple of 64"),
        ({"text_emb.weight": (704, 64_000)}, "t3_width must be"),
        ({"tfmr.layers.123456789.input_layernorm.weight": (64,)}, "t3_layers must be"),
        ({"tfmr.layers.0.mlp.gate_proj.weight": (10**6, 1024)}, "t3_feed_forward must be"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_refused(damaged, monkeypatch, shapes, reason):
    (damaged / "config.json").unlink()
    monkeypatch.setattr(loading, "read_shapes", lambda _: shapes)
    with pytest.raises(ModelUnavailable, match=f"t3_cfg.safetensors does not fit the model.*{reason}"):
        load(damaged)


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_the_published_sizes_are_read_from_shapes_alone(spec):
    shapes_of = gpt2_shapes if spec.family == "gpt2" else upstream_shapes
    shapes = shapes_of(spec, spec.dimensions)
    other = NANO if spec.family == "gpt2" and spec is not NANO else spec
    blank = replace(spec, text_vocabulary=1, speech_vocabulary=1, dimensions=other.dimensions)
    found = with_vocabularies(blank, shapes)
    assert found.text_vocabulary == spec.text_vocabulary
    assert found.speech_vocabulary == spec.speech_vocabulary
    assert with_backbone(blank, shapes) == spec.dimensions


def test_gpt2_without_the_table_that_it_does_not_use_loads(turbo_checkpoint, tmp_path):
    folder = Path(shutil.copytree(turbo_checkpoint.folder, tmp_path / "turbo"))
    state = load_file(folder / TURBO.files.t3)
    del state["tfmr.wte.weight"]
    save_file(state, folder / TURBO.files.t3)
    load_model(TURBO, Checkpoint(folder, None, may_be_unpublished=True), CPU)
