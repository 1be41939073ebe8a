"""Upstream's voice conversion around the same weights: what ours is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from chatterbox.vc import ChatterboxVC


class Unmarked:
    """In place of upstream's watermarker."""

    def apply_watermark(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        return samples


def upstream_vc(s3gen: Any, conds: Path) -> ChatterboxVC:
    """Upstream's class around an S3Gen, with the built-in voice as the target and without a watermark."""
    builtin = torch.load(conds, map_location="cpu", weights_only=True)["gen"]
    vc = ChatterboxVC(s3gen, "cpu", ref_dict=builtin)
    vc.watermarker = Unmarked()
    return vc


def wav_file(folder: Path, samples: np.ndarray, name: str = "source.wav") -> Path:
    """A file of a recording at 24 kHz, the only way that upstream takes one."""
    file = folder / name
    soundfile.write(file, samples, 24_000, subtype="FLOAT")
    return file


def generate(vc: ChatterboxVC, file: Path, seed: int, target: Path | None = None) -> np.ndarray:
    torch.manual_seed(seed)
    return vc.generate(str(file), target_voice_path=target and str(target))[0].numpy()
