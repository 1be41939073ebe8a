"""Packed weights are the weights, and are used only while they are."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scripts import repack
from speech import checkpoint as checkpoints
from speech.checkpoint import Model, load_model
from speech.locate import Checkpoint
from speech.packed import PACKED_FILE
from speech.t3.weights import T3Weights
from speech.variants import CHATTERBOX
from speech.weight_files import T3_FILE

CPU = torch.device("cpu")


@pytest.fixture
def folder(smoke_checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(smoke_checkpoint, tmp_path / "weights"))


@pytest.fixture
def packed(folder) -> Path:
    repack.main([str(folder)])
    return folder


def load(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Model:
    return load_model(CHATTERBOX, Checkpoint(folder, None, chosen_by_name=True), CPU, t3_dtype=dtype)


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
    """The originals that loading has read."""
    names: list[str] = []
    read = checkpoints.read_weights

    def note(file, *arguments):
        names.append(file.name)
        return read(file, *arguments)

    monkeypatch.setattr(checkpoints, "read_weights", note)
    return names


def test_they_are_the_weights(folder, files_read):
    plain = load(folder)
    repack.main([str(folder)])
    files_read.clear()
    packed = load(folder)
    assert files_read == []
    assert_equal_weights(packed.t3, plain.t3)
    assert packed.revision == plain.revision
    tokens, prompt = torch.arange(30), packed.builtin_voice.decoder_prompt
    torch.manual_seed(1)
    expected = plain.token_to_wave(tokens, prompt)
    torch.manual_seed(1)
    assert torch.equal(packed.token_to_wave(tokens, prompt), expected)


def test_float32_does_not_use_them(packed, files_read):
    assert load(packed, torch.float32).t3.dtype == torch.float32
    assert T3_FILE in files_read


def test_they_are_smaller_than_what_they_replace(packed):
    replaced = sum((packed / name).stat().st_size for name in (T3_FILE, "s3gen.safetensors"))
    assert (packed / PACKED_FILE).stat().st_size < 0.7 * replaced


def test_other_weights_in_their_place_are_not_mixed_with_them(packed, files_read, caplog):
    with (packed / T3_FILE).open("r+b") as file:  # the last values of the last tensor
        file.seek(-8, os.SEEK_END)
        file.write(b"\0\0\0\0\0\0\0\0")
    load(packed)
    assert T3_FILE in files_read
    assert "pack them again" in caplog.text


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
