"""Upstream as its users load it and have it speak."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile
import torch
from chatterbox import ChatterboxTTS
from chatterbox.models.tokenizers import EnTokenizer, MTLTokenizer
from chatterbox.models.tokenizers import tokenizer as tokenizers
from chatterbox.mtl_tts import ChatterboxMultilingualTTS
from chatterbox.mtl_tts import Conditionals as MultilingualConditionals
from chatterbox.tts import Conditionals
from chatterbox.tts_turbo import ChatterboxTurboTTS
from chatterbox.tts_turbo import Conditionals as TurboConditionals
from transformers import AutoTokenizer

from benchmarks.ours import reference
from speech.models.spec import CHATTERBOX, ModelSpec
from speech.upstream import build_voice_encoder, load_upstream_modules, without_storage
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import read_config
from speech.weights.modules import assign_weights


def load(checkpoint: Path, device: str = "cpu", spec: ModelSpec = CHATTERBOX) -> Any:
    """Does what ``from_local`` does, for a small checkpoint, nano and the multilingual models as well.

    Returns ``ChatterboxTTS``, ``ChatterboxTurboTTS`` or ``ChatterboxMultilingualTTS``, the last one without
    the alignment analyzer, which chatterbox's master has removed.
    """
    dimensions = read_config(checkpoint, spec.dimensions).dimensions
    if dimensions == CHATTERBOX.dimensions and spec is CHATTERBOX:
        return ChatterboxTTS.from_local(str(checkpoint), device)
    target, files = torch.device(device), spec.files
    t3, s3gen = load_upstream_modules(spec, Checkpoint(checkpoint, None), dimensions, target)
    with without_storage():
        voice_encoder = build_voice_encoder(dimensions)
    assign_weights(voice_encoder, checkpoint / files.voice_encoder, target)
    if spec.family == "gpt2":
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        tokenizer.pad_token = tokenizer.eos_token
        turbo_voice = TurboConditionals.load(checkpoint / files.builtin_voice).to(device)
        model = ChatterboxTurboTTS(t3, s3gen, voice_encoder, tokenizer, device, turbo_voice)
        # With numpy 2 it returns float64, which upstream's networks refuse.
        norm_loudness = model.norm_loudness
        model.norm_loudness = lambda *arguments: norm_loudness(*arguments).astype(np.float32)
        return model
    if spec.tokenizer == "multilingual":
        return _multilingual(t3, s3gen, voice_encoder, checkpoint, spec, device)
    voice = Conditionals.load(checkpoint / files.builtin_voice).to(device)
    return ChatterboxTTS(
        t3, s3gen, voice_encoder, EnTokenizer(str(checkpoint / files.tokenizer[0])), device, voice
    )


def _multilingual(
    t3: Any, s3gen: Any, voice_encoder: Any, checkpoint: Path, spec: ModelSpec, device: str
) -> ChatterboxMultilingualTTS:
    voice = MultilingualConditionals.load(checkpoint / spec.files.builtin_voice).to(device)
    # What Chinese needs would be downloaded.
    converter = tokenizers.ChineseCangjieConverter
    with (
        patch.object(converter, "_load_cangjie_mapping", lambda *_: None),
        patch.object(converter, "_init_segmenter", lambda _: None),
    ):
        tokenizer = MTLTokenizer(str(checkpoint / spec.files.tokenizer[0]))
    return ChatterboxMultilingualTTS(t3, s3gen, voice_encoder, tokenizer, device, voice)


def language_of(spec: ModelSpec) -> dict[str, str]:
    """Returns what ``generate`` of a model's class is given besides the text."""
    return {"language_id": spec.default_language} if spec.tokenizer == "multilingual" else {}


@contextmanager
def speaker(checkpoint: Path, device: str, spec: ModelSpec = CHATTERBOX) -> Iterator[Callable[[str], float]]:
    """Yields a function that speaks a text and returns the seconds of its audio, watermark included.

    Every text is given the sample as a WAV file, as upstream's documentation has it, and seed 0.
    """
    warnings.simplefilter("ignore")
    model, sample = load(checkpoint, device, spec), reference()
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, sample.samples, sample.sample_rate_hz)

        def speak(text: str) -> float:
            torch.manual_seed(0)
            return float(
                model.generate(text, **language_of(spec), audio_prompt_path=file.name).shape[-1] / model.sr
            )

        yield speak
