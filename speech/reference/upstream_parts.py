"""Those of upstream's modules that encode a reference, without the rest of its package.

``chatterbox/__init__`` and ``chatterbox/models/s3gen/__init__`` import every model of the package with
transformers, diffusers, perth and omegaconf, which takes some 15 s of CPU time. This module imports single
files of the installed package below a name of its own, under which those two are not run; ``chatterbox``
itself is neither imported nor changed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization

from audio.waveform import MODEL_SAMPLE_RATE_HZ
from speech.models.dimensions import FULL, ModelDimensions

_ALIAS = "_chatterbox_parts"
_PACKAGES = ("", ".models", ".models.s3gen")  # whose ``__init__`` is not run


def build_voice_encoder(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``VoiceEncoder``: a recording to a speaker embedding of 256 values."""
    module = _import("models.voice_encoder")
    config = module.VoiceEncConfig()
    config.ve_hidden_size = dimensions.encoder_hidden
    return module.VoiceEncoder(config)


def build_speech_tokenizer(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``S3Tokenizer``: a recording to speech tokens."""
    tokenizer = _import("models.s3tokenizer").S3Tokenizer("speech_tokenizer_v2_25hz")
    if dimensions != FULL:
        width = 64 * dimensions.tokenizer_heads
        tokenizer.encoder = AudioEncoderV2(
            n_mels=128,
            n_state=width,
            n_head=dimensions.tokenizer_heads,
            n_layer=dimensions.tokenizer_layers,
            stride=2,
            use_sdpa=False,
        )
        tokenizer.quantizer = FSQVectorQuantization(width, codebook_size=3**8)
    return tokenizer


def build_speaker_encoder(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``CAMPPlus``: a recording to an x-vector."""
    camp_plus = _import("models.s3gen.xvector").CAMPPlus
    if dimensions == FULL:
        return camp_plus(memory_efficient=False)
    return camp_plus(
        growth_rate=dimensions.xvector_growth,
        init_channels=dimensions.xvector_channels,
        memory_efficient=False,
    )


def mel_extractor() -> Any:
    """Returns upstream's ``mel_spectrogram``: samples at 24 kHz, [1, n], to a mel, [1, 80, T]."""
    extract_mel = _import("models.s3gen.utils.mel").mel_spectrogram
    # Upstream keeps the window and the filters of its first call for good. Made in inference mode, they could
    # not take part in a training step of the same process.
    with torch.inference_mode(mode=False):
        extract_mel(torch.zeros(1, MODEL_SAMPLE_RATE_HZ))
    return extract_mel


def voice_encoder_mel(samples: Any) -> Any:
    """Returns the voice encoder's mel, float32 [T, 40], of samples at 16 kHz, [n]."""
    return (
        _import("models.voice_encoder.melspec")
        .melspectrogram(samples, _import("models.voice_encoder").VoiceEncConfig)
        .T
    )


def speaker_fbank(samples: Any) -> Any:
    """Returns what CAMPPlus takes, float32 [T, 80], of samples at 16 kHz, [n]."""
    features, _, _ = _import("models.s3gen.xvector").extract_feature([samples])
    return features[0]


def _import(name: str) -> Any:
    """Imports ``chatterbox.<name>`` without the packages around it."""
    if _ALIAS not in sys.modules:
        # Looks for the package without running it.
        spec = importlib.util.find_spec("chatterbox")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        folder = Path(spec.submodule_search_locations[0])
        for package in _PACKAGES:
            empty = ModuleType(_ALIAS + package)
            empty.__path__ = [str(folder.joinpath(*package.split(".")))]
            sys.modules[empty.__name__] = empty
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations that no user can act on
        return importlib.import_module(f"{_ALIAS}.{name}")
