"""Mel spectrograms and the trimming of a reference recording, as upstream's encoders take them.

Upstream computes them with librosa (0.11) and torchaudio (2.10), whose imports, scipy.signal, numba and
scikit-learn among them, take more than ten seconds of CPU time. The functions of this module need NumPy and
PyTorch, and give the same values.
"""

from __future__ import annotations

import functools
import math
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
# Of the speech tokenizer's (``S3Tokenizer.log_mel_spectrogram``).
TOKENIZER_WINDOW, TOKENIZER_HOP, TOKENIZER_CHANNELS = 400, 160, 128
TOKENIZER_RANGE = 8.0  # below the loudest value, in powers of ten
# Of CAMPPlus' features (``torchaudio.compliance.kaldi.fbank`` with its defaults).
XVECTOR_WINDOW, XVECTOR_HOP, XVECTOR_CHANNELS, XVECTOR_FFT = 400, 160, 80, 512
XVECTOR_LOWEST_HZ, PREEMPHASIS, POVEY_EXPONENT = 20.0, 0.97, 0.85
# Of ``torchaudio.transforms.Resample`` with its defaults.
RESAMPLING_ZEROS, RESAMPLING_ROLLOFF = 6, 0.99
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


def tokenizer_mel(samples: Tensor) -> Tensor:
    """Returns the speech tokenizer's mel, float32 [128, T], of a recording [n] at 16 kHz.

    It is upstream's ``log_mel_spectrogram``, on the samples' device, with 100 frames a second.
    """
    window, filters = _tokenizer_tables(samples.device)
    spectrum = torch.stft(
        samples, TOKENIZER_WINDOW, TOKENIZER_HOP, window=window, pad_mode="reflect", return_complex=True
    )
    levels = (filters @ spectrum[:, :-1].abs() ** 2).clamp(min=1e-10).log10()
    return (torch.maximum(levels, levels.max() - TOKENIZER_RANGE) + 4.0) / 4.0


@functools.cache
def _tokenizer_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    filters = mel_filters(
        ENCODER_SAMPLE_RATE_HZ, TOKENIZER_WINDOW, TOKENIZER_CHANNELS, ENCODER_SAMPLE_RATE_HZ / 2
    )
    with torch.inference_mode(mode=False):
        return torch.hann_window(TOKENIZER_WINDOW, device=device), torch.tensor(filters, device=device)


def xvector_features(samples: Tensor) -> Tensor:
    """Returns CAMPPlus' features, float32 [T, 80], of a recording [n] at 16 kHz, n >= 400.

    They are those of upstream's ``extract_feature``: the filter bank of Kaldi's ``compute-fbank-feats`` in
    natural logarithms, 100 frames a second, less its mean over time.
    """
    window, filters = _xvector_tables(samples.device)
    frames = samples.unfold(0, XVECTOR_WINDOW, XVECTOR_HOP)
    frames = frames - frames.mean(dim=1, keepdim=True)
    # The first sample of a frame is its own predecessor.
    frames = frames - PREEMPHASIS * torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    power = torch.fft.rfft(frames * window, XVECTOR_FFT).abs() ** 2
    levels = (power @ filters).clamp(min=torch.finfo(torch.float32).eps).log()
    features: Tensor = levels - levels.mean(dim=0, keepdim=True)
    return features


@functools.cache
def _xvector_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns the window, [400], and the filters, [257, 80]: triangles on Kaldi's mel scale."""
    low, high = (1127.0 * math.log1p(hz / 700.0) for hz in (XVECTOR_LOWEST_HZ, ENCODER_SAMPLE_RATE_HZ / 2))
    with torch.inference_mode(mode=False):
        # In single precision, as torchaudio computes them.
        step = (high - low) / (XVECTOR_CHANNELS + 1)
        edges = low + torch.arange(XVECTOR_CHANNELS + 2)[:, None] * step
        bins_hz = torch.arange(XVECTOR_FFT // 2) * (ENCODER_SAMPLE_RATE_HZ / XVECTOR_FFT)
        mels = 1127.0 * (1.0 + bins_hz / 700.0).log()
        rising = (mels - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - mels) / (edges[2:] - edges[1:-1])
        triangles = torch.minimum(rising, falling).clamp(min=0)
        filters = F.pad(triangles, (0, 1)).T.contiguous()  # nothing of 8 kHz
        window = torch.hann_window(XVECTOR_WINDOW, periodic=False).pow(POVEY_EXPONENT)
        return window.to(device), filters.to(device)


def resample_prompt(samples: Tensor) -> Tensor:
    """Resamples [B, n] from 24 to 16 kHz, float32 [B, ceil(2n / 3)].

    By a windowed sinc as ``torchaudio.transforms.Resample``, with which upstream resamples S3Gen's prompt.
    """
    kernels = _resampling_kernels(samples.device)
    _, step, margin = _resampling_ratio()
    padded = F.pad(samples[:, None], (margin, margin + step))
    resampled = F.conv1d(padded, kernels, stride=step).transpose(1, 2).flatten(1)
    return resampled[:, : -(-samples.shape[1] * len(kernels) // step)]


def _resampling_ratio() -> tuple[int, int, int]:
    """Returns how many samples come out for how many that go in, and the kernels' reach on either side."""
    divisor = math.gcd(MODEL_SAMPLE_RATE_HZ, ENCODER_SAMPLE_RATE_HZ)
    outputs, inputs = ENCODER_SAMPLE_RATE_HZ // divisor, MODEL_SAMPLE_RATE_HZ // divisor
    return outputs, inputs, math.ceil(RESAMPLING_ZEROS * inputs / (outputs * RESAMPLING_ROLLOFF))


@functools.cache
def _resampling_kernels(device: torch.device) -> Tensor:
    """Returns a sinc under a Hann window for each place between two input samples, [2, 1, 23]."""
    outputs, inputs, margin = _resampling_ratio()
    cutoff = outputs * RESAMPLING_ROLLOFF
    times = np.arange(-margin, margin + inputs) / inputs - np.arange(outputs)[:, None] / outputs
    zeros = np.clip(times * cutoff, -RESAMPLING_ZEROS, RESAMPLING_ZEROS)
    window = np.cos(np.pi * zeros / RESAMPLING_ZEROS / 2) ** 2
    kernels = np.sinc(zeros) * window * cutoff / inputs
    with torch.inference_mode(mode=False):
        return torch.tensor(kernels[:, None], dtype=torch.float32, device=device)


def trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a recording [n] without what is 20 dB below its loudest frame at both ends.

    It is ``librosa.effects.trim`` with ``top_db=20``. Of silence all is returned.
    """
    padded = np.pad(samples, TRIM_WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, TRIM_WINDOW)[::TRIM_HOP]
    power = np.maximum(1e-10, np.mean(np.square(frames), axis=1))
    (loud,) = np.nonzero(10 * np.log10(power / power.max()) > -TRIM_DB)
    return samples[loud[0] * TRIM_HOP : (loud[-1] + 1) * TRIM_HOP]
