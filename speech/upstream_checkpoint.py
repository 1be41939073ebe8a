"""A folder of weights to upstream's modules.

Upstream's ``ChatterboxTTS.from_local`` initialises every weight at random and then copies the
files over it. Here modules are built without storage and the files' tensors become their
parameters. The result is the same, tensor by tensor.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speech.sizes import Sizes
from speech.upstream import build_s3gen, build_t3, parameters_on_meta, quiet_upstream
from speech.weight_files import S3GEN_FILE, T3_FILE, check_shapes, read_weights

# S3Gen buffers that upstream computes and the published file leaves out.
COMPUTED_BUFFERS = frozenset({"tokenizer._mel_filters", "tokenizer.window"})


def load_upstream(folder: Path, sizes: Sizes, device: torch.device) -> tuple[Any, Any]:
    """Upstream's T3 and S3Gen. Raises ModelUnavailable."""
    with without_storage():
        t3, s3gen = build_t3(sizes), build_s3gen(sizes)
    assign_weights(t3, folder / T3_FILE, device)
    assign_weights(s3gen, folder / S3GEN_FILE, device, may_lack=COMPUTED_BUFFERS, may_exceed=True)
    return t3, s3gen


@contextmanager
def without_storage() -> Iterator[None]:
    """Upstream's modules built inside hold no weights, and say nothing."""
    quiet_upstream()
    with parameters_on_meta(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside upstream's constructors
        yield


def assign_weights(
    module: nn.Module,
    file: Path,
    device: torch.device,
    *,
    prefix: str = "",
    may_lack: frozenset[str] = frozenset(),
    may_exceed: bool = False,
) -> None:
    """Make the file's tensors the module's own, then put the module into eval mode on ``device``.

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
