"""Files of weights: reading them, checking what they hold, and naming their content.

They are safetensors files, or ``.pt`` files with tensors alone, as ``torch.save`` writes them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from errors import ModelUnavailable

log = logging.getLogger(__name__)

LARGEST_HEADER_BYTES = 100_000_000  # what the safetensors library accepts
SAMPLED_TENSOR_BYTES, SAMPLE_BYTES = 1 << 18, 256
LARGEST_READ_WHOLE_BYTES = 1 << 24  # of a .pt file: the built-in voice, the voice encoder
# Of the weights in S3Gen's file, those that speaking takes (``S3Gen.state_dict()``, chatterbox-tts 0.1.7).
# The rest is for new references.
FLOW_PREFIX, VOCODER_PREFIX = S3GEN_PREFIXES = ("flow.", "mel2wav.")


def read_weights(file: Path, device: torch.device, prefixes: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """Reads the tensors whose names begin with one of the prefixes. Raises ModelUnavailable."""
    if file.suffix == ".pt":
        state = _open_pickled(file)
        return {name: state[name].to(device) for name in state if name.startswith(prefixes)}
    try:
        with safe_open(file, framework="pt", device=str(device)) as opened:
            return {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefixes)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from error


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of a file's tensors, without reading these. Raises ModelUnavailable."""
    if file.suffix == ".pt":
        return {name: tuple(tensor.shape) for name, tensor in _open_pickled(file).items()}
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from error


def _open_pickled(file: Path) -> dict[str, Tensor]:
    """Returns the tensors of a ``.pt`` file, which stay in the file until they are used.

    No code of the file is run. Raises ModelUnavailable.
    """
    how_to_convert = "convert it to safetensors on a machine where you trust it, see docs/models.md"
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(
            f"{file.name} holds other objects than tensors, which may run code: it is not read",
            hint=how_to_convert,
        ) from error
    except Exception as error:  # torch raises what its readers come upon in a damaged file
        if file.is_file() and not zipfile.is_zipfile(file):
            raise ModelUnavailable(
                f"{file.name} is damaged, or in torch.save's format of before version 1.6",
                hint=f"download the weights again, or {how_to_convert}",
            ) from error
        raise _unreadable(file, error) from error
    state = _state_dict(content)
    if state is None:
        raise ModelUnavailable(f"{file.name} holds no table of tensors", hint=how_to_convert)
    return state


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    """Returns the tensors by name, which upstream's training keeps as the first entry of "model"."""
    if isinstance(content, dict) and "model" in content and not isinstance(content["model"], Tensor):
        content = content["model"]
        if isinstance(content, list | tuple) and content:
            content = content[0]
    if not isinstance(content, dict) or not content:
        return None
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return None
    return dict(content)


def check_shapes(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    file: str,
    *,
    may_lack: frozenset[str] = frozenset(),
    may_exceed: bool = False,
) -> None:
    """Raises ModelUnavailable unless the weights have the expected names and shapes.

    may_lack: names that need not be there. may_exceed: whether other names are accepted.
    """
    lacking = expected.keys() - weights.keys() - may_lack
    excess = weights.keys() - expected.keys()
    misshapen = {name for name in expected.keys() & weights.keys() if expected[name] != weights[name].shape}
    if lacking or misshapen or (excess and not may_exceed):
        log.error(
            "%s: lacking %s, misshapen %s, excess %s",
            file,
            sorted(lacking),
            sorted(misshapen),
            sorted(excess),
        )
        raise ModelUnavailable(
            f"{file} does not fit this model: {len(lacking)} tensors are missing, {len(misshapen)} have "
            f"another shape, {len(excess)} are unknown",
            hint="use the files of one published revision",
        )


