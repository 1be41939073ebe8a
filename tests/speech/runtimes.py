"""A device's runtime around stand-ins, and its thread held still."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from speech.models.spec import CHATTERBOX
from speech.runtime import Batch, ChunkRequest, DeviceModel, DeviceRuntime
from speech.s3gen.s3gen import Renderer, RenderRequest
from speech.t3.request import Decoded
from speech.weights.load import Model
from tests.speech.t3.requests import TEXT, request


def chunk(
    model: Model, text: str = TEXT, *, seed: int = 0, attempts: int = 1, **options: Any
) -> ChunkRequest:
    """A chunk in the built-in voice, with consecutive seeds. options: see ``request``."""
    assert model.builtin_voice is not None
    seeds = tuple(range(seed, seed + attempts))
    decode = request(model, text, seed=seed, **options)
    return ChunkRequest(model.spec.name, decode, model.builtin_voice, seeds)


def one_model(make_batch: Callable[[], Batch], renderer: Renderer) -> dict[str, DeviceModel]:
    """The models of a runtime that has the English one alone."""
    return {CHATTERBOX.name: DeviceModel(make_batch, renderer)}


class TokensAsSamples:
    """A renderer whose samples are the tokens. Notes the seeds in the order of rendering."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def render(self, requests: Sequence[RenderRequest]) -> list[Tensor]:
        self.seeds += [each.generator.initial_seed() for each in requests]
        return [each.tokens.float() for each in requests]


class WatchedBatch:
    """A batch that calls a function first in each ``add`` and each ``step_many``."""

    def __init__(
        self,
        batch: Any,
        on_add: Callable[[], object] = lambda: None,
        on_step: Callable[[], object] = lambda: None,
    ) -> None:
        self._batch, self._on_add, self._on_step = batch, on_add, on_step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def add(self, request: Any) -> Any:
        self._on_add()
        return self._batch.add(request)

    def step_many(self) -> dict[Any, Decoded]:
        self._on_step()
        return self._batch.step_many()


class FlakyBatch:
    """A batch whose first answers look as if they had run into the limit. Notes their seeds."""

    def __init__(self, batch: Any, failures: int) -> None:
        self.seeds: list[int] = []
        self._batch, self._failures = batch, failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def step_many(self) -> dict[Any, Decoded]:
        finished = self._batch.step_many()
        for sequence, decoded in finished.items():
            self.seeds.append(sequence.request.seed)
            finished[sequence] = replace(decoded, stopped=len(self.seeds) > self._failures)
        return finished


class TamperedBatch:
    """A batch whose answers are changed by the functions of their seeds. Notes the seeds of all answers."""

    def __init__(self, batch: Any, changes: Mapping[int, Callable[[Decoded], Decoded]]) -> None:
        self.seeds: list[int] = []
        self._batch, self._changes = batch, changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def step_many(self) -> dict[Any, Decoded]:
        finished = self._batch.step_many()
        for sequence, decoded in finished.items():
            seed = sequence.request.seed
            self.seeds.append(seed)
            finished[sequence] = self._changes.get(seed, lambda each: each)(decoded)
        return finished


class ConstantBatch:
    """A batch that answers every request with the same tokens."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = torch.tensor(tokens).long()
        self.sequences: list[Any] = []

    def has_room_for(self, request: Any, spare_rows: int = 0) -> bool:
        return True

    def add(self, request: Any) -> Any:
        self.sequences.append(request)
        return request

    def step_many(self) -> dict[Any, Decoded]:
        finished, self.sequences = self.sequences, []
        return {each: Decoded(self._tokens, True, torch.Generator()) for each in finished}

    def remove(self, sequences: Any) -> None:
        self.sequences = [each for each in self.sequences if each not in sequences]

    def capture(self) -> None:
        """There is nothing to capture."""


@contextmanager
def held(runtime: DeviceRuntime) -> Iterator[Callable[[int], None]]:
    """Keeps the runtime's thread busy inside, so that jobs are found there together afterwards.

    Gives a function that returns once so many of them have arrived.
    """
    busy, over = threading.Event(), threading.Event()

    def work() -> None:
        busy.set()
        assert over.wait(timeout=120)

    def wait_for(count: int) -> None:
        with runtime._work_came:
            assert runtime._work_came.wait_for(lambda: len(runtime._arrivals) >= count, timeout=120)

    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(runtime.run, work)
        assert busy.wait(timeout=120)
        try:
            yield wait_for
        finally:
            over.set()
            task.result()
