"""T3 on a GPT-2 backbone: weights, prompt embedding, prefill and one decoding step.

The turbo and nano models have it. There is no guidance, no exaggeration and no perceiver: the voice is one
row for the speaker and one for each speech token of its prompt. One table of learned positions runs over
everything. Weights are named as in upstream's ``T3.state_dict()`` (chatterbox-tts 0.1.7), of which the
arithmetic is the same within rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.dimensions import ModelDimensions
from speech.models.linear import enough_rows, linear, linear_gelu, linear_plus, pack
from speech.models.spec import SPEAKER_WIDTH, ModelSpec
from speech.models.t3 import T3, mask_of, step_attention
from speech.t3.request import DecodeRequest
from speech.transfer import upload

# ``GPT2_MEDIUM_CONFIG`` of chatterbox-tts.
LAYER_NORM_EPSILON = 1e-5
POSITIONS = 8196

Affine = tuple[Tensor, Tensor]  # weight and bias


@dataclass(frozen=True, eq=False)
class Layer:
    """One GPT-2 block. D is the model's width, F the feed-forward width; weights are [out, in]."""

    attention_norm: Affine  # [D], [D]
    qkv: Affine  # [3D, D], [3D], rows of queries, keys, values
    out: Affine  # [D, D], [D]
    feed_forward_norm: Affine  # [D], [D]
    up: Affine  # [F, D], [F]
    down: Affine  # [D, F], [D]


@dataclass(frozen=True, eq=False)
class Gpt2Weights:
    """The weights of T3 on GPT-2, on one device and of one dtype."""

    heads: int
    layers: tuple[Layer, ...]
    norm: Affine  # [D], [D]
    head: Affine  # [speech ids, D], [speech ids]
    text_embedding: Tensor  # [text ids, D]
    speech_embedding: Tensor  # [speech ids, D]
    positions: Tensor  # [positions, D], over the whole sequence
    speaker: Affine  # [D, 256], [D]

    @classmethod
    def from_upstream(cls, state: Mapping[str, Tensor], heads: int, dtype: torch.dtype) -> Gpt2Weights:
        """Converts tensors by upstream's names. Raises KeyError for one that is missing."""

        def take(name: str) -> Tensor:
            return state[name].to(dtype)

        def affine(name: str) -> Affine:
            return take(f"{name}.weight"), take(f"{name}.bias")

        def product(name: str) -> Affine:
            """``transformers.pytorch_utils.Conv1D`` keeps its weight as [in, out]."""
            return pack(take(f"{name}.weight").T.contiguous()), take(f"{name}.bias")

        def layer(index: int) -> Layer:
            at = f"tfmr.h.{index}"
            return Layer(
                attention_norm=affine(f"{at}.ln_1"),
                qkv=product(f"{at}.attn.c_attn"),
                out=product(f"{at}.attn.c_proj"),
                feed_forward_norm=affine(f"{at}.ln_2"),
                up=product(f"{at}.mlp.c_fc"),
                down=product(f"{at}.mlp.c_proj"),
            )

        layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("tfmr.h."))
        return cls(
            heads=heads,
            layers=tuple(layer(index) for index in range(layers)),
            norm=affine("tfmr.ln_f"),
            head=(pack(take("speech_head.weight")), take("speech_head.bias")),
            text_embedding=take("text_emb.weight"),
            speech_embedding=take("speech_emb.weight"),
            positions=take("tfmr.wpe.weight"),
            speaker=affine("cond_enc.spkr_enc"),
        )


# Of upstream's tensors those that say nothing in speech, and are not loaded: GPT-2's table of word positions
# and its head for text.
UNUSED_TENSORS = frozenset({"tfmr.wte.weight", "text_head.weight"})


def gpt2_shapes(spec: ModelSpec, dimensions: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """Returns name and shape of every tensor in upstream's file (``T3.state_dict()``)."""
    width, wide = dimensions.t3_width, dimensions.t3_feed_forward
    shapes: dict[str, tuple[int, ...]] = {
        "text_emb.weight": (spec.text_vocabulary, width),
        "text_head.weight": (spec.text_vocabulary, width),
        "speech_emb.weight": (spec.speech_vocabulary, width),
        "speech_head.weight": (spec.speech_vocabulary, width),
        "speech_head.bias": (spec.speech_vocabulary,),
        "cond_enc.spkr_enc.weight": (width, SPEAKER_WIDTH),
        "cond_enc.spkr_enc.bias": (width,),
        "tfmr.wte.weight": (spec.text_vocabulary, width),  # not used
        "tfmr.wpe.weight": (POSITIONS, width),
    }
    norms = ["tfmr.ln_f"]
    for index in range(dimensions.t3_layers):
        at = f"tfmr.h.{index}"
        norms += [f"{at}.ln_1", f"{at}.ln_2"]
        for name, inputs, outputs in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, wide),
            ("mlp.c_proj", wide, width),
        ):
            shapes |= {f"{at}.{name}.weight": (inputs, outputs), f"{at}.{name}.bias": (outputs,)}
    return shapes | {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}