def fingerprint(files: Iterable[Path]) -> str:
    """Returns 16 hex digits that name the content of files of weights without reading gigabytes.

    SHA-256 over each file's name and size; of safetensors files over the header, which lists every tensor,
    and a sample from the middle of every large tensor; of large ``.pt`` files over the archive's list, which
    has a checksum of every tensor, and such samples; of other files over the whole content. A fine-tune
    that keeps all shapes changes the samples; a change of a few rows of one table alone may not. Raises
    ModelUnavailable.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        if not file.exists():
            continue
        digest.update(f"{file.name}:{file.stat().st_size}:".encode())
        try:
            with file.open("rb") as stream:
                if file.suffix == ".safetensors":
                    _digest_safetensors(digest, stream)
                elif file.suffix == ".pt" and file.stat().st_size > LARGEST_READ_WHOLE_BYTES:
                    _digest_archive(digest, stream)
                else:
                    digest.update(stream.read())
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise _unreadable(file, error) from error
    return digest.hexdigest()[:16]


def digest_of_tensors(file: Path, names: Collection[str]) -> str:
    """Returns 64 hex digits that name the content of some of a file's tensors.

    SHA-256 over name, dtype and shape of each, and over its values: all of a small one, a sample from the
    middle of a large one. Names that the file lacks do not count. Raises ModelUnavailable.
    """
    digest = hashlib.sha256()
    for name, kind, values in (
        _sampled_pickled(file, names) if file.suffix == ".pt" else _sampled(file, names)
    ):
        digest.update(f"{name}:{kind}:".encode())
        digest.update(values)
    return digest.hexdigest()


def _sampled(file: Path, names: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yields name, dtype and shape, and sampled values of a safetensors file's tensors."""
    try:
        with file.open("rb") as stream:
            entries, values_start, _ = _read_header(stream)
            for name in sorted(entries.keys() & set(names)):
                entry = entries[name]
                start, end = entry["data_offsets"]
                is_large = end - start >= SAMPLED_TENSOR_BYTES
                stream.seek(values_start + ((start + end) // 2 if is_large else start))
                sample = stream.read(SAMPLE_BYTES if is_large else end - start)
                yield name, f"{entry['dtype']}:{entry['shape']}", sample
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(file, error) from error


def _sampled_pickled(file: Path, names: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yields the same of a ``.pt`` file's tensors."""
    state = _open_pickled(file)
    for name in sorted(state.keys() & set(names)):
        tensor = state[name]
        values = tensor.reshape(-1).view(torch.uint8)
        if len(values) >= SAMPLED_TENSOR_BYTES:
            values = values[len(values) // 2 :][:SAMPLE_BYTES]
        yield name, f"{tensor.dtype}:{list(tensor.shape)}", values.numpy().tobytes()


def _digest_safetensors(digest: hashlib._Hash, stream: BinaryIO) -> None:
    """Adds the header and samples of large tensors. Raises ValueError for a file of another format."""
    entries, values_start, header = _read_header(stream)
    digest.update(header)
    for start, end in sorted(entry["data_offsets"] for entry in entries.values()):
        if end - start >= SAMPLED_TENSOR_BYTES:
            stream.seek(values_start + (start + end) // 2)
            digest.update(stream.read(SAMPLE_BYTES))


def _read_header(stream: BinaryIO) -> tuple[dict[str, Any], int, bytes]:
    """Returns a safetensors file's entries by tensor, where their values begin, and the header as it is.

    The format: https://github.com/huggingface/safetensors#format. Raises ValueError for another one.
    """
    length = int.from_bytes(stream.read(8), "little")
    if length > LARGEST_HEADER_BYTES:
        raise ValueError("the header is too long")
    header = stream.read(length)
    entries = json.loads(header)
    if not isinstance(entries, dict):
        raise ValueError("the header is no object")
    entries.pop("__metadata__", None)
    return entries, 8 + length, header


def _digest_archive(digest: hashlib._Hash, stream: BinaryIO) -> None:
    """The format is zip, without compression. Raises zipfile.BadZipFile for another one."""
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
    for entry in entries:
        digest.update(f"{entry.filename}:{entry.file_size}:{entry.CRC}:".encode())
        if entry.file_size >= SAMPLED_TENSOR_BYTES:
            stream.seek(entry.header_offset + entry.file_size // 2)
            digest.update(stream.read(SAMPLE_BYTES))


def _unreadable(file: Path, error: Exception) -> ModelUnavailable:
    return ModelUnavailable(
        f"{file.name} cannot be read ({error.__class__.__name__})", hint="download the weights again"
    )
