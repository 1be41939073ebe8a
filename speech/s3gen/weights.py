"""S3Gen's weights by upstream's names, ready to compute with.

The speech tokenizer and the speaker encoder, which only a new reference needs, are not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.linear import linear as product
from speech.models.linear import linear_gelu as product_gelu
from speech.models.linear import linear_plus as product_plus

_NORM, _DIRECTION = ".parametrizations.weight.original0", ".parametrizations.weight.original1"
_QUERY = ".attn1.to_q.weight"


class WeightsView:
    """The tensors below one name, as a tree: ``view / "flow" / "encoder"`` is what lies below that path.

    Built once, so that nothing searches names while the model runs.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._below: dict[str, WeightsView] = {}
        self._numbered: tuple[WeightsView, ...] | None = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> WeightsView:
        """The root of a tree of tensors by dotted names."""
        root = cls()
        for name, tensor in tensors.items():
            *path, leaf = name.split(".")
            view = root
            for part in path:
                view = view._below.setdefault(part, cls())
            view._tensors[leaf] = tensor
        return root

    def __truediv__(self, name: str | int) -> WeightsView:
        return self._below[str(name)]

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> WeightsView:
        """The same tree with every tensor changed."""
        view = WeightsView()
        view._tensors = {name: change(tensor) for name, tensor in self._tensors.items()}
        view._below = {name: below.mapped(change) for name, below in self._below.items()}
        return view

    def numbered(self) -> tuple[WeightsView, ...]:
        """The views named 0, 1, 2, ..., in order."""
        if self._numbered is None:
            self._numbered = tuple(self._below[str(index)] for index in range(len(self._below)))
        return self._numbered

    @property
    def bias(self) -> Tensor | None:
        """The tensor named "bias", if there is one."""
        return self._tensors.get("bias")


def prepare(state: Mapping[str, Tensor]) -> WeightsView:
    """Folds weight norms and joins queries, keys and values to one matrix; everything in float32.

    state: tensors by the names of upstream's ``S3Gen.state_dict()``.
    """
    ready = {}
    for name, tensor in state.items():
        if name.endswith(_NORM):
            stem = name.removesuffix(_NORM)
            ready[f"{stem}.weight"] = torch._weight_norm(state[stem + _DIRECTION].float(), tensor.float(), 0)
        elif name.endswith(_QUERY):
            stem = name.removesuffix("to_q.weight")
            ready[f"{stem}to_qkv.weight"] = torch.cat(
                [state[f"{stem}to_{part}.weight"].float() for part in "qkv"]
            )
        elif not name.endswith((_DIRECTION, ".attn1.to_k.weight", ".attn1.to_v.weight")):
            ready[name] = tensor.float()
    return WeightsView.of(ready)


def linear(rows: Tensor, view: WeightsView) -> Tensor:
    return product(rows, view["weight"], view.bias)


def linear_gelu(rows: Tensor, view: WeightsView) -> Tensor:
    """The exact GELU of ``linear``."""
    return product_gelu(rows, view["weight"], view.bias, "none")


def linear_plus(summand: Tensor, rows: Tensor, view: WeightsView) -> Tensor:
    return product_plus(summand, rows, view["weight"], view.bias)


def layer_norm(rows: Tensor, view: WeightsView, epsilon: float = 1e-5) -> Tensor:
    return F.layer_norm(rows, rows.shape[-1:], view["weight"], view["bias"], epsilon)


def conv(
    channels: Tensor, view: WeightsView, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """Convolves channels, [B, C, T]. A weight in ``channels_last`` is [outputs, inputs, 1, taps]."""
    weight = view["weight"]
    if weight.ndim == 3:
        return F.conv1d(channels, weight, view.bias, stride, padding, dilation)
    image = channels[:, :, None]
    return F.conv2d(image, weight, view.bias, (1, stride), (0, padding), (1, dilation))[:, :, 0]


def conv_transpose(channels: Tensor, view: WeightsView, *, stride: int, padding: int) -> Tensor:
    """Upsamples channels, [B, C, T], by a transposed convolution. Weights: see ``conv``."""
    weight = view["weight"]
    if weight.ndim == 3:
        return F.conv_transpose1d(channels, weight, view.bias, stride, padding)
    image = channels[:, :, None]
    return F.conv_transpose2d(image, weight, view.bias, (1, stride), (0, padding))[:, :, 0]


def channels_last(weight: Tensor) -> Tensor:
    """Returns a convolution's weight, [outputs, inputs, taps], as an image's in the format ``channels_last``.

    oneDNN then computes with values whose channels lie side by side, which is faster on a CPU, and PyTorch
    passes them on like that. Other tensors stay as they are.
    """
    return weight[:, :, None].to(memory_format=torch.channels_last) if weight.ndim == 3 else weight
