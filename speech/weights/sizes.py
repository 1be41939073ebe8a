"""The sizes of T3 that its file shows: a fine-tune may have others than the model that it was made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from speech.models.dimensions import ModelDimensions
from speech.models.spec import CODEBOOK_SIZE, ModelSpec

LARGEST_VOCABULARY = 1_000_000  # what is larger is a mistake

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Names:
    """Names of T3's tensors whose shapes show a backbone's sizes."""

    layer: re.Pattern[str]  # of any tensor of a layer
    feed_forward: str  # of a matrix with the feed-forward width
    feed_forward_axis: int


_NAMES: dict[Literal["llama", "gpt2"], _Names] = {
    "llama": _Names(re.compile(r"tfmr\.layers\.(\d+)\."), "tfmr.layers.0.mlp.gate_proj.weight", 0),
    "gpt2": _Names(re.compile(r"tfmr\.h\.(\d+)\."), "tfmr.h.0.mlp.c_fc.weight", 1),
}


def with_vocabularies(spec: ModelSpec, shapes: Shapes) -> ModelSpec:
    """Returns a model with the numbers of ids that T3's tensors have.

    shapes: of T3's file. What they do not show stays. Raises ValueError for impossible numbers.
    """
    text = _axis(shapes, "text_emb.weight", 0, spec.text_vocabulary)
    speech = _axis(shapes, "speech_emb.weight", 0, spec.speech_vocabulary)
    tokens = spec.tokens
    least_text = 1 + max(tokens.start_text or 0, tokens.stop_text or 0)
    least_speech = 1 + max(CODEBOOK_SIZE - 1, tokens.start_speech, tokens.stop_speech)
    for kind, count, least in (("text", text, least_text), ("speech", speech, least_speech)):
        if not least <= count <= LARGEST_VOCABULARY:
            raise ValueError(f"it has {count} {kind} ids, and must have {least} to {LARGEST_VOCABULARY}")
    return replace(spec, text_vocabulary=text, speech_vocabulary=speech)


def with_backbone(spec: ModelSpec, shapes: Shapes) -> ModelDimensions:
    """Returns a model's dimensions with those of T3's backbone that its tensors have.

    The heads are as wide as the published ones. Raises ValueError where they do not divide the width.
    """
    published, names = spec.dimensions, _NAMES[spec.family]
    layers = {int(match[1]) for name in shapes if (match := names.layer.match(name))}
    width = _axis(shapes, "text_emb.weight", 1, published.t3_width)
    head_width = published.t3_width // published.t3_heads
    if width % head_width:
        raise ValueError(f"its width of {width} is no multiple of {head_width}, the width of a head")
    return replace(
        published,
        t3_width=width,
        t3_heads=width // head_width,
        t3_layers=1 + max(layers) if layers else published.t3_layers,
        t3_feed_forward=_axis(shapes, names.feed_forward, names.feed_forward_axis, published.t3_feed_forward),
    )


def _axis(shapes: Shapes, name: str, axis: int, default: int) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if len(shape) == 2 else default
