"""Upstream as its users load it and have it speak."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile
import torch
from chatterbox import ChatterboxTTS
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.tts import Conditionals

from benchmarks.ours import reference
from speech.models.dimensions import FULL
from speech.models.spec import CHATTERBOX
from speech.upstream import build_voice_encoder, load_upstream_modules, without_storage
from speech.weights.load import read_config
from speech.weights.modules import assign_weights


def load(checkpoint: Path, device: str = "cpu") -> ChatterboxTTS:
    """Does what ``from_local`` does, for a small checkpoint as well."""
    dimensions = read_config(checkpoint).dimensions
    if dimensions == FULL:
        return ChatterboxTTS.from_local(str(checkpoint), device)
    target, files = torch.device(device), CHATTERBOX.files
    t3, s3gen = load_upstream_modules(CHATTERBOX, checkpoint, dimensions, target)
    with without_storage():
        voice_encoder = build_voice_encoder(dimensions)
    assign_weights(voice_encoder, checkpoint / files.voice_encoder, target)
    tokenizer = EnTokenizer(str(checkpoint / files.tokenizer[0]))
    conds = Conditionals.load(checkpoint / files.builtin_voice).to(device)
    return ChatterboxTTS(t3, s3gen, voice_encoder, tokenizer, device, conds)


@contextmanager
def speaker(checkpoint: Path, device: str) -> Iterator[Callable[[str], float]]:
    """Yields a function that speaks a text and returns the seconds of its audio, watermark included.

    Every text is given the sample as a WAV file, as upstream's documentation has it, and seed 0.
    """
    warnings.simplefilter("ignore")
    model, sample = load(checkpoint, device), reference()
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, sample.samples, sample.sample_rate_hz)

        def speak(text: str) -> float:
            torch.manual_seed(0)
            return float(model.generate(text, audio_prompt_path=file.name).shape[-1] / model.sr)

        yield speak
