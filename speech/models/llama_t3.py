"""T3 on a Llama backbone: weights, prompt embedding, prefill and one decoding step.

The English and the multilingual models have it. Weights are named as in upstream's ``T3.state_dict()``
(chatterbox-tts 0.1.7), of which the arithmetic is the same within rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.dimensions import ModelDimensions
from speech.models.linear import enough_rows, linear, linear_plus, pack
from speech.models.spec import SPEAKER_WIDTH, ModelSpec
from speech.models.t3 import T3, mask_of, step_attention
from speech.t3.request import DecodeRequest
from speech.transfer import upload

# The Llama configuration of both published sizes, ``LLAMA_CONFIGS["Llama_520M"]``.
ROTARY_BASE = 500_000.0
ROTARY_FACTOR = 8.0
ROTARY_LOW_FREQUENCY_FACTOR = 1.0
ROTARY_HIGH_FREQUENCY_FACTOR = 4.0
ROTARY_TRAINED_POSITIONS = 8192
RMS_EPSILON = 1e-5

# ``T3Config``: learned positions, the perceiver, and ids that the file holds without a use.
TEXT_POSITIONS, SPEECH_POSITIONS = 2050, 4100
PERCEIVER_POSITIONS, PERCEIVER_HEADS, UNUSED_IDS = 32, 4, 8
# speaker, perceiver and exaggeration
CONDITIONING_POSITIONS = 1 + PERCEIVER_POSITIONS + 1


@dataclass(frozen=True, eq=False)
class Layer:
    """One Llama layer. D is the model's width, F the feed-forward width."""

    attention_norm: Tensor  # [D]
    qkv: Tensor  # [3D, D], rows of queries, keys, values
    out: Tensor  # [D, D]
    feed_forward_norm: Tensor  # [D]
    gate_up: Tensor  # [2F, D]
    down: Tensor  # [D, F]


@dataclass(frozen=True, eq=False)
class Perceiver:
    """Condenses the tokens of a voice's prompt to 32 positions.

    Each projection is a weight and a bias. One set serves both of its passes.
    """

    queries: Tensor  # [1, 32, D]
    norm: tuple[Tensor, Tensor]
    to_queries: tuple[Tensor, Tensor]
    to_keys: tuple[Tensor, Tensor]
    to_values: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class T3Weights:
    """The weights of T3, on one device and of one dtype, except that ``rotary_frequencies`` is float32."""

    heads: int
    layers: tuple[Layer, ...]
    norm: Tensor  # [D]
    head: Tensor  # [speech ids, D]
    text_embedding: Tensor  # [text ids, D]
    text_positions: Tensor  # [positions, D]
    speech_embedding: Tensor  # [speech ids, D]
    speech_positions: Tensor  # [positions, D]
    speaker: tuple[Tensor, Tensor]  # weight [D, 256] and bias [D]
    exaggeration: Tensor  # [D, 1]
    perceiver: Perceiver
    rotary_frequencies: Tensor  # [head width / 2], radians a position

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
        """Converts tensors by upstream's names. Raises KeyError for one that is missing."""

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


# Of upstream's tensors those that say nothing in speech, and are not loaded.
UNUSED_TENSORS = frozenset({"text_head.weight", "tfmr.embed_tokens.weight"})


