"""The speech tokenizer: trained to keep, in one of 6,561 tokens, what is said and how.

Three decoders see nothing but the tokens: one tells the phones of both frames of a token, the others draw the
mel and the pitch again, given who speaks. So tokens carry content and no speaker. The quantizer rounds eight
values to -1, 0 or 1, and gradients pass it as if it did not (straight-through).
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

from speech.models.spec import MEL_CHANNELS, MEL_FRAMES_PER_TOKEN
from speech.reference.speech_tokenizer import FRAMES_PER_TOKEN
from training.data import Sentence
from training.features import PHONES, Features
from training.loop import train

BATCH, SEGMENT_TOKENS = 16, 50  # 2 s
DIGITS = 8  # of a token, each -1, 0 or 1
ROUNDING_NOISE = 0.15  # added before rounding, so that values stay away from the edges
WIDTH, SPEAKER_WIDTH = 128, 32
MEL_MEAN, MEL_SCALE = -5.5, 2.0  # of the natural logarithm


class TokenizerTrainer(nn.Module):
    """Upstream's ``S3Tokenizer`` with the decoders that train it."""

    def __init__(self, tokenizer: nn.Module, speakers: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.tell_phones = nn.Sequential(
            nn.Linear(DIGITS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, MEL_FRAMES_PER_TOKEN * len(PHONES))
        )
        self.speakers = nn.Embedding(speakers, SPEAKER_WIDTH)
        self.enter = nn.Conv1d(DIGITS + SPEAKER_WIDTH, WIDTH, 5, padding=2)
        self.layers = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 5, padding=2) for _ in range(3))
        self.draw = nn.Conv1d(
            WIDTH, MEL_CHANNELS + 2, 3, padding=1
        )  # the mel, the pitch, and whether there is one

    def digits(self, tokenizer_mel: Tensor, lengths: Tensor) -> Tensor:
        """Returns the values before rounding, [B, T, 8], of a tokenizer's mel, [B, 128, 4T]."""
        tokenizer: Any = self.tokenizer
        hidden, _ = tokenizer.encoder(tokenizer_mel, lengths)
        values: Tensor = tokenizer.quantizer._codebook.project_down(hidden)
        return values.tanh() * 0.999

    def losses(
        self, tokenizer_mel: Tensor, mel: Tensor, pitch: Tensor, phones: Tensor, speakers: Tensor
    ) -> dict[str, Tensor]:
        """Returns the losses of one step.

        tokenizer_mel: [B, 128, 4T]. mel: [B, 80, 2T]. pitch: [B, 2T], the logarithm over the speaker's mean,
        NaN where there is no voice. phones: int64 [B, 2T]. speakers: int64 [B].
        """
        lengths = torch.full((len(mel),), tokenizer_mel.shape[2])
        digits = self.digits(tokenizer_mel, lengths)
        noisy = digits + ROUNDING_NOISE * torch.randn_like(digits)
        rounded = digits + (noisy.clamp(-1, 1).round() - digits).detach()
        phone_logits = self.tell_phones(rounded).view(-1, len(PHONES))
        losses = {"phones": F.cross_entropy(phone_logits, phones.flatten(), label_smoothing=0.05)}

        speaker = self.speakers(speakers)[:, :, None].expand(-1, -1, rounded.shape[1])
        hidden = self.enter(torch.cat([rounded.transpose(1, 2), speaker], dim=1))
        hidden = hidden.repeat_interleave(MEL_FRAMES_PER_TOKEN, dim=2)
        for layer in self.layers:
            hidden = hidden + layer(F.gelu(hidden))
        drawn = self.draw(F.gelu(hidden))
        losses["mel"] = (drawn[:, :MEL_CHANNELS] - (mel - MEL_MEAN) / MEL_SCALE).abs().mean() * 2
        voiced = ~pitch.isnan()
        off = (drawn[:, MEL_CHANNELS] - pitch.nan_to_num() * 5).abs() * voiced
        losses["pitch"] = off.sum() / voiced.sum().clamp_min(1) * 0.3
        losses["voiced"] = 0.3 * F.binary_cross_entropy_with_logits(
            drawn[:, MEL_CHANNELS + 1], voiced.float()
        )
        return losses


def tokens_of(tokenizer: Any, tokenizer_mel: Tensor) -> Tensor:
    """Returns the tokens, int64 [T], of a mel, [128, N]."""
    tokens, _ = tokenizer.quantize(tokenizer_mel[None], torch.tensor([tokenizer_mel.shape[1]]))
    return tokens[0].long()  # type: ignore[no-any-return]


def train_tokenizer(
    tokenizer: nn.Module,
    sentences: Sequence[tuple[Sentence, Features]],
    folder: Path,
    *,
    steps: int,
    seed: int = 0,
) -> TokenizerTrainer:
    """Trains the speech tokenizer."""
    names = sorted({sentence.speaker for sentence, _ in sentences})
    means = mean_log_pitch(sentences)
    network = TokenizerTrainer(tokenizer, len(names))
    network.requires_grad_(requires_grad=True)

    def losses_of(rng: random.Random) -> dict[str, Tensor]:
        wide: list[NDArray[Any]] = []
        mels: list[NDArray[Any]] = []
        pitches: list[NDArray[Any]] = []
        phones: list[NDArray[Any]] = []
        speakers: list[int] = []
        while len(mels) < BATCH:
            sentence, features = rng.choice(sentences)
            tokens = min(
                len(features.mel) // MEL_FRAMES_PER_TOKEN,
                len(features.tokenizer_mel) // FRAMES_PER_TOKEN,
            )
            if tokens <= SEGMENT_TOKENS:
                continue
            first = rng.randrange(tokens - SEGMENT_TOKENS)
            frames = slice(first * MEL_FRAMES_PER_TOKEN, (first + SEGMENT_TOKENS) * MEL_FRAMES_PER_TOKEN)
            wide_first = first * FRAMES_PER_TOKEN
            wide_last = wide_first + SEGMENT_TOKENS * FRAMES_PER_TOKEN
            wide.append(features.tokenizer_mel[wide_first:wide_last].T)
            mels.append(features.mel[frames].T)
            pitches.append(log_pitch(features, means[sentence.speaker])[frames])
            phones.append(features.phones[frames])
            speakers.append(names.index(sentence.speaker))
        return network.losses(
            _stack(wide),
            _stack(mels),
            _stack(pitches),
            torch.from_numpy(np.stack(phones).astype(np.int64)),
            torch.tensor(speakers),
        )

    return train("tokenizer", network, losses_of, folder, steps=steps, rate=2e-3, seed=seed)  # type: ignore[return-value]


def _stack(rows: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def mean_log_pitch(sentences: Sequence[tuple[Sentence, Features]]) -> dict[str, float]:
    """Returns the mean of the logarithm of the pitch of each speaker."""
    pitches: dict[str, list[NDArray[np.float16]]] = {}
    for sentence, features in sentences:
        pitches.setdefault(sentence.speaker, []).append(features.pitch_hz[features.pitch_hz > 0])
    return {
        speaker: float(np.log(np.concatenate(all_hz).astype(float)).mean())
        for speaker, all_hz in pitches.items()
    }


def log_pitch(features: Features, mean: float) -> NDArray[np.float32]:
    """Returns the logarithm of the pitch over a mean, NaN where there is no voice."""
    with np.errstate(divide="ignore"):
        values = np.log(features.pitch_hz.astype(np.float32)) - mean
    return np.where(features.pitch_hz > 0, values, np.nan).astype(np.float32)
