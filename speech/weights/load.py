"""Loading: a folder of weights to a model that is ready to speak."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from errors import ModelUnavailable
from speech.contract import NOTICES, PARAMETER_RANGES
from speech.models.dimensions import FULL, ModelDimensions
from speech.models.gpt2_t3 import Gpt2T3, Gpt2Weights, gpt2_shapes
from speech.models.llama_t3 import LlamaT3, T3Weights, upstream_shapes
from speech.models.spec import MODELS, ModelSpec
from speech.models.t3 import T3
from speech.models.tokenizers import TextTokenizer, load_tokenizer
from speech.reference.conditionals import Conditionals, are_speech_tokens
from speech.reference.encoder import RecordingEncoder, load_reference_encoder
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import Renderer, S3Gen
from speech.s3gen.shapes import s3gen_shapes
from speech.s3gen.weights import WeightsView, prepare
from speech.text.duration import UNITS_PER_S
from speech.text.split import MIN_MAX_CHUNK_S
from speech.weights.checkpoint import Checkpoint
from speech.weights.config import CONFIG_FILE, CONFIG_FORMAT, damaged_config, read_config_file
from speech.weights.files import S3GEN_PREFIXES, check_shapes, fingerprint, read_shapes, read_weights
from speech.weights.pack import read_packed
from speech.weights.shared import SharedParts, digest_of_conditionals
from speech.weights.sizes import with_backbone, with_vocabularies

log = logging.getLogger(__name__)

# Longer chunks do not fit into T3's longest answer.
MAX_CHUNK_S = max(spec.max_chunk_s for spec in MODELS.values())
MAX_DIMENSION = 10_000  # of a network: what is larger is a mistake
PUBLISHED = "published"  # of weights that need no notice, beside the keys of ``NOTICES``


@dataclass(frozen=True)
class CheckpointConfig:
    """A checkpoint's ``config.json`` says how its networks are built and used.

    The defaults are those of the published model.
    """

    dimensions: ModelDimensions = FULL
    has_sizes: bool = False  # whether it says them, and not the model or its file
    text_vocabulary: int | None = None  # of T3's file; None: the model's
    speech_vocabulary: int | None = None
    kind: str | None = None  # of weights that are not the published ones, a key of ``NOTICES``
    max_chunk_s: float | None = None  # replaces ``ModelSpec.max_chunk_s``
    # Replace those of ``ModelSpec.default_parameters``; others have no effect.
    default_parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def notice(self) -> str | None:
        """What log and replies say of the weights; None for the published ones."""
        return None if self.kind is None else NOTICES[self.kind]

    def apply(self, spec: ModelSpec) -> ModelSpec:
        """Returns the model as this checkpoint was trained to be used."""
        return dataclasses.replace(
            spec,
            text_vocabulary=self.text_vocabulary or spec.text_vocabulary,
            speech_vocabulary=self.speech_vocabulary or spec.speech_vocabulary,
            max_chunk_s=self.max_chunk_s or spec.max_chunk_s,
            default_parameters={
                name: self.default_parameters.get(name, value)
                for name, value in spec.default_parameters.items()
            },
        )


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint."""

    spec: ModelSpec
    dimensions: ModelDimensions
    revision: str  # the hub's commit, or the fingerprint of weights and configuration
    notice: str | None  # of ``speech.contract.NOTICES``
    device: torch.device
    t3: T3 | Any  # or upstream's module, for the reference engine
    s3gen: Renderer
    reference_encoder: RecordingEncoder
    conditionals_digest: str  # of all that conditionals depend on besides the recording, 16 hex digits
    tokenizer: TextTokenizer
    builtin_voice: Conditionals | None  # on the CPU; None when the checkpoint has none
    t3_file: Path | None = None  # of T3's weights, beside which ``speech.weights.heads`` are kept

    @property
    def is_tiny(self) -> bool:
        """Whether it has the size that tests use."""
        return self.dimensions.is_tiny


