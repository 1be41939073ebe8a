"""Packed weights: what speaking in a known voice reads of T3's and S3Gen's files, in smaller files.

T3's is in bfloat16, in which T3 computes where the device can; S3Gen's is without what only new references
need. Together they have 60 % of the size. Each lies beside the file that it was made of and names its
fingerprint: when that changes, it is passed over. Models that share a file share the packed one.
"""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speech.models.spec import ModelSpec
from speech.weights.checkpoint import Checkpoint
from speech.weights.files import S3GEN_PREFIXES, fingerprint, read_weights

log = logging.getLogger(__name__)

PREFIX = "speaking-"  # before the name of the file that a packed one was made of
FORMAT = "chatterbox-voice-worker packed/2"
_CPU = torch.device("cpu")


def packed_path(file: Path) -> Path:
    """Returns where the packed weights of a file lie."""
    return file.with_name(f"{PREFIX}{file.stem}.safetensors")


def pack_model(spec: ModelSpec, checkpoint: Checkpoint) -> list[Path]:
    """Packs a model's T3 and S3Gen, and returns the files. Raises ModelUnavailable, OSError.

    A packed file that fits is not written again.
    """
    t3, s3gen = checkpoint.file(spec.files.t3), checkpoint.file(spec.files.s3gen)
    if not _is_packed(t3):
        _write(t3, {name: tensor.bfloat16() for name, tensor in read_weights(t3, _CPU).items()})
    if not _is_packed(s3gen):
        _write(s3gen, read_weights(s3gen, _CPU, S3GEN_PREFIXES))
    return [packed_path(t3), packed_path(s3gen)]


def _is_packed(file: Path) -> bool:
    try:
        with safe_open(packed_path(file), framework="pt") as opened:
            return bool(opened.metadata() == _metadata(file))
    except (SafetensorError, OSError):
        return False


def _metadata(file: Path) -> dict[str, str]:
    return {"format": FORMAT, "made_of": fingerprint([file])}


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    packed = packed_path(file)
    unfinished = packed.with_name(f".{packed.name}.{uuid.uuid4().hex}.tmp")
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, _metadata(file)
        )
        # The library's files are for their owner alone; these are for whoever reads the others.
        unfinished.chmod(file.stat().st_mode & 0o777)
        unfinished.replace(packed)
    finally:
        unfinished.unlink(missing_ok=True)


def read_packed(file: Path, device: torch.device) -> dict[str, Tensor] | None:
    """Reads the packed weights of T3's or S3Gen's file, by upstream's names.

    Returns None where there are none that fit the file. Raises ModelUnavailable when that is damaged.
    """
    packed = packed_path(file)
    if not packed.exists():
        return None
    try:
        with safe_open(packed, framework="pt", device=str(device)) as opened:
            if opened.metadata() != _metadata(file):
                log.warning("%s was made of other weights: passed over; pack them again", packed.name)
                return None
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        log.warning("%s cannot be read: passed over; pack the weights again (%s)", packed.name, error)
        return None
