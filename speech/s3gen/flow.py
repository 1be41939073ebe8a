"""Conditional flow matching: encoder output (µ) to a mel spectrogram by Euler steps.

``CausalConditionalCFM`` and its ``ConditionalDecoder`` of chatterbox-tts 0.1.7, for one chunk, unmasked.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.spec import FlowSpec
from speech.s3gen.shapes import ESTIMATOR_HEAD_WIDTH
from speech.s3gen.weights import WeightsView, conv, layer_norm, linear

TIME_SCALE = 1000.0


def solve_ode(
    estimator: WeightsView, noise: Tensor, mu: Tensor, speaker: Tensor, prompt_mel: Tensor, flow: FlowSpec
) -> Tensor:
    """Returns the mel spectrogram that the flow makes of noise, float32 [1, 80, T].

    noise, mu: float32 [1, 80, T]. speaker: [1, 80]. prompt_mel: [1, 80, T], the reference's mel where the
    prompt lies and zeros after it.
    """
    length = noise.shape[2]
    cond = torch.cat([mu, speaker[:, :, None].expand(-1, -1, length), prompt_mel], dim=1)
    if flow.guidance:
        # The second row is the unconditional one of classifier-free guidance. Both see the same noise.
        cond = torch.cat([cond, torch.zeros_like(cond)])
    spans, time_embeddings = schedule(estimator, flow)
    mel = noise
    for index in range(flow.steps):
        rows = torch.cat([mel.expand(len(cond), -1, -1), cond], dim=1)
        velocity = _estimate(estimator, rows, time_embeddings[index])
        if flow.guidance:
            conditional, unconditional = velocity.chunk(2)
            velocity = (1 + flow.guidance) * conditional - flow.guidance * unconditional
        mel = mel + spans[index] * velocity
    return mel


def schedule(estimator: WeightsView, flow: FlowSpec) -> tuple[Tensor, Tensor]:
    """Returns each Euler step's length, [steps], and its embedded times, [steps, 1, time width].

    The times are those of its begin, with meanflow of its begin and its end, as each resnet block takes them.
    """
    device = (estimator / "final_proj")["weight"].device
    times = torch.linspace(0, 1, flow.steps + 1, device=device)
    if flow.schedule == "cosine":
        times = 1 - torch.cos(times * 0.5 * torch.pi)
    if flow.is_meanflow:
        embedded = _embed_times(estimator, times)
        both = torch.cat([embedded[:-1], embedded[1:]], dim=1)
        time_embeddings = linear(both, estimator / "time_embed_mixer")
    else:
        time_embeddings = _embed_times(estimator, times[:-1])
    return times.diff(), F.mish(time_embeddings)[:, None]


def _embed_times(estimator: WeightsView, times: Tensor) -> Tensor:
    """Returns [times, time width]. times: 0 to 1, float32 [times]."""
    mlp = estimator / "time_mlp"
    half = (mlp / "linear_1")["weight"].shape[1] // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = TIME_SCALE * times[:, None] * torch.exp(steps * -(math.log(10_000) / (half - 1)))
    embedded = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return linear(F.silu(linear(embedded, mlp / "linear_1")), mlp / "linear_2")


def _estimate(estimator: WeightsView, channels: Tensor, time_embedding: Tensor) -> Tensor:
    """Returns the velocity of the mel, [B, 80, T]. channels: [B, 320, T]. time_embedding: [1, time width]."""
    down, up = estimator / "down_blocks" / 0, estimator / "up_blocks" / 0
    hidden = skipped = _block(down, channels, time_embedding)
    hidden = _causal_conv(hidden, down / 2)
    for block in (estimator / "mid_blocks").numbered():
        hidden = _block(block, hidden, time_embedding)
    hidden = _block(up, torch.cat([hidden, skipped], dim=1), time_embedding)
    hidden = _causal_conv(hidden, up / 2)
    return conv(_causal_block(hidden, estimator / "final_block" / "block"), estimator / "final_proj")


def _block(block: WeightsView, channels: Tensor, time_embedding: Tensor) -> Tensor:
    """Applies a resnet block and its transformer layers; returns [B, C, T]."""
    resnet = block / 0
    hidden = _causal_block(channels, resnet / "block1" / "block")
    hidden = hidden + linear(time_embedding, resnet / "mlp" / 1)[:, :, None]
    hidden = _causal_block(hidden, resnet / "block2" / "block") + conv(channels, resnet / "res_conv")
    rows = hidden.transpose(1, 2)
    for layer in (block / 1).numbered():
        rows = _transformer_block(layer, rows)
    return rows.transpose(1, 2)


def _transformer_block(layer: WeightsView, rows: Tensor) -> Tensor:
    attention, forward = layer / "attn1", layer / "ff" / "net"
    projected = linear(layer_norm(rows, layer / "norm1"), attention / "to_qkv")
    queries, keys, values = projected.view(*rows.shape[:2], 3, -1, ESTIMATOR_HEAD_WIDTH).permute(
        2, 0, 3, 1, 4
    )
    attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
    rows = rows + linear(attended, attention / "to_out" / 0)
    widened = F.gelu(linear(layer_norm(rows, layer / "norm3"), forward / 0 / "proj"))
    return rows + linear(widened, forward / 2)


def _causal_block(channels: Tensor, view: WeightsView) -> Tensor:
    normed = layer_norm(_causal_conv(channels, view / 0).transpose(1, 2), view / 2)
    return F.mish(normed).transpose(1, 2)


def _causal_conv(channels: Tensor, view: WeightsView) -> Tensor:
    return conv(F.pad(channels, (view["weight"].shape[2] - 1, 0)), view)
