"""Resemble's PerTh watermark, which everything that the worker says carries.

The same samples within rounding as ``PerthImplicitWatermarker.apply_watermark`` of resemble-perth 1.0 gives,
with the weights of that package and without its import, which takes seconds.
"""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audio.waveform import Waveform, resample
from errors import ModelUnavailable

WEIGHTS = Path("perth_net/pretrained/implicit/perth_net_250000.pth.tar")
# Of hparams.yaml beside them.
SAMPLE_RATE_HZ = 32_000
FFT_SIZE, HOP = 2048, 320
MARKED_BINS = 128  # up to 2 kHz
SMALLEST_MAGNITUDE, HEADROOM_DB = 1e-9, 15.0

# ``perth_net_implicit.utils.normalize`` and back.
_FLOOR_DB = 20 * np.log10(SMALLEST_MAGNITUDE)
_RANGE_DB = HEADROOM_DB - _FLOOR_DB
_LOUDEST_EXPONENT = 10.0
_QUIET = 0.05  # frames below this share of the loudest stay unmarked
_LAYERS = 7


class Watermarker:
    """Adds the watermark to samples, on the CPU. Thread-safe."""

    def __init__(self) -> None:
        """Reads the weights. Raises ModelUnavailable when they are not there."""
        package = importlib.util.find_spec("perth")
        places = package.submodule_search_locations if package else None
        try:
            file = Path((places or [""])[0]) / WEIGHTS
            weights = torch.load(file, map_location="cpu", weights_only=True)["model"]
            self._layers = [
                (weights[f"encoder.layers.{index}.conv.weight"], weights[f"encoder.layers.{index}.conv.bias"])
                for index in range(_LAYERS)
            ]
        except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
            raise ModelUnavailable(
                "the watermark's weights cannot be read",
                hint="install resemble-perth as requirements.txt has it",
            ) from error
        self._window = torch.hann_window(FFT_SIZE)

    @torch.inference_mode()
    def mark(self, samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        """Returns the samples with the watermark, float32 [n], as long as they were."""
        audio_32k = torch.tensor(resample(Waveform(samples, sample_rate_hz), SAMPLE_RATE_HZ).samples)
        # librosa's resampling, which PerTh uses, rounds the length up.
        audio_32k = F.pad(
            audio_32k, (0, -(-len(samples) * SAMPLE_RATE_HZ // sample_rate_hz) - len(audio_32k))
        )
        spectrum = torch.stft(audio_32k, FFT_SIZE, HOP, FFT_SIZE, self._window, return_complex=True)
        levels = (20 * torch.log10(spectrum.abs().clamp(min=SMALLEST_MAGNITUDE)) - _FLOOR_DB) / _RANGE_DB
        marked_levels = self._encode(levels) * _RANGE_DB + _FLOOR_DB
        magnitudes = 10.0 ** (marked_levels / 20).clamp(max=_LOUDEST_EXPONENT)
        marked_spectrum = torch.polar(magnitudes, spectrum.angle())
        signal = torch.istft(marked_spectrum, FFT_SIZE, HOP, FFT_SIZE, self._window).numpy()
        marked = resample(Waveform(signal, SAMPLE_RATE_HZ), sample_rate_hz).samples[: len(samples)]
        # The inverse STFT gives whole frames only; the last milliseconds stay unmarked.
        return np.concatenate([marked, samples[len(marked) :]], dtype=np.float32)

    def _encode(self, levels: Tensor) -> Tensor:
        """Returns levels with the watermark in the lower bins of loud frames. levels: [bins, frames]."""
        by_frame = levels.sum(dim=0)
        loud = by_frame > by_frame.max() * _QUIET
        hidden = levels[None, :MARKED_BINS]
        for index, (weight, bias) in enumerate(self._layers):
            hidden = F.conv1d(hidden, weight, bias, padding=weight.shape[2] // 2)
            if index < _LAYERS - 1:
                hidden = F.leaky_relu(hidden)
        return torch.cat([levels[:MARKED_BINS] + hidden[0] * loud, levels[MARKED_BINS:]])
