"""What the encoder says to a mel spectrogram: ten Euler steps of conditional flow matching.

``CausalConditionalCFM`` and its ``ConditionalDecoder``, for one text and no mask.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.weights import Part, conv, layer_norm, linear

MEL_CHANNELS = 80
STEPS = 10
GUIDANCE = 0.7  # CFM_PARAMS.inference_cfg_rate
HEAD_WIDTH = 64
TIME_SCALE = 1000.0


def draw_mel(estimator: Part, noise: Tensor, guide: Tensor, speaker: Tensor, prompt: Tensor) -> Tensor:
    """The mel that the flow makes of noise, [1, 80, T].

    noise, guide: float32 [1, 80, T]. speaker: [1, 80]. prompt: [1, 80, T], the reference's mel where it
    lies and zeros after it.
    """
    length = noise.shape[2]
    given = torch.cat([guide, speaker[:, :, None].expand(-1, -1, length), prompt], dim=1)
    # The second row is without guidance. Both see the same noise.
    given = torch.cat([given, torch.zeros_like(given)])
    times = 1 - torch.cos(torch.linspace(0, 1, STEPS + 1, device=noise.device) * 0.5 * torch.pi)
    moments = _embed_times(estimator, times[:-1])
    mel = noise
    for index in range(STEPS):
        row_and_row = torch.cat([mel.expand(2, -1, -1), given], dim=1)
        guided, unguided = _estimate(estimator, row_and_row, moments[index]).chunk(2)
        mel = mel + (times[index + 1] - times[index]) * ((1 + GUIDANCE) * guided - GUIDANCE * unguided)
    return mel


def _embed_times(estimator: Part, times: Tensor) -> Tensor:
    """[steps, 1, time width], as each resnet block takes it."""
    width = estimator["time_mlp.linear_1.weight"].shape[1]
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = TIME_SCALE * times[:, None] * torch.exp(steps * -(math.log(10_000) / (half - 1)))
    embedded = torch.cat([angles.sin(), angles.cos()], dim=-1)
    mlp = estimator / "time_mlp"
    return F.mish(linear(F.silu(linear(embedded, mlp / "linear_1")), mlp / "linear_2"))[:, None]


def _estimate(estimator: Part, channels: Tensor, moment: Tensor) -> Tensor:
    """Which way the mel goes, [2, 80, T]. channels: [2, 320, T]. moment: [1, time width]."""
    down, up = estimator / "down_blocks" / 0, estimator / "up_blocks" / 0
    hidden = skipped = _block(down, channels, moment)
    hidden = _causal_conv(hidden, down / 2)
    for block in (estimator / "mid_blocks").numbered():
        hidden = _block(block, hidden, moment)
    hidden = _block(up, torch.cat([hidden, skipped], dim=1), moment)
    hidden = _causal_conv(hidden, up / 2)
    return conv(_causal_block(hidden, estimator / "final_block" / "block"), estimator / "final_proj")


def _block(block: Part, channels: Tensor, moment: Tensor) -> Tensor:
    """A resnet and its transformer layers, [2, C, T]."""
    resnet = block / 0
    hidden = _causal_block(channels, resnet / "block1" / "block")
    hidden = hidden + linear(moment, resnet / "mlp" / 1)[:, :, None]
    hidden = _causal_block(hidden, resnet / "block2" / "block") + conv(channels, resnet / "res_conv")
    rows = hidden.transpose(1, 2)
    for layer in (block / 1).numbered():
        rows = _transform(layer, rows)
    return rows.transpose(1, 2)


def _transform(layer: Part, rows: Tensor) -> Tensor:
    attention, forward = layer / "attn1", layer / "ff" / "net"
    projected = linear(layer_norm(rows, layer / "norm1"), attention / "to_qkv")
    queries, keys, values = projected.view(*rows.shape[:2], 3, -1, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
    rows = rows + linear(attended, attention / "to_out" / 0)
    widened = F.gelu(linear(layer_norm(rows, layer / "norm3"), forward / 0 / "proj"))
    return rows + linear(widened, forward / 2)


def _causal_block(channels: Tensor, part: Part) -> Tensor:
    normed = layer_norm(_causal_conv(channels, part / 0).transpose(1, 2), part / 2)
    return F.mish(normed).transpose(1, 2)


def _causal_conv(channels: Tensor, part: Part) -> Tensor:
    return conv(F.pad(channels, (part["weight"].shape[2] - 1, 0)), part)
