"""HiFT, mel to samples: trained with the losses of its spectrograms.

A quarter of the mels that it sees are those of the recordings, the others are what the flow makes of their
tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from speech.reference.spectra import s3gen_mel
from speech.s3gen.vocoder import SAMPLES_A_FRAME
from training.data import RATE_HZ, Sentence
from training.features import Features, read_samples
from training.loop import train
from training.mels import DrawnMels

SEGMENT_FRAMES = 24  # 0.48 s
BATCH = 6
FROM_FLOW = 0.75
RESOLUTIONS = ((2048, 480), (1024, 240), (512, 120), (256, 60))  # FFT length and hop


class VocoderTrainer(nn.Module):
    """HiFT with the losses that train it."""

    def __init__(self, hift: nn.Module) -> None:
        super().__init__()
        self.hift = hift

    def losses(self, mel: Tensor, pitch_hz: Tensor, samples: Tensor) -> dict[str, Tensor]:
        """Returns the losses of one step.

        mel: [B, 80, T]. pitch_hz: [B, T], 0 where there is no voice. samples: [B, 480T], 24 kHz.
        """
        hift: Any = self.hift
        predicted_hz = hift.f0_predictor(mel)
        # Half of the sources have the predicted pitch, as a worker's have, and half the true one, so that the
        # predictor's errors are not learned as sound.
        predicted = torch.arange(len(mel))[:, None] < len(mel) // 2
        source = torch.where(predicted, predicted_hz.detach(), pitch_hz)
        source = hift.f0_upsamp(source[:, None]).transpose(1, 2)
        source = hift.m_source(source)[0].transpose(1, 2)
        made = hift.decode(x=mel, s=source)
        losses = {"pitch": (predicted_hz - pitch_hz).abs().mean() * 0.02}
        losses["spectra"] = sum(
            (_spectral_loss(made, samples, *resolution) for resolution in RESOLUTIONS), torch.zeros(())
        ) / len(RESOLUTIONS)
        made_mel = s3gen_mel(made.clamp(-1, 1))
        losses["mel"] = (made_mel - s3gen_mel(samples)).abs().mean() * 2
        return losses


def _spectral_loss(made: Tensor, wanted: Tensor, length: int, hop: int) -> Tensor:
    window = torch.hann_window(length)
    one, other = (
        torch.stft(samples, length, hop, window=window, return_complex=True).abs().clamp_min(1e-5)
        for samples in (made, wanted)
    )
    convergence = (one - other).norm(dim=(1, 2)) / other.norm(dim=(1, 2)).clamp_min(1e-3)
    loss: Tensor = convergence.mean() + (one.log() - other.log()).abs().mean()
    return loss


def train_vocoder(
    hift: nn.Module,
    sentences: Sequence[tuple[Sentence, Features]],
    drawn: DrawnMels,
    speech: Path,
    folder: Path,
    *,
    steps: int,
    seed: int = 0,
) -> nn.Module:
    """Trains HiFT and returns it."""
    network = VocoderTrainer(hift)

    def losses_of(rng: random.Random) -> dict[str, Tensor]:
        mels: list[NDArray[np.float16]] = []
        pitches: list[NDArray[np.float16]] = []
        waves: list[NDArray[np.float32]] = []
        while len(mels) < BATCH:
            if rng.random() < FROM_FLOW:
                window = rng.randrange(len(drawn.mels))
                sentence, features = sentences[drawn.sentences[window]]
                mel, offset = drawn.mels[window], int(drawn.first_frames[window])
            else:
                sentence, features = rng.choice(sentences)
                mel, offset = features.mel[:-2], 0  # the last frames reach beyond the samples
            if len(mel) <= SEGMENT_FRAMES:
                continue
            first = rng.randrange(len(mel) - SEGMENT_FRAMES)
            mels.append(mel[first : first + SEGMENT_FRAMES].T)
            first += offset
            pitches.append(features.pitch_hz[first : first + SEGMENT_FRAMES])
            samples = resample(
                Waveform(read_samples(speech, sentence.number), RATE_HZ), MODEL_SAMPLE_RATE_HZ
            ).samples
            wave = samples[first * SAMPLES_A_FRAME : (first + SEGMENT_FRAMES) * SAMPLES_A_FRAME]
            waves.append(np.pad(wave, (0, SEGMENT_FRAMES * SAMPLES_A_FRAME - len(wave))))
        tensors = (torch.from_numpy(np.stack(rows).astype(np.float32)) for rows in (mels, pitches, waves))
        return network.losses(*tensors)

    trained = train(
        "vocoder", network, losses_of, folder, steps=steps, rate=2e-3, seed=seed, weight_decay=0.0
    )
    return trained.hift  # type: ignore[return-value]