def upstream_shapes(spec: ModelSpec, dimensions: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """Returns name and shape of every tensor in upstream's file (``T3.state_dict()``)."""
    width, feed_forward = dimensions.t3_width, dimensions.t3_feed_forward
    square, affine = (width, width), {"weight": (width, width), "bias": (width,)}
    attention = "cond_enc.perceiver.attn"
    shapes: dict[str, tuple[int, ...]] = {
        "text_emb.weight": (spec.text_vocabulary, width),
        "text_pos_emb.emb.weight": (TEXT_POSITIONS, width),
        "text_head.weight": (spec.text_vocabulary, width),
        "speech_emb.weight": (spec.speech_vocabulary, width),
        "speech_pos_emb.emb.weight": (SPEECH_POSITIONS, width),
        "speech_head.weight": (spec.speech_vocabulary, width),
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
    for index in range(dimensions.t3_layers):
        at = f"tfmr.layers.{index}"
        shapes |= {f"{at}.self_attn.{part}_proj.weight": square for part in "qkvo"}
        shapes |= {f"{at}.mlp.{part}_proj.weight": (feed_forward, width) for part in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (width, feed_forward)
        shapes |= {f"{at}.{part}_layernorm.weight": (width,) for part in ("input", "post_attention")}
    return shapes


def rotary_frequencies(head_width: int) -> Tensor:
    """Returns radians a position, float32 [head width / 2], with Llama 3's scaling for long contexts.

    The formula is that of ``_compute_llama3_parameters`` in transformers.
    """
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


class LlamaT3(T3):
    """T3 with ``T3Weights``.

    With guidance a request's second row, which is unconditional, sees the text's positions but not its
    tokens.
    """

    def __init__(self, weights: T3Weights, spec: ModelSpec) -> None:
        super().__init__(
            spec,
            device=weights.device,
            dtype=weights.dtype,
            layers=len(weights.layers),
            heads=weights.heads,
            head_width=weights.head_width,
            vocabulary=weights.vocabulary,
        )
        self.weights = weights

    def position_tables(self, positions: int) -> tuple[Tensor, ...]:
        """Returns cosines and sines, [positions, head width] each, of the cache's dtype.

        Sines are negative in the first half of a head, see ``_rotate``.
        """
        steps = torch.arange(positions, dtype=torch.float32, device=self.device)
        angles = torch.outer(steps, self.weights.rotary_frequencies)
        cosines, sines = angles.cos(), angles.sin()
        dtype = self.cache_dtype
        return torch.cat([cosines, cosines], dim=1).to(dtype), torch.cat([-sines, sines], dim=1).to(dtype)

    def embed_prompt(self, request: DecodeRequest, *, use_cfg: bool) -> Tensor:
        """Returns everything before the first speech token, [rows, N, D]; two rows with guidance."""
        weights, tokens = self.weights, self.spec.tokens
        assert tokens.start_text is not None
        assert tokens.stop_text is not None
        text = upload(request.text_tokens.long(), self.device)
        text = F.pad(F.pad(text, (1, 0), value=tokens.start_text), (0, 1), value=tokens.stop_text)
        words = weights.text_embedding[text]
        rows = torch.stack([words, torch.zeros_like(words)]) if use_cfg else words[None]
        rows = rows + weights.text_positions[: len(text)]
        voice = self._embed_voice(request).expand(len(rows), -1, -1)
        # Upstream gives the start of speech twice, both at learned position 0: the first step is the second.
        start = weights.speech_embedding[tokens.start_speech] + weights.speech_positions[0]
        return torch.cat([voice, rows, start.expand(len(rows), 1, -1)], dim=1)

    def _embed_voice(self, request: DecodeRequest) -> Tensor:
        """The conditioning, [1, 34, D]: ``T3.prepare_conditioning`` and ``T3CondEnc.forward``."""
        weights = self.weights
        prompt_tokens = upload(request.prompt_tokens, self.device)
        prompt = weights.speech_embedding[prompt_tokens] + weights.speech_positions[: prompt_tokens.shape[1]]
        speaker = F.linear(upload(request.speaker_embedding, self.device).to(weights.dtype), *weights.speaker)
        exaggeration = torch.full((1, 1, 1), request.exaggeration, dtype=torch.float32, device=self.device)
        emotion = F.linear(exaggeration.to(weights.dtype), weights.exaggeration)
        return torch.cat([speaker[:, None], _perceive(weights.perceiver, prompt), emotion], dim=1)

    def embed_speech(self, tokens: Tensor) -> Tensor:
        """Returns tokens with their learned positions, see ``T3.embed_speech``."""
        weights = self.weights
        return (weights.speech_embedding[tokens] + weights.speech_positions[: len(tokens)])[None]

    @property
    def voice_positions(self) -> int:
        """The positions of every voice, see ``T3.voice_positions``."""
        return CONDITIONING_POSITIONS

    def text_positions(self, request: DecodeRequest) -> range:
        """The positions behind the voice's and the text's start, see ``T3.text_positions``."""
        first = CONDITIONING_POSITIONS + 1
        return range(first, first + len(request.text_tokens))

    def attention(
        self, embedded: Tensor, tables: tuple[Tensor, ...]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yields queries, keys and values by layer, see ``T3.attention``."""
        weights, length = self.weights, embedded.shape[1]
        cosines, sines = (table[:length] for table in tables)
        hidden = embedded
        for layer in weights.layers:
            projected = linear(_rms_norm(hidden, layer.attention_norm), layer.qkv).to(cosines.dtype)
            split = projected.view(*hidden.shape[:2], 3, weights.heads, weights.head_width)
            queries, keys, values = split.permute(2, 0, 3, 1, 4)
            _rotate(queries, cosines, sines)
            _rotate(keys, cosines, sines)
            yield queries, keys, values
            if layer is weights.layers[-1]:  # its output is not used
                return
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            attended = attended.transpose(1, 2).flatten(2).to(hidden.dtype)
            hidden = _feed_forward(layer, linear_plus(hidden, attended, layer.out))

    def step(
        self,
        tokens: Tensor,
        counts: Tensor,
        positions: Tensor,
        tables: tuple[Tensor, ...],
        cache: Tensor,
        row_ids: Tensor,
    ) -> Tensor:
        """Feeds one token to every row, see ``T3.step``.

        Its learned position is the number of speech tokens before it, its rotary one its place in the cache.
        """
        weights, rows, length = self.weights, len(tokens), cache.shape[4]
        spoken = weights.speech_embedding[tokens] + weights.speech_positions[counts]
        hidden = enough_rows(spoken, weights.head)
        cosines, sines = (table[positions][:, None, None] for table in tables)
        mask = mask_of(positions, length, cosines.dtype)
        with step_attention(cache.device, cache.dtype):
            for layer, layer_cache in zip(weights.layers, cache.unbind(), strict=True):
                normed = _rms_norm(hidden, layer.attention_norm)
                projected = linear(normed, layer.qkv)[:rows].to(cosines.dtype)
                heads = projected.view(rows, 3, weights.heads, weights.head_width)
                _rotate(heads[:, :2], cosines, sines)
                layer_cache[:, row_ids, :, positions] = heads[:, 1:]
                attended = F.scaled_dot_product_attention(
                    heads[:, 0, :, None], layer_cache[0], layer_cache[1], attn_mask=mask
                )
                attended = enough_rows(attended.flatten(1).to(hidden.dtype), layer.out)
                hidden = _feed_forward(layer, linear_plus(hidden, attended, layer.out))
        return linear(_rms_norm(hidden, weights.norm), weights.head)[:rows].float()


def _rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Applies rotary positions in Llama's half-and-half layout, in place. heads: [..., head width]."""
    swapped = heads.roll(heads.shape[-1] // 2, -1)
    heads.mul_(cosines).add_(swapped.mul_(sines))


def _feed_forward(layer: Layer, hidden: Tensor) -> Tensor:
    gate, up = linear(_rms_norm(hidden, layer.feed_forward_norm), layer.gate_up).chunk(2, dim=-1)
    return linear_plus(hidden, F.silu(gate).mul_(up), layer.down)


def _rms_norm(hidden: Tensor, weight: Tensor) -> Tensor:
    """``LlamaRMSNorm``."""
    if hidden.is_cuda:
        return F.rms_norm(hidden, weight.shape, weight, RMS_EPSILON)
    # PyTorch has no fast RMS norm on CPUs. LayerNorm of [x, -x] has mean zero and so equals RMSNorm(x).
    both = torch.cat([hidden, -hidden], dim=-1)
    return weight * F.layer_norm(both, both.shape[-1:], eps=RMS_EPSILON)[..., : hidden.shape[-1]]


def _perceive(perceiver: Perceiver, prompt: Tensor) -> Tensor:
    """Returns [1, 32, D] of a prompt [1, T, D]: attends to it, then to itself (``Perceiver.forward``)."""
    latents = _attend(perceiver, perceiver.queries, prompt)
    return _attend(perceiver, latents, latents)


def _attend(perceiver: Perceiver, query: Tensor, context: Tensor) -> Tensor:
    width = query.shape[-1]

    def heads(hidden: Tensor, projection: tuple[Tensor, Tensor]) -> Tensor:
        normed = F.layer_norm(hidden, (width,), *perceiver.norm)
        return F.linear(normed, *projection).view(*hidden.shape[:2], PERCEIVER_HEADS, -1).transpose(1, 2)

    attended = F.scaled_dot_product_attention(
        heads(query, perceiver.to_queries),
        heads(context, perceiver.to_keys),
        heads(context, perceiver.to_values),
    )
    return query + F.linear(attended.transpose(1, 2).flatten(2), *perceiver.out)
