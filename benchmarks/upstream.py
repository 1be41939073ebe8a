"""Upstream as its users load it and have it speak, whatever the model.

Imports nothing of the worker's engine until it is needed: a cold start of upstream's does not pay for it.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch
from chatterbox import mtl_tts, tts, tts_turbo
from chatterbox.models.tokenizers import EnTokenizer, MTLTokenizer
from chatterbox.models.tokenizers import tokenizer as upstream_tokenizer
from transformers import AutoTokenizer

from speech.models.spec import CHATTERBOX, MULTILINGUAL_V2, TURBO, ModelSpec

SAMPLES_A_TOKEN = 960
# What ``from_local`` of chatterbox-tts 0.1.7 reads, and the files that it wants in PyTorch's format.
KNOWN_TO_USERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    CHATTERBOX.name: (tts.ChatterboxTTS, ()),
    MULTILINGUAL_V2.name: (mtl_tts.ChatterboxMultilingualTTS, ("ve.pt", "s3gen.pt")),
    TURBO.name: (tts_turbo.ChatterboxTurboTTS, ()),
}


class FullCase(MTLTokenizer):  # type: ignore[misc]
    """What v3 was trained on, which ``MTLTokenizer`` can do and master does not ask for."""

    def text_to_tokens(self, text: str, language_id: str | None = None) -> torch.Tensor:
        """Returns the ids of a text whose capitals stay, int [1, N]."""
        ids: torch.Tensor = super().text_to_tokens(text, language_id, lowercase=False)
        return ids


def load(checkpoint: Path, device: str = "cpu", spec: ModelSpec = CHATTERBOX) -> Any:
    """Returns upstream's class for a model: ``ChatterboxTTS`` or the one of its family.

    By ``from_local`` where that reads the checkpoint; small ones, and models that no release knows, are built
    of the same parts. The multilingual models speak by the rules of chatterbox's master, see
    ``speaks_as_master``. Raises ModelUnavailable for files that do not fit.
    """
    way = load_as_users_do if users_can_load(checkpoint, spec) else build
    return way(checkpoint, device, spec)


def users_can_load(checkpoint: Path, spec: ModelSpec) -> bool:
    """Whether ``from_local`` reads the checkpoint: it knows some models, at the published size."""
    from speech.weights.load import read_config

    if spec.name not in KNOWN_TO_USERS:
        return False
    _, files = KNOWN_TO_USERS[spec.name]
    is_published = read_config(checkpoint, spec.dimensions).dimensions == spec.dimensions
    return is_published and all((checkpoint / name).exists() for name in files)


def load_as_users_do(checkpoint: Path, device: str, spec: ModelSpec) -> Any:
    """Returns what ``from_local`` loads, for a checkpoint that ``users_can_load``."""
    users_class, _ = KNOWN_TO_USERS[spec.name]
    with without_downloads(checkpoint):
        model = users_class.from_local(checkpoint, device)
    if spec.tokenizer == "multilingual":
        from speech.upstream import MasterConfig

        model.t3.hp.__class__ = MasterConfig
    return _by_our_rules(model, spec)


def build(checkpoint: Path, device: str, spec: ModelSpec) -> Any:
    """Does what ``from_local`` does, for any model and size."""
    from speech.upstream import build_voice_encoder, load_upstream_modules, without_storage
    from speech.weights.checkpoint import Checkpoint
    from speech.weights.load import read_config
    from speech.weights.modules import assign_weights

    dimensions, target = read_config(checkpoint, spec.dimensions).dimensions, torch.device(device)
    folder = Checkpoint(checkpoint, None)
    t3, s3gen = load_upstream_modules(spec, folder, dimensions, target)
    with without_storage():
        voice_encoder = build_voice_encoder(dimensions)
    assign_weights(voice_encoder, folder.file(spec.files.voice_encoder), target)
    module, users_class = {
        "english": (tts, tts.ChatterboxTTS),
        "multilingual": (mtl_tts, mtl_tts.ChatterboxMultilingualTTS),
        "turbo": (tts_turbo, tts_turbo.ChatterboxTurboTTS),
    }[spec.tokenizer]
    voice = module.Conditionals.load(checkpoint / spec.files.builtin_voice).to(device)
    tokenizer = load_tokenizer(checkpoint, spec)
    return _by_our_rules(users_class(t3, s3gen, voice_encoder, tokenizer, device, voice), spec)


def load_tokenizer(checkpoint: Path, spec: ModelSpec) -> Any:
    """Returns upstream's tokenizer of a checkpoint; of Chinese words it knows none."""
    if spec.tokenizer == "turbo":
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        tokenizer.pad_token = tokenizer.eos_token
        return tokenizer
    file = str(checkpoint / spec.files.tokenizer[0])
    if spec.text is None:
        return EnTokenizer(file)
    with without_downloads(checkpoint):
        return FullCase(file) if spec.text.form == "nfkd_full_case" else MTLTokenizer(file)


