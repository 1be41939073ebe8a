"""Resemble's PerTh watermark, on everything that the worker says."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from errors import ModelUnavailable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pkg_resources announces its end at every import
    import perth


class Watermarker:
    """Marks samples. Raises ModelUnavailable at once when the mark cannot be made."""

    def __init__(self) -> None:
        # perth imports pkg_resources, swallows its absence and leaves None behind; upstream then
        # fails at the first job with "'NoneType' object is not callable".
        if perth.PerthImplicitWatermarker is None:
            raise ModelUnavailable(
                "the watermarker cannot be imported because pkg_resources is missing; install "
                "requirements.txt as it is, with setuptools below 81"
            )
        with contextlib.redirect_stdout(io.StringIO()):  # it prints which step it loaded
            self._perth: Any = perth.PerthImplicitWatermarker()

    # Without inference_mode perth's network keeps the graph of every call, 6 MB for 4 s of audio.
    @torch.inference_mode()
    def mark(self, samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        """The samples with the mark, float32 [n], as long as they came."""
        marked = self._perth.apply_watermark(samples, sample_rate=sample_rate_hz)[: len(samples)]
        # perth works in whole frames and drops what is left over, a few milliseconds.
        return np.concatenate([marked, samples[len(marked) :]], dtype=np.float32)

    @torch.inference_mode()
    def confidence(self, samples: NDArray[np.float32], sample_rate_hz: int) -> float:
        """How sure the detector is that the mark is there, 0 to 1."""
        return float(np.mean(self._perth.get_watermark(samples, sample_rate=sample_rate_hz, round=False)))
