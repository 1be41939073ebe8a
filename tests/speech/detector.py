"""Resemble's own package, which tells marked audio from unmarked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


@torch.inference_mode()
def confidence(perth: Any, samples: np.ndarray, sample_rate_hz: int = 24_000) -> float:
    """How sure the detector is that the mark is there, 0 to 1."""
    return float(np.mean(perth.get_watermark(samples, sample_rate=sample_rate_hz, round=False)))
