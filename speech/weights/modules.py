"""Weights for PyTorch modules that upstream's code defines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from speech.weights.files import check_shapes, read_weights


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
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def assign_weights(
    module: nn.Module,
    file: Path,
    device: torch.device,
    *,
    prefix: str = "",
    may_lack: frozenset[str] = frozenset(),
    may_exceed: bool = False,
) -> None:
    """Makes the file's tensors the module's own, then puts the module into eval mode on ``device``.

    prefix: of the module's names in the file. may_lack: names that need not be in the file.
    may_exceed: ignore what the module does not have, as upstream's ``strict=False`` does for S3Gen.
    """
    found = read_weights(file, device, (prefix,))
    weights = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    expected = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    check_shapes(weights, shapes, file.name, may_lack=may_lack, may_exceed=may_exceed)
    # Upstream copies into float32 parameters; an assigned tensor brings its own type along.
    fitting = {name: weights[name].to(expected[name].dtype) for name in expected.keys() & weights.keys()}
    module.load_state_dict(fitting, strict=False, assign=True)
    module.to(device).eval().requires_grad_(False)
