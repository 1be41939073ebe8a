"""Resemble's PerTh watermark, which everything that the worker says carries, and its detector.

The same samples within rounding as ``PerthImplicitWatermarker.apply_watermark`` of resemble-perth 1.0 gives,
with the weights of that package and without its import, which takes seconds.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audio.waveform import Waveform, resample
from cancel import CancelToken
from errors import ModelUnavailable
from speech.stft import inverse_stft
from speech.transfer import upload

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
# Of the decoder: three networks of the encoder's shape listen at these speeds (``Decoder.forward``).
_SPEEDS = {"slow_layers": 1.25, "normal_layers": 1.0, "fast_layers": 0.75}
_REACH_FRAMES = 15  # of a network on either side: five convolutions of seven
_BLOCK_FRAMES = 2000  # of a long recording that are worked on at once: 20 s


# Of audio in pieces: the network and the STFT reach 214 ms, and the end of a piece is marked before what
# follows is known. That changes the mark there by a hundredth of its amplitude; windows begin where the
# frames of the whole audio's STFT lie.
CONTEXT_S, LOOK_AHEAD_S, GRID_S = 0.25, 0.02, HOP / SAMPLE_RATE_HZ
SHORTEST_S = 0.04  # half of the STFT's window, which is reflected at both ends, and a little

CPU = torch.device("cpu")

Samples = NDArray[np.float32]
Layers = list[tuple[Tensor, Tensor]]  # weight and bias of each convolution
Compute = Callable[[Callable[[], Tensor]], Tensor]  # runs the network, and returns its result on the CPU


class Watermarker:
    """Adds the watermark to samples, and looks for it. Thread-safe.

    Resampling is done by the calling thread, everything else on the device.
    """

    def __init__(self, device: torch.device = CPU) -> None:
        """Reads the weights. Raises ModelUnavailable when they are not there."""
        # How a calling thread lets the device work; on a GPU the runtime's ``compute``.
        self.compute: Compute = lambda work: work().cpu()
        package = importlib.util.find_spec("perth")
        places = package.submodule_search_locations if package else None
        try:
            file = Path((places or [""])[0]) / WEIGHTS
            weights = torch.load(file, map_location=device, weights_only=True)["model"]
            self._layers = _layers(weights, "encoder.layers")
            self._listeners = [
                (speed, _layers(weights, f"decoder.{name}")) for name, speed in _SPEEDS.items()
            ]
        except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
            raise ModelUnavailable(
                "the watermark's weights cannot be read",
                hint="install resemble-perth as requirements.txt has it",
            ) from error
        self._device = device
        self._window = torch.hann_window(FFT_SIZE, device=device)

    def mark(self, samples: Samples, sample_rate_hz: int) -> Samples:
        """Returns the samples with the watermark, float32 [n], as long as they were."""
        marked, _ = self.mark_after(samples, sample_rate_hz, 0.0)
        return marked

    def mark_after(self, samples: Samples, sample_rate_hz: int, loudest: float) -> tuple[Samples, float]:
        """Returns the samples with the watermark, and how loud the loudest frame was so far.

        loudest: that of the audio before these samples; frames that are quiet beside it stay unmarked.
        """
        audio_32k = torch.tensor(resample(Waveform(samples, sample_rate_hz), SAMPLE_RATE_HZ).samples)
        # librosa's resampling, which PerTh uses, rounds the length up.
        audio_32k = F.pad(
            audio_32k, (0, -(-len(samples) * SAMPLE_RATE_HZ // sample_rate_hz) - len(audio_32k))
        )
        # The STFT reflects half a window at either end, and needs more samples than that.
        audio_32k = F.pad(audio_32k, (0, max(0, FFT_SIZE // 2 + 1 - len(audio_32k))))
        result = self.compute(lambda: self._embed(audio_32k, loudest)).numpy()
        marked = resample(Waveform(result[:-1], SAMPLE_RATE_HZ), sample_rate_hz).samples[: len(samples)]
        # The inverse STFT gives whole frames only; the last milliseconds stay unmarked.
        return np.concatenate([marked, samples[len(marked) :]], dtype=np.float32), float(result[-1])

    def detect(self, recording: Waveform, cancel: CancelToken) -> float:
        """Returns how sure the detector is that a recording carries the watermark, 0 to 1.

        What ``PerthImplicitWatermarker.get_watermark`` gives with ``round=False``, but for its resampling.
        recording: at least 0.1 s, not silent. Raises Cancelled within the work for 20 s of it.
        """
        audio_32k = torch.tensor(resample(recording, SAMPLE_RATE_HZ).samples)
        return float(self.compute(lambda: self._listen(audio_32k, cancel)))

    @torch.inference_mode()
    def _listen(self, audio_32k: Tensor, cancel: CancelToken) -> Tensor:
        """Returns the detector's answer, a scalar."""
        audio_32k = upload(audio_32k, self._device)
        padded = F.pad(audio_32k[None], (FFT_SIZE // 2, FFT_SIZE // 2), mode="reflect")[0]
        bands, loudness = [], []
        for start in range(0, len(audio_32k) // HOP + 1, _BLOCK_FRAMES):
            block = padded[start * HOP :][: (_BLOCK_FRAMES - 1) * HOP + FFT_SIZE]
            spectrum = torch.stft(
                block, FFT_SIZE, HOP, FFT_SIZE, self._window, center=False, return_complex=True
            )
            levels = _levels(spectrum)
            bands.append(levels[:MARKED_BINS].clone())  # a view would keep all of it
            loudness.append(levels.sum(dim=0))
        band, by_frame = torch.cat(bands, dim=1)[None], torch.cat(loudness)
        is_loud = (by_frame > by_frame.max() * _QUIET).float()[None, None]
        answers = []
        for speed, layers in self._listeners:
            frames = int(band.shape[2] * speed)
            stretched = F.interpolate(band, size=frames, mode="linear", align_corners=True)
            mask = F.interpolate(is_loud, size=frames, mode="nearest")
            # Attention and the mark, [1, 2, frames], where it is loud enough.
            answers.append((_convolve_blocks(stretched, layers, cancel) * mask).sum(dim=2) / mask.sum(dim=2))
        attention, marks = torch.cat(answers).unbind(dim=1)
        answer: Tensor = (marks * attention.softmax(dim=0)).sum().clamp(0.0, 1.0)
        return answer

    @torch.inference_mode()
    def _embed(self, audio_32k: Tensor, loudest: float) -> Tensor:
        """Returns marked audio, float32 [n], and behind it the loudness of the loudest frame."""
        audio_32k = upload(audio_32k, self._device)
        spectrum = torch.stft(audio_32k, FFT_SIZE, HOP, FFT_SIZE, self._window, return_complex=True)
        levels = _levels(spectrum)
        by_frame = levels.sum(dim=0)
        loudest_frame = by_frame.max().clamp(min=loudest)
        marked_levels = self._encode(levels, by_frame > loudest_frame * _QUIET) * _RANGE_DB + _FLOOR_DB
        magnitudes = 10.0 ** (marked_levels / 20).clamp(max=_LOUDEST_EXPONENT)
        marked_spectrum = torch.polar(magnitudes, spectrum.angle())
        signal = inverse_stft(marked_spectrum, self._window, HOP)
        return torch.cat([signal, loudest_frame[None]])

    def _encode(self, levels: Tensor, is_loud: Tensor) -> Tensor:
        """Returns levels, [bins, frames], with the watermark in the lower bins of loud frames."""
        hidden = _convolve(levels[None, :MARKED_BINS], self._layers)
        return torch.cat([levels[:MARKED_BINS] + hidden[0] * is_loud, levels[MARKED_BINS:]])


def _layers(weights: Mapping[str, Tensor], name: str) -> Layers:
    parts = [f"{name}.{index}.conv" for index in range(_LAYERS)]
    return [(weights[f"{part}.weight"], weights[f"{part}.bias"]) for part in parts]


def _convolve(hidden: Tensor, layers: Layers) -> Tensor:
    """Runs one of PerTh's networks on [1, channels, frames]."""
    for index, (weight, bias) in enumerate(layers):
        hidden = F.conv1d(hidden, weight, bias, padding=weight.shape[2] // 2)
        if index < _LAYERS - 1:
            hidden = F.leaky_relu(hidden)
    return hidden


def _convolve_blocks(frames: Tensor, layers: Layers, cancel: CancelToken) -> Tensor:
    """Runs one of PerTh's networks on any number of frames, within bounded memory. Raises Cancelled."""
    parts = []
    for start in range(0, frames.shape[2], _BLOCK_FRAMES):
        cancel.raise_if_cancelled()
        low = max(start - _REACH_FRAMES, 0)
        block = _convolve(frames[:, :, low : start + _BLOCK_FRAMES + _REACH_FRAMES], layers)
        parts.append(block[:, :, start - low :][:, :, :_BLOCK_FRAMES])
    return torch.cat(parts, dim=2)


def _levels(spectrum: Tensor) -> Tensor:
    """Returns levels as PerTh's networks take them, of a spectrum [bins, frames]."""
    levels: Tensor = (20 * torch.log10(spectrum.abs().clamp(min=SMALLEST_MAGNITUDE)) - _FLOOR_DB) / _RANGE_DB
    return levels


class PieceMarker:
    """Adds the watermark to audio that comes in pieces. For one audio and one thread."""

    def __init__(self, watermarker: Watermarker, sample_rate_hz: int) -> None:
        self._watermarker, self._sample_rate_hz = watermarker, sample_rate_hz
        self._context, self._look_ahead, self._grid = (
            round(duration_s * sample_rate_hz) for duration_s in (CONTEXT_S, LOOK_AHEAD_S, GRID_S)
        )
        self._audio = np.zeros(0, np.float32)  # what is not yet marked, and its context
        self._start = 0  # position of the buffer in the audio
        self._done = 0  # samples that were returned
        self._loudest = 0.0

    def add(self, samples: Samples, *, is_last: bool) -> Samples:
        """Returns what of the audio so far is marked and was not yet returned, float32 [n].

        is_last: whether the audio ends here; if not, 20 to 30 ms are held back.
        """
        self._audio = np.concatenate([self._audio, samples])
        total = self._start + len(self._audio)
        ready = total
        if not is_last:
            is_short = total < SHORTEST_S * self._sample_rate_hz
            ready = self._done if is_short else max(self._round(total - self._look_ahead), self._done)
        if ready == self._done:
            return np.zeros(0, np.float32)
        if (start := self._round(max(self._done - self._context, 0))) > self._start:
            self._audio, self._start = self._audio[start - self._start :], start
        marked, self._loudest = self._watermarker.mark_after(self._audio, self._sample_rate_hz, self._loudest)
        new = marked[self._done - start : ready - start]
        self._done = ready
        return new

    def _round(self, position: int) -> int:
        return position // self._grid * self._grid
