"""T3's arithmetic: what precedes the speech, and one step or a whole prefix through the layers.

Works on whatever tensors it is given; keeps nothing between calls.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.t3.linear import enough_rows, linear
from speech.t3.weights import RMS_EPSILON, Layer, Perceiver, T3Weights

PERCEIVER_HEADS = 4


def embed_voice(
    weights: T3Weights, speaker_embedding: Tensor, prompt_tokens: Tensor, exaggeration: float
) -> Tensor:
    """What T3 hears of a voice, [1, 34, D]: ``T3.prepare_conditioning`` and ``T3CondEnc.forward``.

    speaker_embedding: [1, 256]. prompt_tokens: int64 [1, T].
    """
    prompt = weights.speech_embedding[prompt_tokens] + weights.speech_positions[: prompt_tokens.shape[1]]
    speaker = F.linear(speaker_embedding.to(weights.dtype), *weights.speaker)[:, None]
    strength = torch.full((1, 1, 1), exaggeration, dtype=torch.float32, device=weights.device)
    emotion = F.linear(strength.to(weights.dtype), weights.exaggeration)
    return torch.cat([speaker, _perceive(weights.perceiver, prompt), emotion], dim=1)


def embed_prefix(weights: T3Weights, voice: Tensor, text_tokens: Tensor, *, guided: bool) -> Tensor:
    """Voice and text, [rows, N, D]. The second row, for guidance, has text positions without text.

    voice: [1, 34, D]. text_tokens: int64 [T], start and stop included.
    """
    words = weights.text_embedding[text_tokens]
    rows = torch.stack([words, torch.zeros_like(words)]) if guided else words[None]
    text = rows + weights.text_positions[: len(text_tokens)]
    return torch.cat([voice.expand(len(rows), -1, -1), text], dim=1)


def rotary_table(weights: T3Weights, positions: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines, and sines that are negative in the first half of a head: [positions, head width] each."""
    steps = torch.arange(positions, dtype=torch.float32, device=weights.device)
    angles = torch.outer(steps, weights.rotary_frequencies)
    cosines, sines = angles.cos(), angles.sin()
    return torch.cat([cosines, cosines], dim=1).to(dtype), torch.cat([-sines, sines], dim=1).to(dtype)


def read_prefix(weights: T3Weights, prefix: Tensor, cosines: Tensor, sines: Tensor, cache: Tensor) -> None:
    """Fills a cache with the keys and values of a prefix.

    prefix: [rows, N, D]. cosines, sines: of the first N positions at least.
    cache: [layers, 2, rows, heads, positions, head width]; its first N positions are written.
    """
    length = prefix.shape[1]
    cosines, sines = cosines[:length], sines[:length]
    hidden = prefix
    for index, layer in enumerate(weights.layers):
        projected = linear(_normalize(hidden, layer.attention_norm), layer.qkv).to(cosines.dtype)
        split = projected.view(*hidden.shape[:2], 3, weights.heads, weights.head_width)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        _rotate(queries, cosines, sines)
        _rotate(keys, cosines, sines)
        cache[index, 0, :, :, :length] = keys
        cache[index, 1, :, :, :length] = values
        if index < len(weights.layers) - 1:  # nothing reads what the last layer would say
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            attended = attended.transpose(1, 2).flatten(2).to(hidden.dtype)
            hidden = _feed_forward(layer, hidden + linear(attended, layer.out))


def step(
    weights: T3Weights,
    tokens: Tensor,
    counts: Tensor,
    positions: Tensor,
    cosines: Tensor,
    sines: Tensor,
    cache: Tensor,
    row_ids: Tensor,
) -> Tensor:
    """One position further in every row: logits of the next speech token, float32 [rows, vocabulary].

    tokens: int64 [rows], the last ones. counts: int64 [rows], how many were spoken before, which is
    their learned position. positions: int64 [rows], where they go in the cache, which is their rotary
    position. cache: [layers, 2, rows, heads, length, head width]. row_ids: int64 [rows], 0 to rows - 1.
    """
    rows, length = len(tokens), cache.shape[4]
    spoken = weights.speech_embedding[tokens] + weights.speech_positions[counts]
    hidden = enough_rows(spoken, weights.head)
    cosines, sines = cosines[positions][:, None, None], sines[positions][:, None, None]
    # As numbers to add: of truth values every layer would make them again.
    unheard = torch.arange(length, device=tokens.device) > positions[:, None]
    mask = torch.zeros_like(unheard, dtype=cosines.dtype).masked_fill_(unheard, -torch.inf)[:, None, None]
    attended = torch.zeros_like(hidden)
    attended_heads = attended[:rows].view(rows, weights.heads, 1, weights.head_width)
    for layer, kept in zip(weights.layers, cache.unbind(), strict=True):
        projected = linear(_normalize(hidden, layer.attention_norm), layer.qkv)[:rows].to(cosines.dtype)
        heads = projected.view(rows, 3, weights.heads, weights.head_width)
        _rotate(heads[:, :2], cosines, sines)
        kept[:, row_ids, :, positions] = heads[:, 1:]
        attended_heads.copy_(
            F.scaled_dot_product_attention(heads[:, 0, :, None], kept[0], kept[1], attn_mask=mask)
        )
        hidden = _feed_forward(layer, hidden + linear(attended, layer.out))
    return linear(_normalize(hidden, weights.norm), weights.head)[:rows].float()


def _rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotary positions in Llama's half-and-half layout, in place. heads: [..., head width]."""
    swapped = heads.roll(heads.shape[-1] // 2, -1)
    heads.mul_(cosines).add_(swapped.mul_(sines))


def _feed_forward(layer: Layer, hidden: Tensor) -> Tensor:
    gate, up = linear(_normalize(hidden, layer.feed_forward_norm), layer.gate_up).chunk(2, dim=-1)
    return hidden + linear(F.silu(gate).mul_(up), layer.down)


def _normalize(hidden: Tensor, weight: Tensor) -> Tensor:
    """``LlamaRMSNorm``."""
    if hidden.is_cuda:
        return F.rms_norm(hidden, weight.shape, weight, RMS_EPSILON)
    # PyTorch has no such kernel for CPUs. It has one for the layer norm, which of a vector beside its
    # negative, whose mean is zero, is this norm.
    both = torch.cat([hidden, -hidden], dim=-1)
    return weight * F.layer_norm(both, both.shape[-1:], eps=RMS_EPSILON)[..., : hidden.shape[-1]]


def _perceive(perceiver: Perceiver, prompt: Tensor) -> Tensor:
    """[1, 32, D] of a prompt [1, T, D]: attends to the prompt, then to itself (``Perceiver.forward``)."""
    looked = _attend(perceiver, perceiver.queries, prompt)
    return _attend(perceiver, looked, looked)


def _attend(perceiver: Perceiver, asking: Tensor, asked: Tensor) -> Tensor:
    width = asking.shape[-1]

    def heads(hidden: Tensor, part: tuple[Tensor, Tensor]) -> Tensor:
        normed = F.layer_norm(hidden, (width,), *perceiver.norm)
        return F.linear(normed, *part).view(*hidden.shape[:2], PERCEIVER_HEADS, -1).transpose(1, 2)

    attended = F.scaled_dot_product_attention(
        heads(asking, perceiver.to_queries),
        heads(asked, perceiver.to_keys),
        heads(asked, perceiver.to_values),
    )
    return asking + F.linear(attended.transpose(1, 2).flatten(2), *perceiver.out)
