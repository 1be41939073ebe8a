"""What the trained encoders make of the data: tokens of every sentence, and who speaks.

FOLDER/codes.npz holds the tokens; FOLDER/voices.npz speaker embeddings and x-vectors of some recordings of
each speaker, each of up to ten seconds, as a worker computes them from a reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from speech.models.spec import MEL_FRAMES_PER_TOKEN
from speech.reference.encoder import ReferenceEncoder
from training.data import RATE_HZ, Sentence
from training.features import Features, read_samples, save_arrays
from training.speakers import choose_by_speaker
from training.tokenizer import tokens_of

VOICES_PER_SPEAKER = 6
SENTENCES_PER_VOICE = 3
LONGEST_VOICE_S = 10


@dataclass(frozen=True, eq=False)
class Voices:
    """Recordings of one speaker, as the networks see them. N is their number."""

    speaker_embeddings: Tensor  # [N, 256]
    xvectors: Tensor  # [N, 192]


def write_codes(tokenizer: Any, sentences: Sequence[tuple[Sentence, Features]], file: Path) -> None:
    """Writes the tokens of all sentences."""
    tokenizer.eval()
    codes = []
    for _, features in tqdm(sentences, desc="codes", disable=None):
        tokens = tokens_of(tokenizer, torch.from_numpy(features.tokenizer_mel.T.astype(np.float32)))
        codes.append(tokens[: len(features.mel) // MEL_FRAMES_PER_TOKEN].numpy().astype(np.int16))
    save_arrays(file, counts=[len(tokens) for tokens in codes], tokens=np.concatenate(codes))


def read_codes(file: Path) -> list[Tensor]:
    """Reads the tokens, int64 [T], of all sentences."""
    with np.load(file) as arrays:
        tokens = torch.from_numpy(arrays["tokens"].astype(np.int64))
        return list(torch.split(tokens, arrays["counts"].tolist()))


def write_voices(
    encoder: ReferenceEncoder, sentences: Sequence[Sentence], speech: Path, file: Path, seed: int = 0
) -> None:
    """Writes embeddings of some recordings of each speaker."""
    chosen = choose_by_speaker(sentences, VOICES_PER_SPEAKER * SENTENCES_PER_VOICE, seed)
    arrays = {}
    for name, all_of in tqdm(chosen.items(), desc="voices", disable=None):
        voices = []
        for first in range(0, len(all_of) - SENTENCES_PER_VOICE + 1, SENTENCES_PER_VOICE):
            group = all_of[first : first + SENTENCES_PER_VOICE]
            samples = np.concatenate([read_samples(speech, sentence.number) for sentence in group])
            voice = Waveform(samples[: LONGEST_VOICE_S * RATE_HZ], RATE_HZ)
            voices.append(encoder.compute(resample(voice, MODEL_SAMPLE_RATE_HZ)))
        arrays[f"{name} speaker"] = np.concatenate([voice.speaker_embedding.numpy() for voice in voices])
        arrays[f"{name} xvector"] = np.concatenate([voice.xvector.numpy() for voice in voices])
    save_arrays(file, **arrays)


def read_voices(file: Path) -> Mapping[str, Voices]:
    """Reads the embeddings by speaker."""
    with np.load(file) as arrays:
        names = {name.rpartition(" ")[0] for name in arrays.files}
        return {
            name: Voices(
                torch.from_numpy(arrays[f"{name} speaker"]), torch.from_numpy(arrays[f"{name} xvector"])
            )
            for name in sorted(names)
        }
