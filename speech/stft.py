"""The inverse of the short-time Fourier transform, without a question to the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def overlap_add(windows: Tensor, hop: int) -> Tensor:
    """Adds windows up, each a hop after the last: [B, N, size] to [B, hop (N - 1) + size]."""
    count, size = windows.shape[1:]
    length = (count - 1) * hop + size
    return F.fold(windows.transpose(1, 2), (1, length), (1, size), stride=(1, hop))[:, 0, 0]


def inverse_stft(spectrum: Tensor, window: Tensor, hop: int) -> Tensor:
    """Returns what ``torch.istft`` does for centred frames, float32 [hop (N - 1)].

    spectrum: complex [bins, N]. ``torch.istft`` asks the device whether its windows leave a gap, which on a
    GPU waits for all that was submitted.
    """
    size = len(window)
    frames = torch.fft.irfft(spectrum.T, size) * window
    weights = window.square().expand(len(frames), -1)
    signal = overlap_add(frames[None], hop)[0] / overlap_add(weights[None], hop)[0].clamp(min=1e-11)
    return signal[size // 2 : -(size // 2)]
