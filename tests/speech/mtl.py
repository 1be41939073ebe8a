"""Upstream's ``ChatterboxMultilingualTTS`` with the rules of chatterbox's master, which no release has.

Where chatterbox-tts 0.1.7 differs from master (5de7a54): an alignment analyzer runs in T3's loop, the
repetition penalty is 2.0 and not 1.2, and the audio keeps the sound of the last token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chatterbox.models.tokenizers import MTLTokenizer
from chatterbox.models.tokenizers import tokenizer as upstream_tokenizer
from chatterbox.mtl_tts import ChatterboxMultilingualTTS, Conditionals

from speech.models.spec import ModelSpec

SAMPLES_A_TOKEN = 960


class FullCase(MTLTokenizer):
    """What v3 was trained on, which ``MTLTokenizer`` can do and master does not ask for."""

    def text_to_tokens(self, text: str, language_id: str | None = None) -> torch.Tensor:
        return super().text_to_tokens(text, language_id, lowercase=False)


@contextmanager
def without_downloads(folder: Path) -> Iterator[None]:
    """Lets upstream's tokenizer be made without the hub's table of Chinese and GitHub's segmenter.

    Upstream asks the hub for the table wherever its file is; here it is in the folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream_tokenizer.ChineseCangjieConverter, "_init_segmenter", lambda self: None)
        patch.setattr(upstream_tokenizer, "hf_hub_download", lambda **_: str(folder / "Cangjie5_TC.json"))
        yield


def upstreams_tokenizer(
    folder: Path, spec: ModelSpec, kind: type[MTLTokenizer] = MTLTokenizer
) -> MTLTokenizer:
    """Upstream's tokenizer of a checkpoint; of Chinese words it knows none."""
    with without_downloads(folder):
        return kind(str(folder / spec.files.tokenizer[0]))


def speaks_as_master(tts: ChatterboxMultilingualTTS) -> ChatterboxMultilingualTTS:
    """Cuts the sound of the last token, before the watermark."""
    mark = tts.watermarker.apply_watermark

    def mark_without_last_token(wav: np.ndarray, sample_rate: int) -> np.ndarray:
        tokens = math.ceil(len(wav) / SAMPLES_A_TOKEN)
        return mark(wav[: max(1, tokens - 1) * SAMPLES_A_TOKEN], sample_rate=sample_rate)

    tts.watermarker.apply_watermark = mark_without_last_token
    return tts


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
