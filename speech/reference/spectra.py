"""Mel spectrograms and the trimming of a reference recording, as upstream's encoders take them.

Upstream computes them with librosa (0.11), which imports scipy.signal, numba and scikit-learn for it: some
ten seconds of CPU time for the first voice of a worker. The functions of this module need NumPy and PyTorch,
and give the same values.
"""

from __future__ import annotations

import functools
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audio.waveform import MODEL_SAMPLE_RATE_HZ

ENCODER_SAMPLE_RATE_HZ = 16_000  # of the voice encoder, the speech tokenizer and the x-vector

# Of S3Gen's mel (``s3gen.utils.mel.mel_spectrogram``).
S3GEN_WINDOW, S3GEN_HOP, S3GEN_CHANNELS, S3GEN_HIGHEST_HZ = 1920, 480, 80, 8000
# Of the voice encoder's (``VoiceEncConfig``).
VOICE_WINDOW, VOICE_HOP, VOICE_CHANNELS = 400, 160, 40
# Of ``librosa.effects.trim``.
TRIM_WINDOW, TRIM_HOP, TRIM_DB = 2048, 512, 20

# Slaney's mel scale: linear up to 1 kHz, logarithmic above.
LINEAR_HZ_PER_MEL, LOGARITHMIC_FROM_HZ, LOGARITHMIC_STEP = 200 / 3, 1000.0, np.log(6.4) / 27
LOGARITHMIC_FROM_MEL = LOGARITHMIC_FROM_HZ / LINEAR_HZ_PER_MEL


@functools.cache
def mel_filters(sample_rate_hz: int, window: int, channels: int, highest_hz: float) -> NDArray[np.float32]:
    """Returns what ``librosa.filters.mel`` does: triangular filters, float32 [channels, 1 + window // 2]."""
    highest_mel = LOGARITHMIC_FROM_MEL + np.log(highest_hz / LOGARITHMIC_FROM_HZ) / LOGARITHMIC_STEP
    mels = np.linspace(0.0, highest_mel, channels + 2)
    edges_hz = LINEAR_HZ_PER_MEL * mels
    above = mels >= LOGARITHMIC_FROM_MEL
    edges_hz[above] = LOGARITHMIC_FROM_HZ * np.exp(LOGARITHMIC_STEP * (mels[above] - LOGARITHMIC_FROM_MEL))
    distances = np.subtract.outer(edges_hz, np.fft.rfftfreq(window, 1 / sample_rate_hz))
    widths = np.diff(edges_hz)[:, None]
    rising, falling = -distances[:-2] / widths[:-1], distances[2:] / widths[1:]
    # Rounded before it is scaled, as librosa does.
    filters: NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    filters.flags.writeable = False
    return filters


def s3gen_mel(samples: Tensor) -> Tensor:
    """Returns the mel spectrogram, float32 [B, 80, T], of recordings [B, n] at 24 kHz.

    It is upstream's ``mel_spectrogram``, on the samples' device, with 50 frames a second.
    """
    window, filters = _s3gen_tables(samples.device)
    margin = (S3GEN_WINDOW - S3GEN_HOP) // 2
    padded = F.pad(samples[:, None], (margin, margin), mode="reflect")[:, 0]
    spectrum = torch.stft(
        padded, S3GEN_WINDOW, S3GEN_HOP, window=window, center=False, onesided=True, return_complex=True
    )
    magnitudes = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)
    return (filters @ magnitudes).clamp(min=1e-5).log()


@functools.cache
def _s3gen_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    filters = mel_filters(MODEL_SAMPLE_RATE_HZ, S3GEN_WINDOW, S3GEN_CHANNELS, S3GEN_HIGHEST_HZ)
    # Tensors made in inference mode could not take part in a training step later.
    with torch.inference_mode(mode=False):
        return torch.hann_window(S3GEN_WINDOW, device=device), torch.tensor(filters, device=device)


def voice_encoder_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the voice encoder's mel, float32 [T, 40], of a recording [n] at 16 kHz.

    It is upstream's ``melspectrogram``, with 100 frames a second.
    """
    padded = np.pad(samples, VOICE_WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, VOICE_WINDOW)[::VOICE_HOP]
    # In double precision up to here, as ``librosa.stft`` computes it.
    spectrum = np.fft.rfft(frames * _hann(VOICE_WINDOW)).astype(np.complex64)
    filters = mel_filters(ENCODER_SAMPLE_RATE_HZ, VOICE_WINDOW, VOICE_CHANNELS, ENCODER_SAMPLE_RATE_HZ / 2)
    return cast("NDArray[np.float32]", (np.abs(spectrum) ** 2) @ filters.T)


@functools.cache
def _hann(length: int) -> NDArray[np.float64]:
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return window


def trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a recording [n] without what is 20 dB below its loudest frame at both ends.

    It is ``librosa.effects.trim`` with ``top_db=20``. Of silence all is returned.
    """
    padded = np.pad(samples, TRIM_WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, TRIM_WINDOW)[::TRIM_HOP]
    power = np.maximum(1e-10, np.mean(np.square(frames), axis=1))
    (loud,) = np.nonzero(10 * np.log10(power / power.max()) > -TRIM_DB)
    return samples[loud[0] * TRIM_HOP : (loud[-1] + 1) * TRIM_HOP]