@contextmanager
def without_downloads(folder: Path) -> Iterator[None]:
    """Lets upstream's tokenizer be made without the hub's table of Chinese and GitHub's segmenter.

    Upstream asks the hub for the table wherever its file is; here it is in the folder.
    """
    converter = upstream_tokenizer.ChineseCangjieConverter
    with (
        mock.patch.object(converter, "_init_segmenter"),
        mock.patch.object(upstream_tokenizer, "hf_hub_download", return_value=folder / "Cangjie5_TC.json"),
    ):
        yield


def _by_our_rules(model: Any, spec: ModelSpec) -> Any:
    if spec.tokenizer == "multilingual":
        return speaks_as_master(model)
    if spec.tokenizer == "turbo":
        # With numpy 2 it returns float64, which upstream's networks refuse.
        norm_loudness = model.norm_loudness
        model.norm_loudness = lambda *arguments: norm_loudness(*arguments).astype(np.float32)
    return model


def speaks_as_master(model: mtl_tts.ChatterboxMultilingualTTS) -> mtl_tts.ChatterboxMultilingualTTS:
    """Cuts the sound of the last token, before the watermark.

    So does chatterbox's master (5de7a54). It differs from chatterbox-tts 0.1.7 in two more rules: there is no
    alignment analyzer, see ``speech.upstream.MasterConfig``, and the repetition penalty is 1.2 and not 2.0.
    """
    mark = model.watermarker.apply_watermark

    def mark_without_last_token(wav: np.ndarray, sample_rate: int) -> np.ndarray:
        tokens = math.ceil(len(wav) / SAMPLES_A_TOKEN)
        return mark(wav[: max(1, tokens - 1) * SAMPLES_A_TOKEN], sample_rate=sample_rate)  # type: ignore[no-any-return]

    model.watermarker.apply_watermark = mark_without_last_token
    return model


def generate(model: Any, spec: ModelSpec, text: str, recording: str | None = None) -> torch.Tensor:
    """Speaks a text with the model's default parameters: samples [1, N], watermark included.

    recording: a WAV file, as upstream's documentation has it; None for the voice that the model holds.
    """
    language = {"language_id": spec.default_language} if spec.tokenizer == "multilingual" else {}
    samples: torch.Tensor = model.generate(
        text, audio_prompt_path=recording, **language, **spec.default_parameters
    )
    return samples


@contextmanager
def speaker(checkpoint: Path, device: str, spec: ModelSpec = CHATTERBOX) -> Iterator[Callable[[str], float]]:
    """Yields a function that speaks a text and returns the seconds of its audio, watermark included.

    Every text is given the sample as a WAV file, as upstream's documentation has it, and seed 0.
    """
    from benchmarks.ours import reference
    from speech.weights.load import read_config

    warnings.simplefilter("ignore")
    model, sample = load(checkpoint, device, spec), reference()
    spec = read_config(checkpoint, spec.dimensions).apply(spec)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, sample.samples, sample.sample_rate_hz)

        def speak(text: str) -> float:
            torch.manual_seed(0)
            return float(generate(model, spec, text, file.name).shape[-1] / model.sr)

        yield speak
