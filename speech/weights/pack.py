"""Packed weights: everything that speaking in a known voice reads of a checkpoint, in one file.

It holds T3 in bfloat16, in which T3 computes where the device can, and S3Gen without what only new references
need: 60 % of the size. The file lies beside those it was made of and names their fingerprint: when they
change, it is passed over.
"""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speech.models.spec import WeightFiles
from speech.weights.files import S3GEN_PREFIXES, read_weights

log = logging.getLogger(__name__)

PACKED_FILE = "speaking.safetensors"
FORMAT = "chatterbox-voice-worker packed/1"
T3, S3GEN = "t3.", "s3gen."


def write_packed(folder: Path, files: WeightFiles, fingerprint: str) -> Path:
    """Packs the checkpoint in a folder and returns the file. Raises ModelUnavailable, OSError.

    fingerprint: of the checkpoint, see ``speech.weights.files.fingerprint``.
    """
    cpu = torch.device("cpu")
    t3 = {T3 + name: tensor.bfloat16() for name, tensor in read_weights(folder / files.t3, cpu).items()}
    s3gen = read_weights(folder / files.s3gen, cpu, S3GEN_PREFIXES)
    tensors = t3 | {S3GEN + name: tensor for name, tensor in s3gen.items()}
    file, unfinished = folder / PACKED_FILE, folder / f".{PACKED_FILE}.{uuid.uuid4().hex}.tmp"
    try:
        save_file(tensors, unfinished, metadata={"format": FORMAT, "made_of": fingerprint})
        # The library's files are for their owner alone; these are for whoever reads the others.
        unfinished.chmod((folder / files.t3).stat().st_mode & 0o777)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file


def read_packed(
    folder: Path, fingerprint: str, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    """Reads T3's and S3Gen's weights, by upstream's names.

    Returns None where there is no file that fits the checkpoint.
    """
    file = folder / PACKED_FILE
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt", device=str(device)) as opened:
            metadata = opened.metadata() or {}
            if (metadata.get("format"), metadata.get("made_of")) != (FORMAT, fingerprint):
                log.warning("%s was made of other weights: passed over; pack them again", PACKED_FILE)
                return None
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        log.warning("%s cannot be read: passed over; pack the weights again (%s)", PACKED_FILE, error)
        return None
    return _below(T3, tensors), _below(S3GEN, tensors)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
