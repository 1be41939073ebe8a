"""Resemble's PerTh watermark, on everything that the worker says."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
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

    def mark(self, samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        """The samples with the mark, float32 [n], as long as they came."""
        marked = self._perth.apply_watermark(samples, sample_rate=sample_rate_hz)
        return np.asarray(marked, dtype=np.float32)

    def confidence(self, samples: NDArray[np.float32], sample_rate_hz: int) -> float:
        """How sure the detector is that the mark is there, 0 to 1."""
        return float(np.mean(self._perth.get_watermark(samples, sample_rate=sample_rate_hz, round=False)))
