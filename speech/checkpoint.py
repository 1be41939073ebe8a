"""A folder of weights to a model that is ready to speak."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from errors import ModelUnavailable
from speech.conditionals import Conditionals
from speech.locate import Checkpoint
from speech.packed import read_packed
from speech.s3gen.shapes import s3gen_shapes
from speech.s3gen.token_to_wave import TokenToWave
from speech.s3gen.weights import prepare
from speech.sizes import FULL, TINY, Sizes
from speech.t3.weights import T3Weights, upstream_shapes
from speech.tokenizer import EnglishTokenizer
from speech.variants import Variant
from speech.weight_files import (
    S3GEN_FILE,
    S3GEN_PREFIXES,
    T3_FILE,
    check_shapes,
    fingerprint,
    read_weights,
)

if TYPE_CHECKING:
    from speech.reference_encoder import ReferenceEncoder

log = logging.getLogger(__name__)

CONFIG_FILE = "config.json"  # written by speech.smoke; the published repository has none
CONFIG_FORMAT = "chatterbox-voice-worker/1"


class TokenToSamples(Protocol):
    def __call__(self, tokens: Tensor, prompt: Mapping[str, Tensor | None]) -> Tensor:
        """See ``TokenToWave``."""
        ...


class LazyReferenceEncoder:
    """Loads at the first call, once, whichever thread comes first."""

    def __init__(self, folder: Path, sizes: Sizes, device: torch.device) -> None:
        self._place = folder, sizes, device
        self._lock = threading.Lock()
        self._loaded: ReferenceEncoder | None = None

    def __call__(self) -> ReferenceEncoder:
        """Raises ModelUnavailable."""
        with self._lock:
            if self._loaded is None:
                from speech.reference_encoder import load_reference_encoder  # imports upstream's package

                self._loaded = load_reference_encoder(*self._place)
            return self._loaded


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint, all on ``device``.

    t3: our weights, or upstream's module where its own loop is to decode. token_to_wave: S3Gen.
    reference_encoder: what a new reference needs, which is loaded when first called. tokenizer:
    text to ids. builtin_voice: None when the checkpoint has none. revision: see ``Checkpoint``.
    """

    variant: Variant
    revision: str
    untrained: bool
    is_tiny: bool
    device: torch.device
    t3: T3Weights | Any
    token_to_wave: TokenToSamples
    reference_encoder: LazyReferenceEncoder
    tokenizer: EnglishTokenizer
    builtin_voice: Conditionals | None


def load_model(
    variant: Variant,
    checkpoint: Checkpoint,
    device: torch.device,
    *,
    t3_dtype: torch.dtype = torch.float32,
    upstream: bool = False,
) -> Model:
    """Read a checkpoint straight to ``device``.

    t3_dtype: of T3's weights; everything else is float32. upstream: run T3 and S3Gen as upstream does.
    Raises ModelUnavailable when a file is damaged, does not fit the model, or is untrained
    without having been asked for by name.
    """
    folder = checkpoint.folder
    sizes, untrained = read_config(folder)
    if untrained and not checkpoint.chosen_by_name:
        raise ModelUnavailable(
            "the weights in the hub cache are an untrained smoke checkpoint; remove them, or name "
            "their folder in CHECKPOINT_DIR if noise is what you want"
        )

    content = fingerprint(folder, variant.files)
    t3: T3Weights | Any
    token_to_wave: TokenToSamples
    if upstream:
        from speech.upstream import UpstreamTokenToWave
        from speech.upstream_checkpoint import load_upstream

        t3, s3gen = load_upstream(folder, sizes, device)
        token_to_wave = UpstreamTokenToWave(s3gen)
    else:
        packed = read_packed(folder, content, device) if t3_dtype == torch.bfloat16 else None
        t3_weights, s3gen_weights = packed or (
            read_weights(folder / T3_FILE, device),
            read_weights(folder / S3GEN_FILE, device, S3GEN_PREFIXES),
        )
        t3 = _make_t3(t3_weights, sizes, t3_dtype)
        token_to_wave = _make_s3gen(s3gen_weights, sizes)
    return Model(
        variant=variant,
        revision=checkpoint.revision or content,
        untrained=untrained,
        is_tiny=sizes == TINY,
        device=device,
        t3=t3,
        token_to_wave=token_to_wave,
        reference_encoder=LazyReferenceEncoder(folder, sizes, device),
        tokenizer=EnglishTokenizer(folder / "tokenizer.json"),
        builtin_voice=_read_builtin_voice(folder / variant.builtin_voice, device),
    )


def _make_t3(weights: Mapping[str, Tensor], sizes: Sizes, dtype: torch.dtype) -> T3Weights:
    check_shapes(weights, upstream_shapes(sizes.t3_width, sizes.t3_layers, sizes.t3_feed_forward), T3_FILE)
    return T3Weights.from_upstream(weights, sizes.t3_heads, dtype)


def _make_s3gen(weights: Mapping[str, Tensor], sizes: Sizes) -> TokenToWave:
    shapes = s3gen_shapes(sizes)
    check_shapes(weights, shapes, S3GEN_FILE, may_exceed=True)
    return TokenToWave(prepare({name: weights[name] for name in shapes}))


def read_config(folder: Path) -> tuple[Sizes, bool]:
    """Sizes and whether the weights are untrained; the published ones where no file says so."""
    file = folder / CONFIG_FILE
    if not file.exists():
        return FULL, False
    try:
        config = json.loads(file.read_text())
        if not isinstance(config, dict) or config.get("format") != CONFIG_FORMAT:
            return FULL, False
        return Sizes(**config["sizes"]), bool(config["untrained"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            f"{CONFIG_FILE} beside the weights is damaged; write the checkpoint again with speech.smoke"
        ) from error


def _read_builtin_voice(file: Path, device: torch.device) -> Conditionals | None:
    if not file.exists():
        return None
    try:
        content = torch.load(file, map_location=device, weights_only=True)
        t3, decoder_prompt = content["t3"], dict(content["gen"])
        return Conditionals(
            speaker_embedding=t3["speaker_emb"].to(torch.float32),
            t3_prompt_tokens=t3["cond_prompt_speech_tokens"].long(),
            decoder_prompt=decoder_prompt,
        )
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelUnavailable(f"{file.name} cannot be read; download the weights again") from error
