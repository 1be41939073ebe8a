"""Packed weights are the weights, and are used only while they are."""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts import repack
from speech.models.llama_t3 import T3Weights
from speech.models.spec import CHATTERBOX, MODELS
from speech.s3gen.s3gen import RenderRequest
from speech.weights import load as loading
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from speech.weights.pack import packed_path

CPU = torch.device("cpu")
T3_FILE, S3GEN_FILE = CHATTERBOX.files.t3, CHATTERBOX.files.s3gen
PACKED_FILES = ("speaking-t3_cfg.safetensors", "speaking-s3gen.safetensors")


@pytest.fixture
def folder(smoke_checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(smoke_checkpoint, tmp_path / "weights"))


@pytest.fixture
def packed(folder) -> Path:
    repack.main([str(folder)])
    return folder


def load(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Model:
    return load_model(CHATTERBOX, Checkpoint(folder, None, may_be_unpublished=True), CPU, t3_dtype=dtype)


def tensors_of(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value.to_dense() if value.is_mkldnn else value
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors_of(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_of(getattr(value, field.name))


def assert_equal_weights(first: T3Weights, second: T3Weights) -> None:
    pairs = list(zip(tensors_of(first), tensors_of(second), strict=True))
    assert len(pairs) > 20
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.fixture
def files_read(monkeypatch) -> list[str]:
    """The originals of what is packed that loading has read."""
    names: list[str] = []
    read = loading.read_weights

    def note(file, *arguments):
        names.append(file.name)
        return read(file, *arguments)

    monkeypatch.setattr(loading, "read_weights", note)
    return names


def test_they_are_the_weights(folder, files_read):
    plain = load(folder)
    repack.main([str(folder)])
    files_read.clear()
    packed = load(folder)
    assert files_read == []
    assert_equal_weights(packed.t3.weights, plain.t3.weights)
    assert packed.revision == plain.revision
    assert torch.equal(samples_of(packed), samples_of(plain))


def change(file: Path) -> dict[str, torch.Tensor]:
    weights = {name: tensor * 1.01 for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    return weights


def samples_of(model: Model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    (samples,) = model.s3gen.render([RenderRequest(torch.arange(30), model.builtin_voice, generator)])
    return samples


def test_float32_does_not_use_them(packed, files_read):
    assert load(packed, torch.float32).t3.weights.dtype == torch.float32
    assert T3_FILE in files_read


def test_they_are_smaller_than_what_they_replace(packed):
    replaced = sum((packed / name).stat().st_size for name in (T3_FILE, S3GEN_FILE))
    assert sum((packed / name).stat().st_size for name in PACKED_FILES) < 0.7 * replaced


@pytest.mark.parametrize("file", [T3_FILE, S3GEN_FILE])
def test_other_weights_in_their_place_are_not_mixed_with_them(packed, files_read, caplog, file):
    """A fine-tune: every name, shape and size as before, other values."""
    weights = change(packed / file)
    found = load(packed)
    assert files_read == [file]
    assert "pack them again" in caplog.text
    if file == T3_FILE:
        assert torch.equal(found.t3.weights.norm, weights["tfmr.norm.weight"].bfloat16())


def test_their_fingerprint_is_not_the_models_commit(packed, files_read):
    """A snapshot of the hub is packed and found by its content, and keeps its commit as its revision."""
    commit = "0" * 40
    config = json.loads((packed / "config.json").read_text())
    (packed / "config.json").write_text(json.dumps(config | {"weights": "published"}))
    model = load_model(CHATTERBOX, Checkpoint(packed, commit), CPU, torch.bfloat16)
    assert model.revision == commit
    assert files_read == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5_000_000, b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"],
    ids=["empty", "zeros", "ff", "bare"],
)
@pytest.mark.parametrize("file", [T3_FILE, S3GEN_FILE])
def test_a_damaged_file_is_passed_over(packed, files_read, caplog, file, content):
    packed_file = packed_path(packed / file)
    packed_file.write_bytes(content)
    load(packed)
    assert files_read == [file]
    assert packed_file.name in caplog.text


@pytest.mark.parametrize("file", [T3_FILE, S3GEN_FILE])
def test_a_file_that_was_cut_off_is_passed_over(packed, files_read, file):
    content = packed_path(packed / file).read_bytes()
    packed_path(packed / file).write_bytes(content[: len(content) // 2])
    load(packed)
    assert files_read == [file]


def test_whoever_may_read_the_weights_may_read_them(folder):
    for name in (T3_FILE, S3GEN_FILE):
        (folder / name).chmod(0o644)
    repack.main([str(folder)])
    for name in PACKED_FILES:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o644


def test_packing_again_leaves_what_fits_and_replaces_what_does_not(packed, files_read):
    def written_at() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in packed.iterdir()}

    before = written_at()
    repack.main([str(packed)])
    assert written_at() == before
    change(packed / T3_FILE)
    repack.main([str(packed)])
    after = written_at()
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {T3_FILE, PACKED_FILES[0]}
    load(packed)
    assert files_read == []


def test_models_of_one_folder_share_what_they_have_in_common(folder, monkeypatch):
    """English and multilingual: a T3 each, and one S3Gen."""
    other = dataclasses.replace(CHATTERBOX.files, t3="t3_other.safetensors")
    monkeypatch.setitem(MODELS, "other", dataclasses.replace(CHATTERBOX, name="other", files=other))
    shutil.copy(folder / T3_FILE, folder / other.t3)
    for model in ("chatterbox", "other"):
        monkeypatch.setenv("MODEL", model)
        repack.main([str(folder)])
    packed_files = {path.name for path in folder.glob("speaking-*")}
    assert packed_files == {*PACKED_FILES, "speaking-t3_other.safetensors"}


def test_a_folder_is_of_one_model(packed, monkeypatch):
    monkeypatch.setenv("MODEL", "chatterbox,turbo")
    with pytest.raises(SystemExit, match="set MODEL to that one"):
        repack.main([str(packed)])


def test_a_model_that_nobody_knows_is_named(monkeypatch):
    monkeypatch.setenv("MODEL", "chatterbox,flash")
    with pytest.raises(SystemExit, match="MODEL is 'flash'"):
        repack.main([])


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"lacks ve\.safetensors"):
        repack.main([str(tmp_path)])


def test_damaged_weights_are_named_and_nothing_is_left(folder):
    (folder / T3_FILE).write_bytes(b"no weights")
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(SystemExit, match=T3_FILE):
        repack.main([str(folder)])
    assert {path.name for path in folder.iterdir()} == before
