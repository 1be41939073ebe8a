"""Vocoder: mel spectrogram to samples. ``HiFTGenerator``, a neural source filter with an inverse STFT."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.weights import WeightsView, conv, linear

SAMPLE_RATE_HZ = 24_000
UPSAMPLING = ((8, 16), (5, 11), (3, 7))  # rate and kernel of each stage
KERNELS_A_STAGE = 3
DILATIONS = (1, 3, 5)
FFT_SIZE, HOP = 16, 4
SAMPLES_A_FRAME = math.prod(rate for rate, _ in UPSAMPLING) * HOP
HARMONICS = 9
SINE_AMPLITUDE, NOISE_AMPLITUDE = 0.1, 0.003
VOICED_ABOVE_HZ = 10.0
SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky ReLUs; the last has PyTorch's own
LARGEST_MAGNITUDE, LARGEST_SAMPLE = 1e2, 0.99
SNAKE_EPSILON = 1e-9


def draw_phases(generator: torch.Generator) -> Tensor:
    """Draws the initial phases of the harmonics, float32 [1, 9, 1], in radians; the fundamental's is 0.

    generator: on the CPU, as upstream draws them even on a GPU.
    """
    phases = torch.rand(1, HARMONICS, 1, generator=generator) * (2 * torch.pi) - torch.pi
    phases[:, 0] = 0
    return phases


def vocode(hift: WeightsView, mel: Tensor, phases: Tensor, generator: torch.Generator) -> Tensor:
    """Returns samples at 24 kHz, float32 [480 a frame].

    mel: float32 [1, 80, T]. phases: see ``draw_phases``, on the mel's device. generator: on the mel's device,
    the noise of the source is drawn from it.
    """
    pitch = _predict_pitch(hift / "f0_predictor", mel)
    source = _source(hift / "m_source" / "l_linear", pitch, phases, generator)
    window = torch.hann_window(FFT_SIZE, device=mel.device)
    spectrum = torch.stft(source, FFT_SIZE, HOP, FFT_SIZE, window, return_complex=True)
    excitation = torch.cat([spectrum.real, spectrum.imag], dim=1)

    hidden = conv(mel, hift / "conv_pre", padding=3)
    for stage, (rate, kernel) in enumerate(UPSAMPLING):
        up = hift / "ups" / stage
        hidden = F.conv_transpose1d(
            F.leaky_relu(hidden, SLOPE), up["weight"], up.bias, rate, (kernel - rate) // 2
        )
        if stage == len(UPSAMPLING) - 1:
            hidden = F.pad(hidden, (1, 0), mode="reflect")
        hidden = hidden + _excite(hift, stage, excitation)
        branches = [
            _residual(hift / "resblocks" / (stage * KERNELS_A_STAGE + index), hidden)
            for index in range(KERNELS_A_STAGE)
        ]
        hidden = sum(branches[1:], branches[0]) / KERNELS_A_STAGE
    spread = conv(F.leaky_relu(hidden, LAST_SLOPE), hift / "conv_post", padding=3)
    bins = FFT_SIZE // 2 + 1
    magnitude = spread[:, :bins].exp().clamp(max=LARGEST_MAGNITUDE)
    spectrum = torch.polar(magnitude, spread[:, bins:].sin())
    samples = torch.istft(spectrum, FFT_SIZE, HOP, FFT_SIZE, window)
    return samples[0].clamp(-LARGEST_SAMPLE, LARGEST_SAMPLE)


def _predict_pitch(predictor: WeightsView, mel: Tensor) -> Tensor:
    """Returns the fundamental frequency in Hz, [1, T]; near 0 where nothing is voiced."""
    hidden = mel
    for index in range(0, 10, 2):  # every other one is an activation
        hidden = F.elu(conv(hidden, predictor / "condnet" / index, padding=1))
    return linear(hidden.transpose(1, 2), predictor / "classifier").squeeze(-1).abs()


def _source(mixer: WeightsView, pitch: Tensor, phases: Tensor, generator: torch.Generator) -> Tensor:
    """Returns sines at the pitch and its harmonics where voiced, noise elsewhere: [1, samples]."""
    by_sample = pitch.repeat_interleave(SAMPLES_A_FRAME, dim=1)[:, None]
    multiples = torch.arange(1, HARMONICS + 1, dtype=torch.float32, device=pitch.device)[:, None]
    cycles = torch.cumsum(by_sample * multiples / SAMPLE_RATE_HZ, dim=-1) % 1
    voiced = (by_sample > VOICED_ABOVE_HZ).float()
    sines = SINE_AMPLITUDE * torch.sin(2 * torch.pi * cycles + phases)
    noise_amplitude = voiced * NOISE_AMPLITUDE + (1 - voiced) * SINE_AMPLITUDE / 3
    noise = torch.randn(sines.shape, generator=generator, device=sines.device)
    harmonics = sines * voiced + noise_amplitude * noise
    return linear(harmonics.transpose(1, 2), mixer).tanh().squeeze(-1)


def _excite(hift: WeightsView, stage: int, excitation: Tensor) -> Tensor:
    rate = math.prod(rate for rate, _ in UPSAMPLING[stage + 1 :])
    down = hift / "source_downs" / stage
    lowered = conv(excitation, down, stride=rate, padding=rate // 2 if rate > 1 else 0)
    return _residual(hift / "source_resblocks" / stage, lowered)


def _residual(block: WeightsView, hidden: Tensor) -> Tensor:
    """``ResBlock``: dilated convolutions between snakes."""
    for index, dilation in enumerate(DILATIONS):
        first, second = block / "convs1" / index, block / "convs2" / index
        reach = first["weight"].shape[2] - 1
        inner = _snake(hidden, (block / "activations1" / index)["alpha"])
        inner = conv(inner, first, padding=reach * dilation // 2, dilation=dilation)
        inner = _snake(inner, (block / "activations2" / index)["alpha"])
        hidden = hidden + conv(inner, second, padding=reach // 2)
    return hidden


def _snake(hidden: Tensor, alpha: Tensor) -> Tensor:
    alpha = alpha[:, None]
    return hidden + torch.sin(hidden * alpha).square() / (alpha + SNAKE_EPSILON)
