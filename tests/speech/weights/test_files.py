"""The fingerprint names the content of a folder of weights, and damage is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from errors import ModelUnavailable
from speech.models.spec import CHATTERBOX
from speech.weights import files
from speech.weights.files import SAMPLED_TENSOR_BYTES, fingerprint, read_shapes, read_weights

FILES = CHATTERBOX.files
LAYERS = 5
VALUES = SAMPLED_TENSOR_BYTES // 4  # of float32, in the smallest tensor that is sampled


@pytest.fixture
def folder(smoke_checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(smoke_checkpoint, tmp_path / "weights"))


@pytest.fixture
def layers(tmp_path) -> Path:
    """A file with as large tensors as published ones; small ones between them."""
    folder = tmp_path / "layers"
    folder.mkdir()
    save_layers(folder, make_layers())
    return folder


def make_layers() -> dict[str, torch.Tensor]:
    large = {f"layers.{index}.weight": torch.full((VALUES,), float(index)) for index in range(LAYERS)}
    small = {f"layers.{index}.bias": torch.zeros(7) for index in range(LAYERS)}
    return large | small


def save_layers(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / FILES.t3)


def named(folder: Path) -> str:
    return fingerprint(folder / name for name in FILES.all)


def test_it_is_16_hex_digits_and_does_not_change(folder):
    assert len(bytes.fromhex(named(folder))) == 8
    assert named(folder) == named(folder)


def test_it_does_not_depend_on_the_folder_or_on_other_files(folder, smoke_checkpoint):
    (folder / "README.md").write_text("about these weights")
    assert named(folder) == named(smoke_checkpoint)


@pytest.mark.parametrize("index", range(LAYERS))
def test_one_value_in_the_middle_of_any_large_tensor_changes_it(layers, index):
    before, tensors = named(layers), make_layers()
    tensors[f"layers.{index}.weight"][VALUES // 2] += 1
    save_layers(layers, tensors)
    assert named(layers) != before


def test_a_fine_tune_that_keeps_ends_and_shapes_changes_it(layers):
    """Training moves nearly every value of the layers that it trains; here those of one, but for its ends."""
    before, tensors = named(layers), make_layers()
    tensors["layers.2.weight"][1000:-1000] *= 1.001
    save_layers(layers, tensors)
    assert named(layers) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {name.replace("layers.1", "layers.7"): value for name, value in tensors.items()},
        lambda tensors: tensors | {"layers.1.bias": torch.zeros(1, 7)},
        lambda tensors: tensors | {"layers.1.weight": tensors["layers.1.weight"].half()},
        lambda tensors: {name: value for name, value in tensors.items() if name != "layers.1.bias"},
    ],
    ids=["name", "shape", "dtype", "missing"],
)
def test_what_the_header_lists_changes_it(layers, change):
    before = named(layers)
    save_layers(layers, change(make_layers()))
    assert named(layers) != before


@pytest.mark.parametrize("name", [FILES.tokenizer[0], FILES.builtin_voice])
def test_any_byte_of_the_other_files_changes_it(folder, name):
    before, content = named(folder), bytearray((folder / name).read_bytes())
    content[len(content) // 3] ^= 1
    (folder / name).write_bytes(content)
    assert named(folder) != before


def test_a_file_that_may_be_absent_is_part_of_it(folder):
    before = named(folder)
    (folder / FILES.builtin_voice).unlink()
    assert named(folder) != before


def test_gigabytes_are_not_read(folder):
    """A file with a hole, 1 TB long: it would not be done in a lifetime of tests."""
    tensors = load_file(folder / FILES.t3)
    save_file(tensors, folder / FILES.t3)
    os.truncate(folder / FILES.t3, 2**40)
    assert named(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"no weights",
        b"\x02\0\0\0\0\0\0\0[]",
        (2**60).to_bytes(8, "little"),
        b"\x10\0\0\0\0\0\0\0" + b"\xff" * 16,
    ],
    ids=["text", "a list", "a header of 2**60 bytes", "no JSON"],
)
def test_a_damaged_file_is_named(folder, content):
    (folder / FILES.s3gen).write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"s3gen\.safetensors cannot be read") as caught:
        named(folder)
    assert str(folder) not in caught.value.message


def save_pickled(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    torch.save(tensors, file)


@pytest.mark.parametrize("index", range(LAYERS))
def test_one_value_in_the_middle_of_a_large_pt_file_changes_it(tmp_path, monkeypatch, index):
    monkeypatch.setattr(files, "LARGEST_READ_WHOLE_BYTES", SAMPLED_TENSOR_BYTES)
    file, tensors = tmp_path / "s3gen.pt", make_layers()
    save_pickled(file, tensors)
    before = fingerprint([file])
    assert fingerprint([file]) == before
    tensors[f"layers.{index}.weight"][VALUES // 3] += 1
    save_pickled(file, tensors)
    assert fingerprint([file]) != before


def test_a_large_pt_file_that_is_cut_off_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_READ_WHOLE_BYTES", SAMPLED_TENSOR_BYTES)
    file = tmp_path / "s3gen.pt"
    save_pickled(file, make_layers())
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ModelUnavailable, match=r"s3gen\.pt cannot be read"):
        fingerprint([file])


@pytest.mark.parametrize("wrap", [dict, lambda state: {"model": state}, lambda state: {"model": [state]}])
def test_a_pt_file_is_read_as_upstream_nests_it(tmp_path, wrap):
    file, tensors = tmp_path / "t3.pt", make_layers()
    torch.save(wrap(tensors), file)
    weights = read_weights(file, torch.device("cpu"), ("layers.1.", "layers.2."))
    assert weights.keys() == {f"layers.{index}.{kind}" for index in (1, 2) for kind in ("weight", "bias")}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in weights.items())
    assert read_shapes(file) == {name: tuple(tensor.shape) for name, tensor in tensors.items()}


class Touch:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pt_file_with_code_is_refused_and_not_run(tmp_path):
    file, left = tmp_path / "t3.pt", tmp_path / "left"
    torch.save({"model": make_layers(), "extra": Touch(left)}, file)
    for read in (read_shapes, lambda file: read_weights(file, torch.device("cpu"))):
        with pytest.raises(ModelUnavailable, match=r"t3\.pt holds other objects.*convert it to safetensors"):
            read(file)
    assert not left.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (b"no weights", "damaged"),
        (b"PK\x03\x04" + bytes(1000), "damaged"),
        ([1, 2], "no table of tensors"),
        ({"epoch": 3}, "no table of tensors"),
        ({}, "no table of tensors"),
        ({"model": []}, "no table of tensors"),
    ],
    ids=str,
)
def test_a_pt_file_without_weights_is_named(tmp_path, content, reason):
    file = tmp_path / "t3.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ModelUnavailable, match=rf"t3\.pt.*{reason}"):
        read_weights(file, torch.device("cpu"))


def test_a_pt_file_of_before_version_1_6_is_to_be_converted(tmp_path):
    file = tmp_path / "t3.pt"
    torch.save(make_layers(), file, _use_new_zipfile_serialization=False)
    with pytest.raises(ModelUnavailable, match="before version 1.6.*convert it"):
        read_weights(file, torch.device("cpu"))
