"""CAMPPlus: filter-bank features of a recording to the x-vector that S3Gen takes.

``CAMPPlus`` of chatterbox-tts 0.1.7 for one recording: two-dimensional convolutions, then three blocks of
densely connected TDNN layers with context-aware masking, then mean and standard deviation over time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.weights import WeightsView, conv

DILATIONS = (1, 2, 2)  # of the three blocks
SEGMENT_FRAMES = 100  # whose mean a mask takes, beside that of the whole recording
EPSILON = 1e-5  # of the batch norms

# Batch norms that follow a convolution, and that convolution.
_FOLLOWS = (
    (".bn1", ".conv1"),
    (".bn2", ".conv2"),
    (".shortcut.1", ".shortcut.0"),
    (".tdnn.nonlinear.batchnorm", ".tdnn.linear"),
    (".dense.nonlinear.batchnorm", ".dense.linear"),
    (".nonlinear2.batchnorm", ".linear1"),
)


def prepare(state: Mapping[str, Tensor]) -> WeightsView:
    """Folds batch norms into the convolutions before them; everything in float32.

    The others become a scale and a shift, [C, 1] each. state: tensors by the names of upstream's state dict.
    """
    weights = {name: tensor.float() for name, tensor in state.items()}
    norms = [name.removesuffix(".running_var") for name in weights if name.endswith(".running_var")]
    of_norms = tuple(f"{norm}." for norm in norms)
    ready = {name: tensor for name, tensor in weights.items() if not name.startswith(of_norms)}
    for norm in norms:
        scale, shift = _scale_and_shift(weights, norm)
        convolution = _convolution_before(norm)
        if convolution is None:
            ready[f"{norm}.scale"], ready[f"{norm}.shift"] = scale[:, None], shift[:, None]
        else:
            weight = weights[f"{convolution}.weight"]
            ready[f"{convolution}.weight"] = weight * scale.view(-1, *[1] * (weight.ndim - 1))
            ready[f"{convolution}.bias"] = shift
    # The layers of a block are named tdnnd1, tdnnd2, ...
    return WeightsView.of(
        {
            re.sub(r"\.tdnnd(\d+)\.", lambda match: f".{int(match[1]) - 1}.", name): tensor
            for name, tensor in ready.items()
        }
    )


def _scale_and_shift(weights: Mapping[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    scale = (weights[f"{norm}.running_var"] + EPSILON).rsqrt()
    shift = -weights[f"{norm}.running_mean"] * scale
    if f"{norm}.weight" not in weights:
        return scale, shift
    factor = weights[f"{norm}.weight"]
    return scale * factor, shift * factor + weights[f"{norm}.bias"]


def _convolution_before(norm: str) -> str | None:
    for suffix, convolution in _FOLLOWS:
        if norm.endswith(suffix):
            return norm.removesuffix(suffix) + convolution
    return None


def embed(camp_plus: WeightsView, features: Tensor) -> Tensor:
    """Returns the x-vector, float32 [1, 192]. features: of ``spectra.xvector_features``, float32 [T, 80]."""
    layers = camp_plus / "xvector"
    hidden = _head(camp_plus / "head", features.T[None])
    hidden = F.relu(conv(hidden, layers / "tdnn" / "linear", stride=2, padding=2))
    for number, dilation in enumerate(DILATIONS, start=1):
        hidden = _dense_block(layers / f"block{number}", hidden, dilation)
        transit = layers / f"transit{number}"
        hidden = _matmul(_norm(hidden, transit / "nonlinear" / "batchnorm"), transit / "linear")
    hidden = _norm(hidden, layers / "out_nonlinear" / "batchnorm")
    statistics = torch.cat([hidden.mean(dim=1), hidden.std(dim=1)])
    return _matmul(statistics[:, None], layers / "dense" / "linear").T


def _head(head: WeightsView, picture: Tensor) -> Tensor:
    """Returns [channels * 10, T]. picture: features over time as one channel, [1, 80, T]."""
    hidden = F.relu(_conv2d(picture, head / "conv1"))
    for layer in ("layer1", "layer2"):
        for block in (head / layer).numbered():
            hidden = _residual(block, hidden, halves=block is (head / layer / 0))
    return F.relu(_conv2d(hidden, head / "conv2", stride=2)).flatten(0, 1)


def _residual(block: WeightsView, hidden: Tensor, *, halves: bool) -> Tensor:
    """halves: whether the block halves the number of frequencies, and so has a convolution beside it."""
    beside = _conv2d(hidden, block / "shortcut" / 0, stride=2) if halves else hidden
    inner = F.relu(_conv2d(hidden, block / "conv1", stride=2 if halves else 1))
    return F.relu(_conv2d(inner, block / "conv2") + beside)


def _conv2d(picture: Tensor, view: WeightsView, stride: int = 1) -> Tensor:
    """Convolves [channels, frequencies, T]. stride: over frequencies."""
    weight = view["weight"]
    return F.conv2d(picture, weight, view.bias, (stride, 1), padding=weight.shape[-1] // 2)


def _dense_block(block: WeightsView, hidden: Tensor, dilation: int) -> Tensor:
    """Returns the input and every layer's output, one below the other. Each layer sees all above its own."""
    layers = block.numbered()
    growth = len((layers[0] / "cam_layer" / "linear_local")["weight"])
    channels, frames = hidden.shape
    joined = hidden.new_empty(channels + growth * len(layers), frames)
    joined[:channels] = hidden
    for layer in layers:
        joined[channels : channels + growth] = _dense_layer(layer, joined[:channels], dilation)
        channels += growth
    return joined


def _dense_layer(layer: WeightsView, hidden: Tensor, dilation: int) -> Tensor:
    masking = layer / "cam_layer"
    narrowed = F.relu(_matmul(_norm(hidden, layer / "nonlinear1" / "batchnorm"), layer / "linear1"))
    local = conv(narrowed, masking / "linear_local", padding=dilation, dilation=dilation)
    # All frames of a segment have the same mask.
    means = F.avg_pool1d(narrowed, SEGMENT_FRAMES, SEGMENT_FRAMES, ceil_mode=True)
    context = F.relu(_matmul(means + narrowed.mean(dim=1, keepdim=True), masking / "linear1"))
    masks = _matmul(context, masking / "linear2").sigmoid()
    by_frame = masks[:, :, None].expand(-1, -1, SEGMENT_FRAMES).flatten(1)
    return local * by_frame[:, : local.shape[1]]


def _norm(hidden: Tensor, view: WeightsView) -> Tensor:
    return torch.addcmul(view["shift"], hidden, view["scale"]).relu_()


def _matmul(hidden: Tensor, view: WeightsView) -> Tensor:
    """Applies a convolution with a kernel of one frame to [channels, T]."""
    weight = view["weight"][..., 0]
    return weight @ hidden if view.bias is None else torch.addmm(view.bias[:, None], weight, hidden)
