"""The voice encoder (for T3) and CAMPPlus' x-vector (for S3Gen): trained to tell speakers apart.

The voice encoder's recordings are louder or quieter at each step: an embedding is to say who speaks, not how
loud. The x-vector's features have no level.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from speech.models.spec import SPEAKER_WIDTH, XVECTOR_WIDTH
from speech.reference.spectra import voice_encoder_mel, xvector_features
from training.data import RATE_HZ, Sentence
from training.features import read_samples
from training.loop import train

BATCH = 40
SENTENCES_PER_SPEAKER = 60  # to learn from
PARTIAL_FRAMES = 160  # of 10 ms, what the voice encoder sees at a time
WINDOW = PARTIAL_FRAMES * RATE_HZ // 100  # samples
LOUDNESS = (0.4, 1.4)  # a factor
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


def train_voice_encoder(
    voice_encoder: nn.Module,
    sentences: Sequence[Sentence],
    speech: Path,
    folder: Path,
    *,
    steps: int,
    seed: int = 0,
) -> None:
    """Trains the voice encoder."""
    chosen = choose_by_speaker(sentences, SENTENCES_PER_SPEAKER, seed)
    names = sorted(chosen)
    network = SpeakerTrainer(voice_encoder, SPEAKER_WIDTH, len(names))

    def losses_of(rng: random.Random) -> dict[str, Tensor]:
        rows, speakers = [], []
        for _ in range(BATCH):
            name = rng.choice(names)
            samples = _window(speech, rng.choice(chosen[name]), rng) * rng.uniform(*LOUDNESS)
            rows.append(torch.from_numpy(voice_encoder_mel(samples)[:PARTIAL_FRAMES]))
            speakers.append(names.index(name))
        return network.losses(torch.stack(rows), torch.tensor(speakers))

    train("voice encoder", network, losses_of, folder, steps=steps, rate=2e-3, seed=seed)


def train_xvector(
    camp_plus: Any,
    sentences: Sequence[Sentence],
    speech: Path,
    folder: Path,
    *,
    steps: int,
    seed: int = 0,
) -> None:
    """Trains CAMPPlus behind its first, two-dimensional layers, which take nine tenths of its time.

    Those keep their random weights, which are features of the spectrum as good as others, and learn only the
    means and variances of their norms.
    """
    chosen = choose_by_speaker(sentences, SENTENCES_PER_SPEAKER, seed)
    names = sorted(chosen)
    rng = random.Random(f"{seed} x-vector")  # noqa: S311
    camp_plus.head.requires_grad_(requires_grad=False)
    labelled = [(name, sentence) for name in names for sentence in chosen[name]]
    rng.shuffle(labelled)
    network = SpeakerTrainer(camp_plus.xvector, XVECTOR_WIDTH, len(names))
    seen, speakers = [], []
    with torch.no_grad():
        batches = range(0, len(labelled), BATCH)
        for training in (True, False):  # first the norms, then with them what the rest is to see
            camp_plus.head.train(training)
            for first in tqdm(batches, desc="x-vector's first layers", disable=None):
                batch = labelled[first : first + BATCH]
                fbanks = [
                    xvector_features(torch.from_numpy(_window(speech, sentence, rng)))
                    for _, sentence in batch
                ]
                outputs = camp_plus.head(torch.stack(fbanks).transpose(1, 2))
                if not training:
                    seen.append(outputs)
                    speakers += [names.index(name) for name, _ in batch]
    inputs, labels = torch.cat(seen), torch.tensor(speakers)

    def losses_of(rng: random.Random) -> dict[str, Tensor]:
        rows = torch.tensor(rng.sample(range(len(inputs)), min(BATCH, len(inputs))))
        return network.losses(inputs[rows], labels[rows])

    trained: Any = train("x-vector layers", network, losses_of, folder, steps=steps, rate=2e-3, seed=seed)
    camp_plus.xvector.load_state_dict(trained.encoder.state_dict())
    unfinished = folder / "x-vector.unfinished"
    torch.save({"average": camp_plus.state_dict()}, unfinished)
    unfinished.replace(folder / "x-vector.pt")


def _window(speech: Path, sentence: Sentence, rng: random.Random) -> NDArray[np.float32]:
    samples = read_samples(speech, sentence.number)
    first = rng.randrange(len(samples) - WINDOW)
    return samples[first : first + WINDOW]


def choose_by_speaker(sentences: Sequence[Sentence], count: int, seed: int = 0) -> dict[str, list[Sentence]]:
    """Returns some sentences of each speaker, of two seconds and more."""
    rng = random.Random(f"{seed} speakers")  # noqa: S311
    by_speaker: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        if sentence.duration_s >= 2:
            by_speaker.setdefault(sentence.speaker, []).append(sentence)
    return {name: rng.sample(all_of, min(count, len(all_of))) for name, all_of in by_speaker.items()}
