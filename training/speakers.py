"""The voice encoder (for T3) and CAMPPlus' x-vector (for S3Gen): trained to tell speakers apart.

A recording is louder or quieter at each step: both embeddings are to say who speaks, not how loud.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from speech.models.spec import SPEAKER_WIDTH, XVECTOR_WIDTH
from speech.reference.upstream_parts import speaker_fbank, voice_encoder_mel
from training.data import Sentence
from training.features import read_samples
from training.loop import train

BATCH = 40
SENTENCES_PER_SPEAKER = 60  # to learn from
PARTIAL_FRAMES = 160  # of 10 ms, what the voice encoder sees at a time
LOUDNESS = (0.4, 1.4)
SCALE, MARGIN = 20.0, 0.1  # of the cosine softmax


class SpeakerTrainer(nn.Module):
    """A speaker encoder with one direction for each speaker of the training data."""

    def __init__(self, encoder: nn.Module, width: int, speakers: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(requires_grad=True)
        self.directions = nn.Parameter(torch.randn(speakers, width) * width**-0.5)

    def losses(self, features: Tensor, speakers: Tensor) -> dict[str, Tensor]:
        """Returns the loss of one step. features: [B, T, channels]. speakers: int64 [B]."""
        embeddings = F.normalize(self.encoder(features), dim=1)
        cosines = embeddings @ F.normalize(self.directions, dim=1).T
        wanted = F.one_hot(speakers, cosines.shape[1])
        right = (cosines.argmax(dim=1) == speakers).float().mean().detach()
        loss = F.cross_entropy(SCALE * (cosines - MARGIN * wanted), speakers)
        return {"speaker": loss, "(right)": right}


def train_speaker_encoders(
    voice_encoder: nn.Module,
    camp_plus: nn.Module,
    sentences: Sequence[Sentence],
    speech: Path,
    folder: Path,
    *,
    steps: Mapping[str, int],
    seed: int = 0,
) -> tuple[nn.Module, nn.Module]:
    """Trains both encoders and returns them. steps: of each, by "voice encoder" and "x-vector"."""
    chosen = choose_by_speaker(sentences, SENTENCES_PER_SPEAKER, seed)
    names = sorted(chosen)

    def losses_with(
        network: SpeakerTrainer, extract: Callable[[np.ndarray], np.ndarray], seconds: float
    ) -> Callable[[random.Random], dict[str, Tensor]]:
        count = round(seconds * 16_000)

        def losses_of(draw: random.Random) -> dict[str, Tensor]:
            rows: list[NDArray[np.float32]] = []
            speakers: list[int] = []
            while len(rows) < BATCH:
                name = draw.choice(names)
                samples = read_samples(speech, draw.choice(chosen[name]).number)
                if len(samples) <= count:
                    continue
                first = draw.randrange(len(samples) - count)
                rows.append(extract(samples[first : first + count] * draw.uniform(*LOUDNESS)))
                speakers.append(names.index(name))
            return network.losses(torch.from_numpy(np.stack(rows)), torch.tensor(speakers))

        return losses_of

    first = SpeakerTrainer(voice_encoder, SPEAKER_WIDTH, len(names))
    by_voice = train(
        "voice encoder",
        first,
        losses_with(first, lambda samples: voice_encoder_mel(samples)[:PARTIAL_FRAMES], 1.6),
        folder,
        steps=steps["voice encoder"],
        rate=2e-3,
        seed=seed,
    )
    second = SpeakerTrainer(camp_plus, XVECTOR_WIDTH, len(names))
    by_xvector = train(
        "x-vector",
        second,
        losses_with(second, lambda samples: speaker_fbank(torch.from_numpy(samples)).numpy(), 1.6),
        folder,
        steps=steps["x-vector"],
        rate=2e-3,
        seed=seed,
    )
    return by_voice.encoder, by_xvector.encoder  # type: ignore[return-value]


def choose_by_speaker(sentences: Sequence[Sentence], count: int, seed: int = 0) -> dict[str, list[Sentence]]:
    """Returns some sentences of each speaker, of two seconds and more."""
    draw = random.Random(f"{seed} speakers")  # noqa: S311
    by_speaker: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        if sentence.duration_s >= 2:
            by_speaker.setdefault(sentence.speaker, []).append(sentence)
    return {name: draw.sample(all_of, min(count, len(all_of))) for name, all_of in by_speaker.items()}
