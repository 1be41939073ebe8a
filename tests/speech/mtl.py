"""Upstream's ``ChatterboxMultilingualTTS`` with the rules of chatterbox's master, which no release has.

Where chatterbox-tts 0.1.7 differs from master (5de7a54): an alignment analyzer runs in T3's loop, the
repetition penalty is 2.0 and not 1.2, and the audio keeps the sound of the last token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from chatterbox.models.tokenizers import MTLTokenizer
from chatterbox.mtl_tts import ChatterboxMultilingualTTS, Conditionals

from benchmarks.upstream import speaks_as_master, without_downloads
from speech.models.spec import ModelSpec


def upstreams_tokenizer(
    folder: Path, spec: ModelSpec, kind: type[MTLTokenizer] = MTLTokenizer
) -> MTLTokenizer:
    """Upstream's tokenizer of a checkpoint; of Chinese words it knows none."""
    with without_downloads(folder):
        return kind(str(folder / spec.files.tokenizer[0]))


def upstreams_tts(
    t3: Any, s3gen: Any, voice_encoder: Any, tokenizer: MTLTokenizer, folder: Path
) -> ChatterboxMultilingualTTS:
    """As ``from_local`` builds it, which fixes size and weights, and as master speaks.

    t3: as ``build_t3`` makes it, without the analyzer.
    """
    conds = Conditionals.load(folder / "conds.pt")
    return speaks_as_master(ChatterboxMultilingualTTS(t3, s3gen, voice_encoder, tokenizer, "cpu", conds))


def generate(
    tts: ChatterboxMultilingualTTS, text: str, language: str, seed: int, **params: float
) -> np.ndarray:
    """The samples of a text after ``manual_seed``, watermarked."""
    torch.manual_seed(seed)
    wav = tts.generate(text, language, **{"repetition_penalty": 1.2, **params})
    return wav[0].numpy()
