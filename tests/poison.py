"""Global random generators that fail whoever uses them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch


@contextmanager
def poisoned_generators() -> Iterator[None]:
    """Whoever sets or reads a global generator fails; whoever draws from one is found at the end."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a global generator was touched")

    names = ("manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state")
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(torch, name, refuse)
            patch.setattr(torch.random, name, refuse)
        yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
