"""What T3 makes of the data's texts, for the flow to learn from.

Each token is drawn after the true ones before it, so that it belongs to the same moment of the recording. A
flow that has seen such tokens makes up for some of what T3 draws wrong. FOLDER/draws.npz has the layout of
``codes.npz``.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from speech.models.spec import ModelSpec
from training.features import save_arrays
from training.t3 import SHARPNESS, Examples, T3Trainer


def write_draws(network: T3Trainer, examples: Examples, spec: ModelSpec, file: Path, seed: int = 0) -> None:
    """Draws the tokens of all sentences, with the guidance and at the temperature that a worker takes."""
    network.eval()
    torch.manual_seed(seed)
    guidance = spec.default_parameters["cfg_weight"]
    temperature = spec.default_parameters["temperature"] / SHARPNESS
    drawn: list[Tensor] = [torch.zeros(0)] * len(examples.codes)
    with tqdm(total=len(drawn), desc="draws", disable=None) as bar:
        for indexes, batch in examples.batches(random.Random(f"{seed} draws")):  # noqa: S311
            tokens = network.draw(batch, guidance=guidance, temperature=temperature)
            for index, row in zip(indexes, tokens, strict=True):
                drawn[index] = row
            bar.update(len(batch))
    rows: list[NDArray[np.int16]] = [row.numpy().astype(np.int16) for row in drawn]
    save_arrays(file, counts=[len(row) for row in rows], tokens=np.concatenate(rows))
