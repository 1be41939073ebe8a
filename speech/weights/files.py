"""Safetensors files of a checkpoint: reading them, checking what they hold, and naming their content."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from errors import ModelUnavailable

log = logging.getLogger(__name__)

LARGEST_HEADER_BYTES = 100_000_000  # what the safetensors library accepts
SAMPLED_TENSOR_BYTES, SAMPLE_BYTES = 1 << 18, 256
# Of the weights in S3Gen's file, those that speaking takes (``S3Gen.state_dict()``, chatterbox-tts 0.1.7).
# The rest is for new references.
S3GEN_PREFIXES = ("flow.", "mel2wav.")


def read_weights(file: Path, device: torch.device, prefixes: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """Reads the tensors whose names begin with one of the prefixes. Raises ModelUnavailable."""
    try:
        with safe_open(file, framework="pt", device=str(device)) as opened:
            return {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefixes)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from error


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
    and a sample from the middle of every large tensor; of other files over the whole content. A fine-tune
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
                else:
                    digest.update(stream.read())
        except (OSError, ValueError) as error:
            raise _unreadable(file, error) from error
    return digest.hexdigest()[:16]


def digest_of_tensors(file: Path, names: Collection[str]) -> str:
    """Returns 64 hex digits that name the content of some of a safetensors file's tensors.

    SHA-256 over name, dtype and shape of each, and over its values: all of a small one, a sample from the
    middle of a large one. Names that the file lacks do not count. Raises ModelUnavailable.
    """
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            entries, values_start, _ = _read_header(stream)
            for name in sorted(entries.keys() & set(names)):
                entry = entries[name]
                digest.update(f"{name}:{entry['dtype']}:{entry['shape']}:".encode())
                start, end = entry["data_offsets"]
                is_large = end - start >= SAMPLED_TENSOR_BYTES
                stream.seek(values_start + ((start + end) // 2 if is_large else start))
                digest.update(stream.read(SAMPLE_BYTES if is_large else end - start))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(file, error) from error
    return digest.hexdigest()


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


def _unreadable(file: Path, error: Exception) -> ModelUnavailable:
    return ModelUnavailable(
        f"{file.name} cannot be read ({error.__class__.__name__})", hint="download the weights again"
    )
