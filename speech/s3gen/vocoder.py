"""Vocoder: mel spectrogram to samples. ``HiFTGenerator``, a neural source filter with an inverse STFT."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.padding import valid
from speech.s3gen.weights import WeightsView, conv, conv_transpose, linear
from speech.stft import overlap_add

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


def vocode(hift: WeightsView, mel: Tensor, phases: Tensor, noise: Tensor) -> Tensor:
    """Returns samples at 24 kHz, float32 [480 a frame].

    mel: float32 [1, 80, T]. phases: see ``draw_phases``, on the mel's device. noise: float32 [1, 9, 480 T],
    normally distributed, of the source.
    """
    source = _source(hift, _predict_pitch(hift / "f0_predictor", mel), phases, noise)
    window = torch.hann_window(FFT_SIZE, device=mel.device)
    spectrum = torch.stft(source, FFT_SIZE, HOP, FFT_SIZE, window, return_complex=True)
    spread = _filter(hift, mel, torch.cat([spectrum.real, spectrum.imag], dim=1))
    samples = torch.istft(_spectrum(spread), FFT_SIZE, HOP, FFT_SIZE, window)
    return samples[0].clamp(-LARGEST_SAMPLE, LARGEST_SAMPLE)


def vocode_batch(hift: WeightsView, mel: Tensor, lengths: Tensor, phases: Tensor, noise: Tensor) -> Tensor:
    """Returns what ``vocode`` makes of each chunk, within rounding: float32 [B, 480 T]. Never waits.

    mel: float32 [B, 80, T], zeros beyond each chunk. lengths: int64 [B], its frames. Only the first 480 times
    as many samples of a row are the chunk's. phases: float32 [B, 9, 1]. noise: float32 [B, 9, 480 T].
    """
    pitch = _predict_pitch(hift / "f0_predictor", mel, lengths)
    return _vocode_source(hift, mel, lengths, _source(hift, pitch, phases, noise))


def vocode_windows(
    hift: WeightsView,
    mel: Tensor,
    lengths: Tensor,
    phases: Tensor,
    noise: Tensor,
    anchors: Tensor,
    cycles: Tensor,
) -> tuple[Tensor, Tensor]:
    """Returns samples of stretches of longer mels, float32 [B, 480 T], and the pitch's cycles. Never waits.

    The other arguments are those of ``vocode_batch``. anchors: int64 [B], the frames before which ``cycles``,
    float64 [B], have passed since the chunk began. Returns with the samples the cycles before each frame and
    after the last, float64 [B, T + 1], modulo 1. Samples within ``speech.s3gen.stream.CONTEXT_FRAMES`` of a
    cut end of a window differ from those of the whole mel.
    """
    pitch = _predict_pitch(hift / "f0_predictor", mel, lengths)
    passed = F.pad(torch.cumsum(pitch.double() * (SAMPLES_A_FRAME / SAMPLE_RATE_HZ), dim=1), (1, 0))
    passed = (passed - passed.gather(1, anchors[:, None]) + cycles[:, None]) % 1
    samples = _vocode_source(hift, mel, lengths, _source(hift, pitch, phases, noise, passed))
    return samples, passed


def _vocode_source(hift: WeightsView, mel: Tensor, lengths: Tensor, source: Tensor) -> Tensor:
    """Returns the samples of a batch, float32 [B, 480 T], from its source, of the same shape."""
    window = torch.hann_window(FFT_SIZE, device=mel.device)
    # ``torch.stft`` reflects at the ends of the batch, and a chunk's own end is what has to be reflected.
    half, last = FFT_SIZE // 2, SAMPLES_A_FRAME * lengths[:, None] - 1
    positions = torch.arange(-half, source.shape[1] + half, device=mel.device).abs()
    positions = torch.where(positions > last, 2 * last - positions, positions).clamp(min=0)
    windows = source.gather(1, positions).unfold(1, FFT_SIZE, HOP)
    spectrum = torch.fft.rfft(windows * window).transpose(1, 2)
    known = valid(spectrum.shape[2], SAMPLES_A_FRAME // HOP * lengths + 1)
    excitation = torch.cat([spectrum.real, spectrum.imag], dim=1) * known[:, None]
    spectrum = _spectrum(_filter(hift, mel, excitation, lengths))
    # ``torch.istft`` asks the device whether its windows leave a gap, which waits for all that was submitted.
    windows = torch.fft.irfft(spectrum.transpose(1, 2), FFT_SIZE) * (window * known[..., None])
    weights = window.square() * known[..., None]
    samples = overlap_add(windows, HOP) / overlap_add(weights, HOP).clamp(min=1e-11)
    return samples[:, half:-half].clamp(-LARGEST_SAMPLE, LARGEST_SAMPLE)


def _filter(hift: WeightsView, mel: Tensor, excitation: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Returns the spectrum as logarithms of magnitudes and, below them, phases: [B, 18, 120 T + 1].

    excitation: the source's spectrum, of the same shape. lengths: frames of each chunk, beyond which mel and
    excitation are zeros; None: every chunk has T.
    """
    hidden = _masked(conv(mel, hift / "conv_pre", padding=3), _mask(mel.shape[2], lengths))
    upsampled, more = 1, 0
    for stage, (rate, kernel) in enumerate(UPSAMPLING):
        up = hift / "ups" / stage
        hidden = conv_transpose(F.leaky_relu(hidden, SLOPE), up, stride=rate, padding=(kernel - rate) // 2)
        upsampled *= rate
        if stage == len(UPSAMPLING) - 1:
            # As an image: of channels alone it would lose the memory format.
            hidden, more = F.pad(hidden[:, :, None], (1, 0, 0, 0), mode="reflect")[:, :, 0], 1
        mask = _mask(hidden.shape[2], None if lengths is None else upsampled * lengths + more)
        hidden = _masked(hidden, mask) + _excite(hift, stage, excitation, mask)
        branches = [
            _residual(hift / "resblocks" / (stage * KERNELS_A_STAGE + index), hidden, mask)
            for index in range(KERNELS_A_STAGE)
        ]
        hidden = sum(branches[1:], branches[0]) / KERNELS_A_STAGE
    return conv(F.leaky_relu(hidden, LAST_SLOPE), hift / "conv_post", padding=3)


def _spectrum(spread: Tensor) -> Tensor:
    bins = FFT_SIZE // 2 + 1
    magnitude = spread[:, :bins].exp().clamp(max=LARGEST_MAGNITUDE)
    return torch.polar(magnitude, spread[:, bins:].sin())


def _mask(count: int, lengths: Tensor | None) -> Tensor | None:
    """Ones within each length and zeros beyond, float32 [B, 1, count]."""
    return None if lengths is None else valid(count, lengths).float()[:, None]


def _masked(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Zeroes what lies beyond a chunk, as convolutions find it when the chunk is alone. hidden: [B, C, N]."""
    return hidden if mask is None else hidden * mask


def _predict_pitch(predictor: WeightsView, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Returns the fundamental frequency in Hz, [B, T]; near 0 where nothing is voiced."""
    hidden, mask = mel, _mask(mel.shape[2], lengths)
    for index in range(0, 10, 2):  # every other one is an activation
        hidden = F.elu(_masked(conv(hidden, predictor / "condnet" / index, padding=1), mask))
    return linear(hidden.transpose(1, 2), predictor / "classifier").squeeze(-1).abs()


def _source(
    hift: WeightsView, pitch: Tensor, phases: Tensor, noise: Tensor, passed: Tensor | None = None
) -> Tensor:
    """Returns sines at the pitch and its harmonics where voiced, noise elsewhere: [B, 480 T].

    pitch: in Hz, [B, T]. passed: cycles of the pitch before each frame, float64 [B, T + 1]; None: the mel
    begins with its chunk.
    """
    by_sample = pitch.repeat_interleave(SAMPLES_A_FRAME, dim=1)[:, None]
    cycles = _cycles(by_sample) if passed is None else _cycles_by_frame(pitch, passed)
    voiced = (by_sample > VOICED_ABOVE_HZ).float()
    sines = SINE_AMPLITUDE * torch.sin(2 * torch.pi * cycles + phases)
    noise_amplitude = voiced * NOISE_AMPLITUDE + (1 - voiced) * SINE_AMPLITUDE / 3
    harmonics = sines * voiced + noise_amplitude * noise
    return linear(harmonics.transpose(1, 2), hift / "m_source" / "l_linear").tanh().squeeze(-1)


def _cycles(pitch: Tensor) -> Tensor:
    """Returns the cycles of each harmonic at each sample, modulo 1, [B, 9, N], with upstream's rounding.

    pitch: in Hz at each sample, [B, 1, N].
    """
    return torch.cumsum(pitch * _multiples(pitch) / SAMPLE_RATE_HZ, dim=-1) % 1


def _cycles_by_frame(pitch: Tensor, passed: Tensor) -> Tensor:
    """Returns what ``_cycles`` does, float32 [B, 9, 480 T], from the cycles before each frame.

    In double precision: cycles of the ninth harmonic would be rounded by a thousandth after ten seconds.
    """
    within = torch.arange(1, SAMPLES_A_FRAME + 1, dtype=torch.float64, device=pitch.device) / SAMPLE_RATE_HZ
    fundamental = passed[:, :-1, None] + pitch.double()[:, :, None] * within
    return (fundamental.flatten(1)[:, None] * _multiples(fundamental) % 1).float()


def _multiples(tensor: Tensor) -> Tensor:
    return torch.arange(1, HARMONICS + 1, dtype=tensor.dtype, device=tensor.device)[:, None]


def _excite(hift: WeightsView, stage: int, excitation: Tensor, mask: Tensor | None) -> Tensor:
    rate = math.prod(rate for rate, _ in UPSAMPLING[stage + 1 :])
    down = hift / "source_downs" / stage
    lowered = conv(excitation, down, stride=rate, padding=rate // 2 if rate > 1 else 0)
    return _residual(hift / "source_resblocks" / stage, _masked(lowered, mask), mask)


def _residual(block: WeightsView, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """``ResBlock``: dilated convolutions between snakes."""
    for index, dilation in enumerate(DILATIONS):
        first, second = block / "convs1" / index, block / "convs2" / index
        reach = first["weight"].shape[-1] - 1
        inner = _snake(hidden, (block / "activations1" / index)["alpha"])
        inner = conv(inner, first, padding=reach * dilation // 2, dilation=dilation)
        inner = _snake(_masked(inner, mask), (block / "activations2" / index)["alpha"])
        hidden = hidden + _masked(conv(inner, second, padding=reach // 2), mask)
    return hidden


def _snake(hidden: Tensor, alpha: Tensor) -> Tensor:
    alpha = alpha[:, None]
    # In place: on a CPU, memory that is new takes longer to come by than to compute with.
    return (hidden * alpha).sin_().square_().div_(alpha + SNAKE_EPSILON).add_(hidden)
