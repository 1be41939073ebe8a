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

import numpy as np
from numpy.typing import NDArray
from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization

from speech.models.dimensions import FULL, ModelDimensions
from speech.reference.spectra import mel_filters

_ALIAS = "_chatterbox_parts"
_PACKAGES = ("", ".models", ".models.s3gen")  # whose ``__init__`` is not run


def build_voice_encoder(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``VoiceEncoder``: ``spectra.voice_encoder_mel`` to an embedding of 256 values."""
    # The module's own mel, which nothing here calls, imports librosa and scipy.signal.
    without_mel: Any = ModuleType(f"{_ALIAS}.models.voice_encoder.melspec")
    without_mel.melspectrogram = None
    sys.modules[without_mel.__name__] = without_mel
    module = _import("models.voice_encoder")
    config = module.VoiceEncConfig()
    config.ve_hidden_size = dimensions.encoder_hidden
    return module.VoiceEncoder(config)


def build_speech_tokenizer(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``S3Tokenizer``: a recording to speech tokens."""
    module = _import("models.s3tokenizer.s3tokenizer")
    module.librosa = _Librosa  # the one thing that this module has from it, without its imports
    tokenizer = module.S3Tokenizer("speech_tokenizer_v2_25hz")
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


class _Librosa:
    class filters:  # noqa: N801, as librosa calls it
        @staticmethod
        def mel(sr: int, n_fft: int, n_mels: int) -> NDArray[np.float32]:
            return mel_filters(sr, n_fft, n_mels, sr / 2).copy()


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
