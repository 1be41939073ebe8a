"""T3's weights as its steps read them: one matrix where upstream has three, in one number format.

Named as in upstream's ``T3.state_dict()`` (chatterbox-tts 0.1.7), from which they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from speech.t3.linear import pack

# The Llama configuration of both published sizes, ``LLAMA_CONFIGS["Llama_520M"]``.
ROTARY_BASE = 500_000.0
ROTARY_FACTOR = 8.0
ROTARY_LOW_FREQUENCY_FACTOR = 1.0
ROTARY_HIGH_FREQUENCY_FACTOR = 4.0
ROTARY_TRAINED_POSITIONS = 8192
RMS_EPSILON = 1e-5

# ``T3Config.english_only()``: ids and learned positions, and what the file holds without a use.
TEXT_IDS, TEXT_POSITIONS = 704, 2050
SPEECH_IDS, SPEECH_POSITIONS = 8194, 4100
SPEAKER_WIDTH, PERCEIVER_POSITIONS, UNUSED_IDS = 256, 32, 8


@dataclass(frozen=True, eq=False)
class Layer:
    """One Llama layer. D: width, F: feed-forward width.

    attention_norm, feed_forward_norm: [D]. qkv: [3D, D], rows of queries, keys, values.
    out: [D, D]. gate_up: [2F, D]. down: [D, F].
    """

    attention_norm: Tensor
    qkv: Tensor
    out: Tensor
    feed_forward_norm: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True, eq=False)
class Perceiver:
    """Condenses a voice's prompt to 32 positions. queries: [1, 32, D]; the rest as in a transformer's
    attention with biases, one set for both of its passes."""

    queries: Tensor
    norm: tuple[Tensor, Tensor]
    to_queries: tuple[Tensor, Tensor]
    to_keys: tuple[Tensor, Tensor]
    to_values: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class T3Weights:
    """Everything that T3 computes with. All on one device; all of one dtype but for norms'
    frequencies, which stay float32.

    speaker: weight and bias, [D, 256] and [D]. exaggeration: [D, 1]. *_embedding: [ids, D].
    *_positions: [positions, D]. norm: [D]. head: [speech ids, D].
    rotary_frequencies: float32 [head width / 2].
    """

    heads: int
    layers: tuple[Layer, ...]
    norm: Tensor
    head: Tensor
    text_embedding: Tensor
    text_positions: Tensor
    speech_embedding: Tensor
    speech_positions: Tensor
    speaker: tuple[Tensor, Tensor]
    exaggeration: Tensor
    perceiver: Perceiver
    rotary_frequencies: Tensor

    @property
    def width(self) -> int:
        return self.norm.shape[0]

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def vocabulary(self) -> int:
        return self.head.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.norm.dtype

    @property
    def device(self) -> torch.device:
        return self.norm.device

    @classmethod
    def from_upstream(cls, state: Mapping[str, Tensor], heads: int, dtype: torch.dtype) -> T3Weights:
        """Of upstream's names and shapes. Raises KeyError for one that is missing."""

        def take(*names: str) -> Tensor:
            return (
                torch.cat([state[name].to(dtype) for name in names])
                if names[1:]
                else state[names[0]].to(dtype)
            )

        def affine(name: str) -> tuple[Tensor, Tensor]:
            return take(f"{name}.weight"), take(f"{name}.bias")

        def layer(index: int) -> Layer:
            at = f"tfmr.layers.{index}"
            return Layer(
                attention_norm=take(f"{at}.input_layernorm.weight"),
                qkv=pack(take(*(f"{at}.self_attn.{part}_proj.weight" for part in "qkv"))),
                out=pack(take(f"{at}.self_attn.o_proj.weight")),
                feed_forward_norm=take(f"{at}.post_attention_layernorm.weight"),
                gate_up=pack(take(*(f"{at}.mlp.{part}_proj.weight" for part in ("gate", "up")))),
                down=pack(take(f"{at}.mlp.down_proj.weight")),
            )

        attention = "cond_enc.perceiver.attn"
        norm = take("tfmr.norm.weight")
        return cls(
            heads=heads,
            layers=tuple(layer(index) for index in range(_count_layers(state))),
            norm=norm,
            head=pack(take("speech_head.weight")),
            text_embedding=take("text_emb.weight"),
            text_positions=take("text_pos_emb.emb.weight"),
            speech_embedding=take("speech_emb.weight"),
            speech_positions=take("speech_pos_emb.emb.weight"),
            speaker=affine("cond_enc.spkr_enc"),
            exaggeration=take("cond_enc.emotion_adv_fc.weight"),
            perceiver=Perceiver(
                queries=take("cond_enc.perceiver.pre_attention_query"),
                norm=affine(f"{attention}.norm"),
                to_queries=affine(f"{attention}.to_q"),
                to_keys=affine(f"{attention}.to_k"),
                to_values=affine(f"{attention}.to_v"),
                out=affine(f"{attention}.proj_out"),
            ),
            rotary_frequencies=rotary_frequencies(norm.shape[0] // heads).to(norm.device),
        )


def upstream_shapes(width: int, layers: int, feed_forward: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of everything in upstream's file, ``T3.state_dict()`` of the English model."""
    square, affine = (width, width), {"weight": (width, width), "bias": (width,)}
    attention = "cond_enc.perceiver.attn"
    shapes: dict[str, tuple[int, ...]] = {
        "text_emb.weight": (TEXT_IDS, width),
        "text_pos_emb.emb.weight": (TEXT_POSITIONS, width),
        "text_head.weight": (TEXT_IDS, width),
        "speech_emb.weight": (SPEECH_IDS, width),
        "speech_pos_emb.emb.weight": (SPEECH_POSITIONS, width),
        "speech_head.weight": (SPEECH_IDS, width),
        "cond_enc.spkr_enc.weight": (width, SPEAKER_WIDTH),
        "cond_enc.spkr_enc.bias": (width,),
        "cond_enc.emotion_adv_fc.weight": (width, 1),
        "cond_enc.perceiver.pre_attention_query": (1, PERCEIVER_POSITIONS, width),
        f"{attention}.norm.weight": (width,),
        f"{attention}.norm.bias": (width,),
        "tfmr.embed_tokens.weight": (UNUSED_IDS, width),
        "tfmr.norm.weight": (width,),
    }
    for part in ("to_q", "to_k", "to_v", "proj_out"):
        shapes |= {f"{attention}.{part}.{name}": shape for name, shape in affine.items()}
    for index in range(layers):
        at = f"tfmr.layers.{index}"
        shapes |= {f"{at}.self_attn.{part}_proj.weight": square for part in "qkvo"}
        shapes |= {f"{at}.mlp.{part}_proj.weight": (feed_forward, width) for part in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (width, feed_forward)
        shapes |= {f"{at}.{part}_layernorm.weight": (width,) for part in ("input", "post_attention")}
    return shapes


def rotary_frequencies(head_width: int) -> Tensor:
    """Radians a position, float32 [head width / 2], with Llama 3's scaling for long contexts
    (``_compute_llama3_parameters`` in transformers)."""
    plain = 1.0 / ROTARY_BASE ** (torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
    wavelengths = 2 * torch.pi / plain
    trained = ROTARY_TRAINED_POSITIONS
    longest, shortest = trained / ROTARY_LOW_FREQUENCY_FACTOR, trained / ROTARY_HIGH_FREQUENCY_FACTOR
    share = (trained / wavelengths - ROTARY_LOW_FREQUENCY_FACTOR) / (
        ROTARY_HIGH_FREQUENCY_FACTOR - ROTARY_LOW_FREQUENCY_FACTOR
    )
    between = (1 - share) * plain / ROTARY_FACTOR + share * plain
    slow = torch.where(wavelengths > longest, plain / ROTARY_FACTOR, plain)
    return torch.where((wavelengths >= shortest) & (wavelengths <= longest), between, slow)


def _count_layers(state: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[2]) for name in state if name.startswith("tfmr.layers."))