def load_model(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    device: torch.device,
    t3_dtype: torch.dtype = torch.float32,
    *,
    together: bool = False,
    shared: SharedParts | None = None,
) -> Model:
    """Reads a checkpoint straight to ``device``.

    t3_dtype: of T3's weights. With bfloat16, S3Gen's flow computes in bfloat16, too, and on a GPU chunks are
    rendered together. Everything else is float32. together: render them together in float32, too. shared:
    the parts of the models that were loaded before; this one's join them. Raises ModelUnavailable when a
    file is damaged or does not fit the model.
    """
    config = check_config(checkpoint, spec)
    spec, dimensions = config.apply(spec), config.dimensions
    shared = shared or SharedParts()
    content = fingerprint(checkpoint.files(spec.files.all))
    packed = t3_dtype == torch.bfloat16
    # Made before S3Gen is read, so that its float32 weights are gone by then.
    t3 = _make_t3(_read(checkpoint.file(spec.files.t3), device, packed=packed), spec, dimensions, t3_dtype)
    s3gen_file = checkpoint.file(spec.files.s3gen)

    def read_s3gen() -> WeightsView:
        weights = _read(s3gen_file, device, S3GEN_PREFIXES, packed=packed)
        shapes = s3gen_shapes(dimensions, spec.flow)
        check_shapes(weights, shapes, spec.files.s3gen, may_exceed=True)
        return prepare({name: weights[name] for name in shapes})

    def make_s3gen(weights: WeightsView) -> S3Gen | PackedS3Gen:
        return _make_s3gen(weights, spec, device, t3_dtype, together=together)

    conditionals_digest = digest_of_conditionals(checkpoint, spec, dimensions)
    return Model(
        spec=spec,
        dimensions=dimensions,
        revision=checkpoint.revision or with_config(checkpoint.folder, content),
        notice=config.notice,
        device=device,
        t3=t3,
        s3gen=shared.s3gen(s3gen_file, spec.flow, read_s3gen, make_s3gen),
        reference_encoder=shared.encoder(
            conditionals_digest, lambda: load_reference_encoder(checkpoint, spec, dimensions, device)
        ),
        conditionals_digest=conditionals_digest,
        tokenizer=load_tokenizer(spec, checkpoint, may_have_fewer_ids=config.notice is not None),
        builtin_voice=read_builtin_voice(checkpoint.file(spec.files.builtin_voice)),
        t3_file=checkpoint.file(spec.files.t3),
    )


def _read(
    file: Path, device: torch.device, prefixes: tuple[str, ...] = ("",), *, packed: bool
) -> Mapping[str, Tensor]:
    """Reads a file's tensors, packed ones where there are any and ``packed`` allows it."""
    weights = read_packed(file, device) if packed else None
    return read_weights(file, device, prefixes) if weights is None else weights


def _make_t3(
    weights: Mapping[str, Tensor], spec: ModelSpec, dimensions: ModelDimensions, dtype: torch.dtype
) -> T3:
    heads, file = dimensions.t3_heads, spec.files.t3
    if spec.family == "gpt2":
        # Upstream removes the table of word positions that it does not use, and training may save the rest.
        unused = "tfmr.wte.weight"
        used = {name: tensor for name, tensor in weights.items() if name != unused}
        check_shapes(used, gpt2_shapes(spec, dimensions), file, may_lack=frozenset({unused}))
        return Gpt2T3(Gpt2Weights.from_upstream(weights, heads, dtype), spec)
    check_shapes(weights, upstream_shapes(spec, dimensions), file)
    return LlamaT3(T3Weights.from_upstream(weights, heads, dtype), spec)


def _make_s3gen(
    weights: WeightsView, spec: ModelSpec, device: torch.device, dtype: torch.dtype, *, together: bool
) -> S3Gen | PackedS3Gen:
    on_gpu, together = device.type == "cuda", together or dtype == torch.bfloat16
    if not (on_gpu or together):
        return S3Gen(weights, spec.flow)
    return PackedS3Gen(
        weights,
        spec.flow,
        dtype,
        graphs=on_gpu and dtype == torch.bfloat16,  # in float32 attention has no kernel that they could hold
        in_batches=on_gpu or dtype == torch.float32,
        together=together,
    )


def check_config(checkpoint: Checkpoint, spec: ModelSpec) -> CheckpointConfig:
    """Reads a checkpoint's configuration, and the sizes of its T3.

    Raises ModelUnavailable for weights that are not the published ones and that nobody asked for, and for a
    T3 that does not fit the model or its tokenizer.
    """
    config = read_config(checkpoint.folder, spec.dimensions)
    if config.notice is not None and not checkpoint.may_be_unpublished:
        raise ModelUnavailable(
            f"the weights in the hub cache are not the published ones: {config.notice}",
            hint="remove them, or name their folder in CHECKPOINT_DIR if you want them",
        )
    file = checkpoint.file(spec.files.t3)
    shapes = read_shapes(file)
    try:
        sized = with_vocabularies(spec, shapes)
        dimensions = config.dimensions
        if not config.has_sizes:
            dimensions = _dimensions(dataclasses.asdict(with_backbone(spec, shapes)))
    except ValueError as error:
        raise ModelUnavailable(
            f"{file.name} does not fit the model {spec.name}: {error}",
            hint="use the files of one model; what shapes cannot say stands in config.json",
        ) from error
    if sized.text_vocabulary != spec.text_vocabulary:
        _check_tokenizer_is_own(checkpoint, sized, spec.text_vocabulary)
    return dataclasses.replace(
        config,
        dimensions=dimensions,
        text_vocabulary=sized.text_vocabulary,
        speech_vocabulary=sized.speech_vocabulary,
    )


