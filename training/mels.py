"""What the flow makes of the data's tokens, for the vocoder to learn from.

A mel that the flow drew is smoother and noisier than a recording's: a vocoder that was trained on some of
them, beside the recordings that they stand for, makes up for that. FOLDER/mels.npz holds windows of
sentences.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from speech.models.spec import MEL_FRAMES_PER_TOKEN
from training.codes import Voices
from training.data import Sentence
from training.features import Features, save_arrays

WINDOW, PROMPT = 75, 25  # tokens: 3 s and 1 s
COUNT = 400  # of windows
BATCH = 8


@dataclass(frozen=True, eq=False)
class DrawnMels:
    """Windows of sentences, as the flow draws them. N is their number, T is 150."""

    sentences: NDArray[np.int64]  # [N], indexes into the data
    first_frames: NDArray[np.int64]  # [N], where the window begins
    mels: NDArray[np.float16]  # [N, T, 80]


def write_mels(
    flow: Any,
    sentences: Sequence[tuple[Sentence, Features]],
    codes: Sequence[Tensor],
    voices: Mapping[str, Voices],
    file: Path,
    seed: int = 0,
) -> None:
    """Draws the mels of random windows, each with a prompt from another sentence of its speaker."""
    rng = random.Random(f"{seed} mels")  # noqa: S311
    torch.manual_seed(seed)
    long_enough = [index for index, tokens in enumerate(codes) if len(tokens) >= WINDOW]
    by_speaker: dict[str, list[int]] = {}
    for index in long_enough:
        by_speaker.setdefault(sentences[index][0].speaker, []).append(index)
    chosen = [rng.choice(long_enough) for _ in range(COUNT)]
    first_tokens = [rng.randint(0, len(codes[index]) - WINDOW) for index in chosen]
    mels = []
    for start in tqdm(range(0, COUNT, BATCH), desc="mels", disable=None):
        batch = list(zip(chosen, first_tokens, strict=True))[start : start + BATCH]
        speakers = [sentences[index][0].speaker for index, _ in batch]
        prompts = []
        for (index, _), speaker in zip(batch, speakers, strict=True):
            others = [other for other in by_speaker[speaker] if other != index]
            prompts.append(rng.choice(others or [index]))
        prompt_mels = [sentences[index][1].mel[: PROMPT * MEL_FRAMES_PER_TOKEN] for index in prompts]
        drawn, _ = flow.inference(
            token=torch.stack([codes[index][first : first + WINDOW] for index, first in batch]),
            token_len=torch.full((len(batch),), WINDOW),
            prompt_token=torch.stack([codes[index][:PROMPT] for index in prompts]),
            prompt_token_len=torch.full((len(batch),), PROMPT),
            prompt_feat=torch.from_numpy(np.stack(prompt_mels).astype(np.float32)),
            prompt_feat_len=None,
            embedding=torch.stack([rng.choice(list(voices[speaker].xvectors)) for speaker in speakers]),
            finalize=True,
        )
        mels.append(drawn.transpose(1, 2).numpy().astype(np.float16))
    save_arrays(
        file,
        sentences=chosen,
        first_frames=np.array(first_tokens) * MEL_FRAMES_PER_TOKEN,
        mels=np.concatenate(mels),
    )


def read_mels(file: Path) -> DrawnMels:
    """Reads the windows."""
    with np.load(file) as arrays:
        return DrawnMels(arrays["sentences"], arrays["first_frames"], arrays["mels"])
