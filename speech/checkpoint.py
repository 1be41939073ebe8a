"""A folder of weights to modules that are ready to run.

Upstream's ``ChatterboxTTS.from_local`` initialises every weight at random and then copies the
files over it. Here modules are built without storage and the files' tensors become their
parameters. The result is the same, tensor by tensor.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from errors import ModelUnavailable
from speech.architecture import (
    FULL,
    TINY,
    EnTokenizer,
    Sizes,
    build_s3gen,
    build_t3,
    build_voice_encoder,
    parameters_on_meta,
    quiet_upstream,
)
from speech.conditionals import Conditionals
from speech.locate import Checkpoint
from speech.t3.weights import T3Weights, upstream_shapes
from speech.variants import Variant

log = logging.getLogger(__name__)

CONFIG_FILE = "config.json"  # written by speech.smoke; the published repository has none
CONFIG_FORMAT = "chatterbox-voice-worker/1"

# S3Gen buffers that upstream computes and the published file leaves out.
COMPUTED_BUFFERS = frozenset({"tokenizer._mel_filters", "tokenizer.window"})


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint.

    t3: our weights, or upstream's module where its own loop is to decode. s3gen, voice_encoder:
    upstream's modules, in eval mode. tokenizer: text to ids. builtin_voice: None when the
    checkpoint has none. All on ``device``. revision: see ``Checkpoint``.
    """

    variant: Variant
    revision: str
    untrained: bool
    is_tiny: bool
    device: torch.device
    t3: T3Weights | Any
    s3gen: Any
    voice_encoder: Any
    tokenizer: Any
    builtin_voice: Conditionals | None


def load_model(
    variant: Variant,
    checkpoint: Checkpoint,
    device: torch.device,
    *,
    t3_dtype: torch.dtype = torch.float32,
    upstream_t3: bool = False,
) -> Model:
    """Read a checkpoint straight to ``device``.

    t3_dtype: of T3's weights; everything else is float32. upstream_t3: load T3 as upstream's module.
    Raises ModelUnavailable when a file is damaged, does not fit the model, or is untrained
    without having been asked for by name.
    """
    folder = checkpoint.folder
    sizes, untrained = _read_config(folder)
    if untrained and not checkpoint.chosen_by_name:
        raise ModelUnavailable(
            "the weights in the hub cache are an untrained smoke checkpoint; remove them, or name "
            "their folder in CHECKPOINT_DIR if noise is what you want"
        )
    quiet_upstream()
    with parameters_on_meta(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside upstream's constructors
        s3gen, voice_encoder = build_s3gen(sizes), build_voice_encoder(sizes)
    assign_weights(voice_encoder, folder / "ve.safetensors", device)
    t3_file = folder / "t3_cfg.safetensors"
    t3 = (
        _load_upstream_t3(sizes, t3_file, device)
        if upstream_t3
        else _load_t3(sizes, t3_file, device, t3_dtype)
    )
    assign_weights(s3gen, folder / "s3gen.safetensors", device, may_lack=COMPUTED_BUFFERS, may_exceed=True)
    return Model(
        variant=variant,
        revision=checkpoint.revision or fingerprint(folder, variant.files),
        untrained=untrained,
        is_tiny=sizes == TINY,
        device=device,
        t3=t3,
        s3gen=s3gen,
        voice_encoder=voice_encoder,
        tokenizer=_read_tokenizer(folder / "tokenizer.json"),
        builtin_voice=_read_builtin_voice(folder / variant.builtin_voice, device),
    )


def _load_t3(sizes: Sizes, file: Path, device: torch.device, dtype: torch.dtype) -> T3Weights:
    weights = read_weights(file, device)
    check_shapes(weights, upstream_shapes(sizes.t3_width, sizes.t3_layers, sizes.t3_feed_forward), file)
    return T3Weights.from_upstream(weights, sizes.t3_heads, dtype)


def _load_upstream_t3(sizes: Sizes, file: Path, device: torch.device) -> Any:
    with parameters_on_meta():
        t3 = build_t3(sizes)
    assign_weights(t3, file, device)
    return t3


def assign_weights(
    module: nn.Module,
    file: Path,
    device: torch.device,
    *,
    may_lack: frozenset[str] = frozenset(),
    may_exceed: bool = False,
) -> None:
    """Make the file's tensors the module's own, then put the module into eval mode on ``device``.

    may_lack: names that need not be in the file. may_exceed: ignore what the module does not
    have, as upstream's ``strict=False`` does for S3Gen.
    """
    weights = read_weights(file, device)
    expected = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    check_shapes(weights, shapes, file, may_lack=may_lack, may_exceed=may_exceed)
    # Upstream copies into float32 parameters; an assigned tensor brings its own type along.
    fitting = {name: weights[name].to(expected[name].dtype) for name in expected.keys() & weights.keys()}
    module.load_state_dict(fitting, strict=False, assign=True)
    module.to(device).eval().requires_grad_(False)


def read_weights(file: Path, device: torch.device) -> dict[str, Tensor]:
    """Raises ModelUnavailable."""
    try:
        return load_file(file, device=str(device))
    except (SafetensorError, OSError) as error:
        raise ModelUnavailable(
            f"{file.name} cannot be read ({error.__class__.__name__}); download the weights again"
        ) from error


def check_shapes(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    file: Path,
    *,
    may_lack: frozenset[str] = frozenset(),
    may_exceed: bool = False,
) -> None:
    """Raises ModelUnavailable unless these are the tensors that the model has."""
    lacking = expected.keys() - weights.keys() - may_lack
    excess = weights.keys() - expected.keys()
    misshapen = {name for name in expected.keys() & weights.keys() if expected[name] != weights[name].shape}
    if lacking or misshapen or (excess and not may_exceed):
        log.error(
            "%s: lacking %s, misshapen %s, excess %s",
            file,
            sorted(lacking),
            sorted(misshapen),
            sorted(excess),
        )
        raise ModelUnavailable(
            f"{file.name} does not fit this model: {len(lacking)} tensors are missing, {len(misshapen)} have "
            f"another shape, {len(excess)} are unknown; use the files of one published revision"
        )


def fingerprint(folder: Path, files: tuple[str, ...]) -> str:
    """16 hex digits that name a folder of weights without reading gigabytes.

    SHA-256 over each file's name, size and first and last MiB: the safetensors headers, which
    list every tensor, are in the first.
    """
    digest = hashlib.sha256()
    mebibyte = 1 << 20
    for name in sorted(files):
        file = folder / name
        if not file.exists():
            continue
        size = file.stat().st_size
        digest.update(f"{name}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(mebibyte))
            stream.seek(max(0, size - mebibyte))
            digest.update(stream.read(mebibyte))
    return digest.hexdigest()[:16]


def _read_config(folder: Path) -> tuple[Sizes, bool]:
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


def _read_tokenizer(file: Path) -> Any:
    try:
        return EnTokenizer(str(file))
    except Exception as error:  # tokenizers raises bare Exception for every kind of damage
        raise ModelUnavailable(f"{file.name} cannot be read; download the weights again") from error


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
