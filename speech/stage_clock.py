"""Where a job's time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageClock:
    """Adds up wall time by stage; a stage on a GPU is counted when its result is there."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times_s: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.times_s[name] += time.perf_counter() - started