def _check_tokenizer_is_own(checkpoint: Checkpoint, spec: ModelSpec, published_ids: int) -> None:
    """Raises ModelUnavailable where a T3 with another vocabulary would read the base model's ids."""
    borrowed = [name for name in spec.files.tokenizer if checkpoint.file(name).parent != checkpoint.folder]
    if borrowed:
        raise ModelUnavailable(
            f"T3 has {spec.text_vocabulary} text ids, and the base model's tokenizer is made for "
            f"{published_ids}",
            hint=f"put the tokenizer that it was trained with into its folder: {', '.join(borrowed)}",
        )


def with_config(folder: Path, content: str) -> str:
    """Returns 16 hex digits that name a checkpoint's weights, of this fingerprint, and its configuration."""
    file = folder / CONFIG_FILE
    if not file.exists():
        return content
    return hashlib.sha256(content.encode() + file.read_bytes()).hexdigest()[:16]


def read_config(folder: Path, published: ModelDimensions = FULL) -> CheckpointConfig:
    """Reads the configuration of the checkpoint in a folder. Raises ModelUnavailable for a damaged one.

    published: the dimensions of weights without a configuration.
    """
    config = read_config_file(folder)
    if config is None:
        return CheckpointConfig(published)
    try:
        kind = config.get("weights", PUBLISHED)
        if kind != PUBLISHED and kind not in NOTICES:
            raise ValueError("unknown weights")
        sizes = config.get("sizes")
        return CheckpointConfig(
            dimensions=published if sizes is None else _dimensions(sizes),
            has_sizes=sizes is not None,
            kind=None if kind == PUBLISHED else str(kind),
            max_chunk_s=_max_chunk_s(config),
            default_parameters=_parameters(config.get("default_parameters") or {}),
        )
    except (ValueError, TypeError) as error:
        raise damaged_config(error) from error


def _dimensions(sizes: object) -> ModelDimensions:
    """Returns valid dimensions. Raises ValueError or TypeError."""
    if not isinstance(sizes, dict):
        raise ValueError("sizes must be an object")
    dimensions = ModelDimensions(**sizes)
    for name, value in dataclasses.asdict(dimensions).items():
        if type(value) is not int or not 1 <= value <= MAX_DIMENSION:
            raise ValueError(f"{name} must be a whole number from 1 to {MAX_DIMENSION}")
    for width, heads in (("t3_width", "t3_heads"), ("flow_width", "flow_heads")):
        if getattr(dimensions, width) % getattr(dimensions, heads):
            raise ValueError(f"{width} must be a multiple of {heads}")
    return dimensions


def _max_chunk_s(config: Mapping[str, object]) -> float | None:
    """Returns a valid length of chunks: ``max_chunk_s``, or ``max_chunk_chars`` of older files.

    The latter counts letters of English. Raises ValueError.
    """
    value, letters = config.get("max_chunk_s"), config.get("max_chunk_chars")
    if value is None and letters is None:
        return None
    if value is None and type(letters) is int:
        value = letters / UNITS_PER_S
    if isinstance(value, (int, float)) and MIN_MAX_CHUNK_S <= value <= MAX_CHUNK_S:
        return value
    raise ValueError(f"max_chunk_s must be a number from {MIN_MAX_CHUNK_S:.2f} to {MAX_CHUNK_S}")


def _parameters(values: object) -> dict[str, float]:
    """Returns valid parameters. Raises ValueError."""
    if not isinstance(values, dict):
        raise ValueError("default_parameters must be an object")
    for name, value in values.items():
        if name not in PARAMETER_RANGES:
            raise ValueError(f"default_parameters has no {name}")
        low, high = PARAMETER_RANGES[name]
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError(f"{name} must be a number from {low} to {high}")
    return values


def write_config(
    folder: Path,
    dimensions: ModelDimensions,
    kind: str,
    *,
    max_chunk_s: float | None = None,
    default_parameters: Mapping[str, float] | None = None,
) -> None:
    """Writes what ``read_config`` reads. kind: a key of ``NOTICES``. None: the model's own value holds."""
    config = {
        "format": CONFIG_FORMAT,
        "weights": kind,
        "sizes": dataclasses.asdict(dimensions),
        "max_chunk_s": max_chunk_s,
        "default_parameters": dict(default_parameters or {}),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def read_builtin_voice(file: Path) -> Conditionals | None:
    """Reads upstream's ``conds.pt`` to the CPU; None when there is no such file. Raises ModelUnavailable."""
    if not file.exists():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        t3, prompt = content["t3"], content["gen"]
        voice = Conditionals(
            speaker_embedding=t3["speaker_emb"].float(),
            t3_prompt_tokens=t3["cond_prompt_speech_tokens"].long(),
            prompt_tokens=prompt["prompt_token"].long(),
            prompt_mel=prompt["prompt_feat"].float(),
            xvector=prompt["embedding"].float(),
        )
        if not all(are_speech_tokens(tokens) for tokens in (voice.t3_prompt_tokens, voice.prompt_tokens)):
            raise ValueError("ids that are no speech tokens")
        return voice
    except (
        OSError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelUnavailable(f"{file.name} cannot be read", hint="download the weights again") from error
