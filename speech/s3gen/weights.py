"""S3Gen's weights by upstream's names, ready to compute with.

The speech tokenizer and the speaker encoder, which only a new reference needs, are not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_NORM, _DIRECTION = ".parametrizations.weight.original0", ".parametrizations.weight.original1"
_QUERY = ".attn1.to_q.weight"


@dataclass(frozen=True, eq=False)
class Part:
    """The weights whose names begin with ``name``."""

    tensors: Mapping[str, Tensor]
    name: str = ""

    def __truediv__(self, name: str | int) -> Part:
        return Part(self.tensors, f"{self.name}{name}.")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.name + name]

    def numbered(self) -> list[Part]:
        """The parts named 0, 1, 2, ..."""
        start = len(self.name)
        heads = {name[start:].split(".", 1)[0] for name in self.tensors if name.startswith(self.name)}
        return [self / index for index in range(len(heads))]

    @property
    def bias(self) -> Tensor | None:
        return self.tensors.get(self.name + "bias")


def prepare(state: Mapping[str, Tensor]) -> Part:
    """What each call would do again is done once: weight norms folded, queries, keys and values in one
    matrix. Everything in float32."""
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
    return Part(ready)


def linear(rows: Tensor, part: Part) -> Tensor:
    return F.linear(rows, part["weight"], part.bias)


def layer_norm(rows: Tensor, part: Part, epsilon: float = 1e-5) -> Tensor:
    return F.layer_norm(rows, rows.shape[-1:], part["weight"], part["bias"], epsilon)


def conv(channels: Tensor, part: Part, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    return F.conv1d(channels, part["weight"], part.bias, stride, padding, dilation)
