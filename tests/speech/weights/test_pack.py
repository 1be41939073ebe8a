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
from speech.models.spec import CHATTERBOX
from speech.s3gen.s3gen import RenderRequest
from speech.weights import load as loading
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from speech.weights.pack import PACKED_FILE

CPU = torch.device("cpu")
T3_FILE, S3GEN_FILE = CHATTERBOX.files.t3, CHATTERBOX.files.s3gen


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


def samples_of(model: Model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    (samples,) = model.s3gen.render([RenderRequest(torch.arange(30), model.builtin_voice, generator)])
    return samples


def test_float32_does_not_use_them(packed, files_read):
    assert load(packed, torch.float32).t3.weights.dtype == torch.float32
    assert T3_FILE in files_read


def test_they_are_smaller_than_what_they_replace(packed):
    replaced = sum((packed / name).stat().st_size for name in (T3_FILE, S3GEN_FILE))
    assert (packed / PACKED_FILE).stat().st_size < 0.7 * replaced


@pytest.mark.parametrize("file", [T3_FILE, S3GEN_FILE])
def test_other_weights_in_their_place_are_not_mixed_with_them(packed, files_read, caplog, file):
    """A fine-tune: every name, shape and size as before, other values."""
    weights = {name: tensor * 1.01 for name, tensor in load_file(packed / file).items()}
    save_file(weights, packed / file, metadata={"format": "pt"})
    found = load(packed)
    assert files_read == [T3_FILE, S3GEN_FILE]
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
def test_a_damaged_file_is_passed_over(packed, files_read, caplog, content):
    (packed / PACKED_FILE).write_bytes(content)
    load(packed)
    assert T3_FILE in files_read
    assert PACKED_FILE in caplog.text


def test_a_file_that_was_cut_off_is_passed_over(packed, files_read):
    content = (packed / PACKED_FILE).read_bytes()
    (packed / PACKED_FILE).write_bytes(content[: len(content) // 2])
    load(packed)
    assert T3_FILE in files_read


def test_whoever_may_read_the_weights_may_read_them(folder):
    (folder / T3_FILE).chmod(0o644)
    repack.main([str(folder)])
    assert stat.S_IMODE((folder / PACKED_FILE).stat().st_mode) == 0o644


def test_packing_again_replaces_the_file_and_leaves_nothing_else(packed):
    before = {path.name for path in packed.iterdir()}
    repack.main([str(packed)])
    assert {path.name for path in packed.iterdir()} == before


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"lacks ve\.safetensors"):
        repack.main([str(tmp_path)])


def test_damaged_weights_are_named_and_nothing_is_left(folder):
    (folder / T3_FILE).write_bytes(b"no weights")
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(SystemExit, match=T3_FILE):
        repack.main([str(folder)])
    assert {path.name for path in folder.iterdir()} == before
