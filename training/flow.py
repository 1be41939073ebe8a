"""The flow, tokens to mel: conditional flow matching with upstream's own loss.

Two things are added for a network of this size. The encoder's output, mu, has a loss of its own, its distance
from the mel; and what the estimator learns to draw lies between the mel and mu.

A step sees windows of several sentences of one speaker in a row. A part at the beginning, up to three
quarters, is the prompt; the rest is to be drawn in the same voice.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speech.models.spec import MEL_FRAMES_PER_TOKEN
from training.codes import Voices
from training.data import Sentence
from training.features import Features
from training.loop import train

# Of windows, in tokens, and how often: all steps have the same number of tokens. A worker's prompt has up to
# 250 and a chunk up to 500.
WINDOWS = {100: 0.6, 200: 0.25, 400: 0.15}
TOKENS_PER_STEP = 800
WINDOW_MARGIN = 50  # tokens, so that windows begin anywhere
WITHOUT_PROMPT = 0.3
LONGEST_PROMPT = 0.75
MU_WEIGHT = 0.3
SMOOTHING = 0.4


class FlowTrainer(nn.Module):
    """Upstream's ``CausalMaskedDiffWithXvec`` with the losses that train it."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow
        for module in flow.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # a network of this size cannot overfit this much data
            for name, inner in module.named_children():
                if isinstance(inner, nn.Mish):
                    setattr(module, name, _FastMish())

    def losses(self, tokens: Tensor, mel: Tensor, xvectors: Tensor, prompts: Tensor) -> dict[str, Tensor]:
        """Returns the losses of one step.

        tokens: int64 [B, T]. mel: [B, 80, 2T]. xvectors: [B, 192]. prompts: int64 [B], frames of the mel that
        are given.
        """
        flow: Any = self.flow
        speaker = flow.spk_embed_affine_layer(F.normalize(xvectors, dim=1))
        counts = torch.full((len(tokens),), tokens.shape[1])
        hidden, _ = flow.encoder(flow.input_embedding(tokens), counts)
        mu = flow.encoder_proj(hidden).transpose(1, 2).contiguous()
        given = torch.arange(mel.shape[2])[None] < prompts[:, None]
        prompt = mel * given[:, None]
        mask = torch.ones(len(tokens), 1, mel.shape[2])
        # What an estimator of this size cannot predict comes out as noise. A target between the mel and mu
        # has less of it: more words are recognised.
        target = mel.lerp(mu.detach(), SMOOTHING)
        loss, _ = flow.decoder.compute_loss(target, mask, mu, speaker, cond=prompt)
        # With mu near the mel the estimator has less to predict.
        return {"flow": loss, "mu": (mu - mel).abs().mean() * MU_WEIGHT}


class _MishFunction(torch.autograd.Function):
    """Mish, whose gradient PyTorch computes one by one on a CPU: a third of a step."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return F.mish(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (values,) = context.saved_tensors
        inner = F.softplus(values).tanh()
        slope: Tensor = gradient * (inner + values * (1 - inner * inner) * values.sigmoid())
        return slope


class _FastMish(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return _MishFunction.apply(values)  # type: ignore[no-any-return, no-untyped-call]


def train_flow(
    flow: nn.Module,
    sentences: Sequence[tuple[Sentence, Features]],
    codes: Sequence[Tensor],
    voices: Mapping[str, Voices],
    folder: Path,
    *,
    steps: int,
    seed: int = 0,
) -> nn.Module:
    """Trains the flow and returns it."""
    network = FlowTrainer(flow)
    by_speaker: dict[str, list[int]] = {}
    for index, (sentence, _) in enumerate(sentences):
        by_speaker.setdefault(sentence.speaker, []).append(index)

    def losses_of(rng: random.Random) -> dict[str, Tensor]:
        tokens, mels, xvectors, prompts = [], [], [], []
        (window,) = rng.choices(list(WINDOWS), list(WINDOWS.values()))
        for _ in range(TOKENS_PER_STEP // window):
            speaker = sentences[rng.randrange(len(sentences))][0].speaker
            of_it, mel_of_it, count = [], [], 0
            while count < window + WINDOW_MARGIN:
                index = rng.choice(by_speaker[speaker])
                of_it.append(codes[index])
                mel_of_it.append(sentences[index][1].mel[: MEL_FRAMES_PER_TOKEN * len(codes[index])])
                count += len(codes[index])
            first = rng.randrange(count - window)
            last = first + window
            tokens.append(torch.cat(of_it)[first:last])
            mel = np.concatenate(mel_of_it)[first * MEL_FRAMES_PER_TOKEN : last * MEL_FRAMES_PER_TOKEN]
            mels.append(torch.from_numpy(mel.T.astype(np.float32)))
            xvectors.append(rng.choice(list(voices[speaker].xvectors)))
            share = 0.0 if rng.random() < WITHOUT_PROMPT else rng.uniform(0.0, LONGEST_PROMPT)
            prompts.append(int(share * window) * MEL_FRAMES_PER_TOKEN)
        return network.losses(
            torch.stack(tokens), torch.stack(mels), torch.stack(xvectors), torch.tensor(prompts)
        )

    return train("flow", network, losses_of, folder, steps=steps, rate=1.5e-3, seed=seed).flow  # type: ignore[return-value]
