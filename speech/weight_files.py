"""Safetensors files of a checkpoint: their names, reading them, and what they must hold."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from errors import ModelUnavailable

log = logging.getLogger(__name__)

T3_FILE, S3GEN_FILE, VOICE_ENCODER_FILE = "t3_cfg.safetensors", "s3gen.safetensors", "ve.safetensors"
# Of the weights in S3Gen's file that speaking takes (``S3Gen.state_dict()``, chatterbox-tts 0.1.7). The
# rest is for new references.
S3GEN_PREFIXES = ("flow.", "mel2wav.")


def read_weights(file: Path, device: torch.device, prefixes: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """The tensors whose names begin with one of the prefixes. Raises ModelUnavailable."""
    try:
        with safe_open(file, framework="pt", device=str(device)) as opened:
            return {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefixes)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelUnavailable(
            f"{file.name} cannot be read ({error.__class__.__name__}); download the weights again"
        ) from error


def check_shapes(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    file: str,
    *,
    may_lack: frozenset[str] = frozenset(),
    may_exceed: bool = False,
) -> None:
    """Raises ModelUnavailable unless these are the tensors that the model has."""
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
            f"another shape, {len(excess)} are unknown; use the files of one published revision"
        )


def fingerprint(folder: Path, files: tuple[str, ...]) -> str:
    """16 hex digits that name a folder of weights without reading gigabytes.

    SHA-256 over each file's name, size and first and last MiB: the safetensors headers, which
    list every tensor, are in the first.
    """
    digest = hashlib.sha256()
    mebibyte = 1 << 20
    for name in sorted(files):
        file = folder / name
        if not file.exists():
            continue
        size = file.stat().st_size
        digest.update(f"{name}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(mebibyte))
            stream.seek(max(0, size - mebibyte))
            digest.update(stream.read(mebibyte))
    return digest.hexdigest()[:16]