class Gpt2T3(T3):
    """T3 with ``Gpt2Weights``."""

    def __init__(self, weights: Gpt2Weights, spec: ModelSpec) -> None:
        width = len(weights.norm[0])
        super().__init__(
            spec,
            device=weights.positions.device,
            dtype=weights.positions.dtype,
            layers=len(weights.layers),
            heads=weights.heads,
            head_width=width // weights.heads,
            vocabulary=weights.speech_embedding.shape[0],
        )
        self.weights = weights

    def position_tables(self, positions: int) -> tuple[Tensor, ...]:
        """Returns the embeddings of the first positions, [positions, D]."""
        return (self.weights.positions[:positions],)

    def embed_prompt(self, request: DecodeRequest, *, use_cfg: bool) -> Tensor:
        """Returns the voice and the text, [1, N, D], without positions. There is no guidance.

        The start of speech is the first token of ``step``: ``T3.inference_turbo``.
        """
        assert not use_cfg, "this backbone has no unconditional row"
        weights = self.weights
        speaker = upload(request.speaker_embedding, self.device).to(self.dtype)
        prompt = weights.speech_embedding[upload(request.prompt_tokens, self.device)]
        text = weights.text_embedding[upload(request.text_tokens.long(), self.device)]
        return torch.cat([F.linear(speaker, *weights.speaker)[:, None], prompt, text[None]], dim=1)

    def embed_speech(self, tokens: Tensor) -> Tensor:
        """Returns tokens without positions, see ``T3.embed_speech``."""
        return self.weights.speech_embedding[tokens][None]

    @property
    def voice_positions(self) -> int:
        """The speaker's position and those of the longest prompt, see ``T3.voice_positions``."""
        return 1 + self.spec.conditioning.t3_prompt_tokens

    def text_positions(self, request: DecodeRequest) -> range:
        """The positions behind the voice's, see ``T3.text_positions``."""
        first = 1 + request.prompt_tokens.shape[1]
        return range(first, first + len(request.text_tokens))

    def attention(
        self, embedded: Tensor, tables: tuple[Tensor, ...]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yields queries, keys and values by layer, see ``T3.attention``."""
        weights, (rows, length, width) = self.weights, embedded.shape
        hidden = embedded + tables[0][:length]
        for layer in weights.layers:
            projected = linear(_layer_norm(hidden, layer.attention_norm), *layer.qkv).to(self.cache_dtype)
            split = projected.view(rows, length, 3, weights.heads, width // weights.heads)
            queries, keys, values = split.permute(2, 0, 3, 1, 4)
            yield queries, keys, values
            if layer is weights.layers[-1]:  # its output is not used
                return
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            attended = attended.transpose(1, 2).flatten(2).to(hidden.dtype)
            hidden = _feed_forward(layer, linear_plus(hidden, attended, *layer.out))

    def step(
        self,
        tokens: Tensor,
        counts: Tensor,
        positions: Tensor,
        tables: tuple[Tensor, ...],
        cache: Tensor,
        row_ids: Tensor,
    ) -> Tensor:
        """Feeds one token to every row, see ``T3.step``. Positions are those of the whole sequence."""
        weights, rows, length = self.weights, len(tokens), cache.shape[4]
        spoken = weights.speech_embedding[tokens] + tables[0][positions]
        hidden = enough_rows(spoken, weights.head[0])
        mask = mask_of(positions, length, cache.dtype)
        with step_attention(cache.device, cache.dtype):
            for layer, layer_cache in zip(weights.layers, cache.unbind(), strict=True):
                projected = linear(_layer_norm(hidden, layer.attention_norm), *layer.qkv)[:rows]
                heads = projected.to(cache.dtype).view(rows, 3, weights.heads, -1)
                layer_cache[:, row_ids, :, positions] = heads[:, 1:]
                attended = F.scaled_dot_product_attention(
                    heads[:, 0, :, None], layer_cache[0], layer_cache[1], attn_mask=mask
                )
                attended = enough_rows(attended.flatten(1).to(hidden.dtype), layer.out[0])
                hidden = _feed_forward(layer, linear_plus(hidden, attended, *layer.out))
        return linear(_layer_norm(hidden, weights.norm), *weights.head)[:rows].float()


def _layer_norm(hidden: Tensor, norm: Affine) -> Tensor:
    return F.layer_norm(hidden, hidden.shape[-1:], *norm, eps=LAYER_NORM_EPSILON)


def _feed_forward(layer: Layer, hidden: Tensor) -> Tensor:
    """GPT-2's MLP; its ``gelu_new`` is the approximation by tanh."""
    wide = linear_gelu(_layer_norm(hidden, layer.feed_forward_norm), *layer.up)
    return linear_plus(hidden, wide, *layer.down)
