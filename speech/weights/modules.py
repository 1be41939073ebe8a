"""Weights for PyTorch modules that upstream's code defines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from speech.weights.files import check_shapes, read_weights

# Of ``torch.nn.init`` and ``Tensor``. Drawing numbers for a tensor without storage imports PyTorch's compiler
# and sympy, which takes seconds.
DRAWS = frozenset(
    {"kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_", "xavier_uniform_"}
)


# Setting the data of a tensor without storage, as upstream initialises the mixer of meanflow's times.
_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]


class _WithoutDraws(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        tensor = args[0] if args else named.get("tensor")
        if isinstance(tensor, Tensor) and tensor.is_meta:
            if getattr(func, "__name__", "") in DRAWS:
                return tensor
            if func == _SET_DATA:
                return None
        return func(*args, **named)


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Gives modules built inside parameters without storage, so that initialising them is free.

    Buffers and plain tensors are computed as usual: those that no checkpoint file holds (rotary
    frequencies, positional tables, mel filters, windows, fades) come out ready. With
    ``torch.device("meta")`` they would all have to be found and made again.
    """
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, param)
        if param is not None:
            module._parameters[name] = nn.Parameter(param.to("meta"), requires_grad=False)

    nn.Module.register_parameter = register_on_meta  # type: ignore[assignment, method-assign]
    try:
        with _WithoutDraws():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def assign_weights(
    module: nn.Module,
    file: Path,
    device: torch.device,
    *,
    may_lack: frozenset[str] = frozenset(),
    may_exceed: bool = False,
) -> None:
    """Makes the file's tensors the module's own, then puts the module into eval mode on ``device``.

    may_lack: names that need not be in the file. may_exceed: ignore what the module does not have, as
    upstream's ``strict=False`` does for S3Gen.
    """
    weights = read_weights(file, device)
    expected = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    check_shapes(weights, shapes, file.name, may_lack=may_lack, may_exceed=may_exceed)
    # Upstream copies into float32 parameters; an assigned tensor brings its own type along.
    fitting = {name: weights[name].to(expected[name].dtype) for name in expected.keys() & weights.keys()}
    module.load_state_dict(fitting, strict=False, assign=True)
    module.to(device).eval().requires_grad_(False)
