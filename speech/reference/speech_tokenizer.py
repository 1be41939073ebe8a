"""Speech tokenizer: mels of recordings to speech tokens, 25 a second.

``S3Tokenizer`` of chatterbox-tts 0.1.7, which is ``S3TokenizerV2`` of s3tokenizer 0.3, without its windows
for recordings of more than 30 s: prompts and the pieces of a recording are shorter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.weights import WeightsView, conv, layer_norm, linear

FRAMES_PER_TOKEN = 4  # of the mel: 100 frames and 25 tokens a second
LONGEST_FRAMES = 3000  # 30 s
HEAD_WIDTH = 64  # of attention
MEMORY_FRAMES = 31  # that the convolution of FSMN sees
ROTARY_BASE = 10_000.0
# A token's digits, each 0, 1 or 2. ``FSQCodebook`` rounds values scaled to just below 1.
CODE_DIGITS, CODE_LEVELS, CODE_SCALE = 8, 3, 0.9990000128746033


def prepare(state: Mapping[str, Tensor]) -> WeightsView:
    """Returns the weights in float32. state: tensors by the names of upstream's state dict."""
    return WeightsView.of({name: tensor.float() for name, tensor in state.items()})


def tokenize(tokenizer: WeightsView, mels: Sequence[Tensor]) -> list[Tensor]:
    """Returns the speech tokens, int64 [ceil(T / 4)], of each recording.

    mels: float32 [128, T] each, T from 1 to 3000. The recordings are one batch without padding: matrix
    products see the frames of all of them one after the other, attention and convolutions those of one. So
    each gets the tokens that it gets alone.
    """
    assert all(0 < mel.shape[1] <= LONGEST_FRAMES for mel in mels)
    encoder = tokenizer / "encoder"
    recordings = [_subsample(encoder, mel) for mel in mels]
    lengths = [len(rows) for rows in recordings]
    rotation = _rotation(lengths, mels[0].device)
    rows = torch.cat(recordings)
    for block in (encoder / "blocks").numbered():
        rows = _block(block, rows, lengths, rotation)
    return list(torch.split(_quantize(tokenizer / "quantizer" / "_codebook", rows), lengths))


def _subsample(encoder: WeightsView, mel: Tensor) -> Tensor:
    """Returns one row for each four frames, [ceil(T / 4), width]."""
    hidden = F.gelu(conv(mel[None], encoder / "conv1", stride=2, padding=1))
    return F.gelu(conv(hidden, encoder / "conv2", stride=2, padding=1))[0].T


def _rotation(lengths: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns cosines and sines of the rotary embedding, [rows, 1, 64] each. Positions restart at 0."""
    exponents = torch.arange(0, HEAD_WIDTH, 2, dtype=torch.float32, device=device) / HEAD_WIDTH
    positions = torch.cat([torch.arange(length, device=device) for length in lengths])
    angles = torch.outer(positions, 1.0 / ROTARY_BASE**exponents).repeat(1, 2)[:, None]
    return angles.cos(), angles.sin()


def _block(block: WeightsView, rows: Tensor, lengths: list[int], rotation: tuple[Tensor, Tensor]) -> Tensor:
    attention = block / "attn"
    normed = layer_norm(rows, block / "attn_ln")
    values = linear(normed, attention / "value")
    queries, keys = (
        _rotate(linear(normed, attention / part).view(len(rows), -1, HEAD_WIDTH), rotation)
        for part in ("query", "key")
    )
    attended = _attend(queries, keys, values.view(len(rows), -1, HEAD_WIDTH), lengths)
    rows = rows + linear(attended, attention / "out") + _memory(attention, values, lengths)
    widened = F.gelu(linear(layer_norm(rows, block / "mlp_ln"), block / "mlp" / 0))
    return rows + linear(widened, block / "mlp" / 2)


def _rotate(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Applies the rotary embedding to [rows, heads, 64]; a channel's partner is in the other half."""
    cosines, sines = rotation
    left, right = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat([-right, left], dim=-1) * sines


def _attend(queries: Tensor, keys: Tensor, values: Tensor, lengths: list[int]) -> Tensor:
    """Returns what each row's attention to its own recording gives, [rows, width]."""
    recordings = zip(*(torch.split(tensor, lengths) for tensor in (queries, keys, values)), strict=True)
    attended = [
        F.scaled_dot_product_attention(*(tensor.transpose(0, 1)[None] for tensor in recording))
        for recording in recordings
    ]
    return torch.cat([heads[0].transpose(0, 1).flatten(1) for heads in attended])


def _memory(attention: WeightsView, values: Tensor, lengths: list[int]) -> Tensor:
    """Returns the memory of FSMN, [rows, width]: each value and a weighted sum of those around it."""
    weight = (attention / "fsmn_block")["weight"]
    sums = [
        F.conv1d(recording.T[None], weight, padding=MEMORY_FRAMES // 2, groups=len(weight))[0].T
        for recording in torch.split(values, lengths)
    ]
    return values + torch.cat(sums)


def _quantize(codebook: WeightsView, rows: Tensor) -> Tensor:
    """Returns each row's token, int64 [rows]."""
    digits = (linear(rows, codebook / "project_down").tanh() * CODE_SCALE).round().long() + 1
    return (digits * CODE_LEVELS ** torch.arange(CODE_DIGITS, device=rows.device)).sum(dim=-1)
