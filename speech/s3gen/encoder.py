"""Speech tokens to µ, the conditioning of the flow: ``UpsampleConformerEncoder``."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.padding import valid
from speech.s3gen.weights import WeightsView, conv, layer_norm, linear

LOOK_AHEAD = 3  # tokens
UPSAMPLING = 2  # mel frames a token
CONFORMER_EPSILON = 1e-12


def encode(encoder: WeightsView, embedded: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Encodes token embeddings, float32 [B, T, D]; returns [B, 2T, D].

    lengths: int64 [B], the tokens of each chunk. Nothing beyond them is looked at, and rows beyond twice as
    many are of no use. None: every chunk has T tokens.
    """
    hidden, positions = _embed(encoder / "embed", embedded)
    key_bias = None
    if lengths is not None:
        known = valid(embedded.shape[1], lengths)
        hidden = hidden * known[..., None]  # what looks ahead finds zeros behind a chunk's end
        key_bias = _key_bias(known)
    hidden = _look_ahead(encoder / "pre_lookahead_layer", hidden)
    for layer in (encoder / "encoders").numbered():
        hidden = _conformer(layer, hidden, positions, key_bias)
    hidden, positions = _embed(encoder / "up_embed", _upsample(encoder / "up_layer" / "conv", hidden))
    if lengths is not None:
        key_bias = _key_bias(valid(hidden.shape[1], UPSAMPLING * lengths))
    for layer in (encoder / "up_encoders").numbered():
        hidden = _conformer(layer, hidden, positions, key_bias)
    return layer_norm(hidden, encoder / "after_norm")


def _key_bias(known: Tensor) -> Tensor:
    """What is added to scores: 0 for keys of a chunk, -inf for those beyond. [B, T] to [B, 1, 1, T]."""
    return torch.zeros(known.shape, device=known.device).masked_fill_(~known, -torch.inf)[:, None, None]


def _embed(view: WeightsView, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rows at the layers' scale, [B, T, D], and embeddings of the relative positions, [2T - 1, D]."""
    out = view / "out"
    hidden = layer_norm(linear(rows, out / 0), out / 1) * math.sqrt(rows.shape[-1])
    return hidden, _distances(hidden.shape[1], hidden.shape[2], hidden.device)


def _distances(length: int, width: int, device: torch.device) -> Tensor:
    """``EspnetRelPositionalEncoding``: embeddings of the positions length - 1 down to 1 - length."""
    distances = torch.arange(length - 1, -length, -1, dtype=torch.float32, device=device)
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angles = distances[:, None] * torch.exp(steps * -(math.log(10_000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _look_ahead(view: WeightsView, hidden: Tensor) -> Tensor:
    channels = F.pad(hidden.transpose(1, 2), (0, LOOK_AHEAD))
    channels = F.leaky_relu(conv(channels, view / "conv1"))
    return conv(F.pad(channels, (2, 0)), view / "conv2").transpose(1, 2) + hidden


def _upsample(view: WeightsView, hidden: Tensor) -> Tensor:
    repeated = hidden.transpose(1, 2).repeat_interleave(UPSAMPLING, dim=2)
    return conv(F.pad(repeated, (2 * UPSAMPLING, 0)), view).transpose(1, 2)


def _conformer(layer: WeightsView, hidden: Tensor, positions: Tensor, key_bias: Tensor | None) -> Tensor:
    normed = layer_norm(hidden, layer / "norm_mha", CONFORMER_EPSILON)
    hidden = hidden + _attend(layer / "self_attn", normed, positions, key_bias)
    normed = layer_norm(hidden, layer / "norm_ff", CONFORMER_EPSILON)
    forward = layer / "feed_forward"
    return hidden + linear(F.silu(linear(normed, forward / "w_1")), forward / "w_2")


def _attend(view: WeightsView, normed: Tensor, positions: Tensor, key_bias: Tensor | None) -> Tensor:
    """``RelPositionMultiHeadedAttention``: scores by content and by relative position."""
    content_bias, distance_bias = view["pos_bias_u"], view["pos_bias_v"]  # [heads, head width]
    heads, width = content_bias.shape

    def split(rows: Tensor) -> Tensor:
        return rows.view(*rows.shape[:-1], heads, width).transpose(-3, -2)

    queries, keys, values = (split(linear(normed, view / f"linear_{name}")) for name in "qkv")
    distances = split(linear(positions, view / "linear_pos"))
    by_distance = _rel_shift((queries + distance_bias[:, None]) @ distances.transpose(-2, -1))
    mask = by_distance / math.sqrt(width)
    if key_bias is not None:
        mask = mask + key_bias
    attended = F.scaled_dot_product_attention(queries + content_bias[:, None], keys, values, attn_mask=mask)
    return linear(attended.transpose(1, 2).flatten(2), view / "linear_out")


def _rel_shift(scores: Tensor) -> Tensor:
    """Turns scores by relative position, [..., T, 2T - 1], into scores by key, [..., T, T]: ``rel_shift``."""
    batch, heads, length, positions = scores.shape
    # Each row begins one position earlier than the row above, so that all of it is a view.
    rows = length * positions
    return scores.contiguous().as_strided(
        (batch, heads, length, length), (heads * rows, rows, positions - 1, 1), length - 1
    )
