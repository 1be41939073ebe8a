"""Prompts are read into the KV cache as CUDA graphs."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from speech.models.t3 import T3
from speech.t3.graphs import StepGraphs

BUCKET = 64  # lengths are rounded up to a multiple


class GraphedPrefill:
    """Reads prompts with one CUDA graph for each rounded length and number of rows.

    A graph reads and writes tensors of its own, at addresses that stay: prompts are copied in, and keys and
    values out. What lies behind a prompt of another length changes nothing, since no position attends to
    later ones. Prompts that are longer than ``T3.longest_prompt`` are read without a graph. For use by one
    thread.
    """

    def __init__(self, t3: T3, graphs: StepGraphs, max_rows: int, tables: tuple[Tensor, ...]) -> None:
        """Allocates the tensors, in bfloat16 80 MB for two rows of Chatterbox, 64 for turbo and 25 for nano.

        max_rows: of one prompt. tables: see ``T3.position_tables``.
        """
        self._t3, self._graphs, self._tables = t3, graphs, tables
        self._max_rows, self._longest = max_rows, _rounded(t3.longest_prompt)
        self._prompt = torch.zeros(max_rows, self._longest, t3.width, dtype=t3.dtype, device=t3.device)
        shape = t3.cache_shape(max_rows, self._longest)
        self._cache = torch.zeros(*shape, dtype=t3.cache_dtype, device=t3.device)

    def capture(self) -> None:
        """Captures all graphs."""
        for rows in range(1, self._max_rows + 1):
            for length in range(BUCKET, self._longest + 1, BUCKET):
                self._run(rows, length)

    def read(self, prompt: Tensor, cache: Tensor) -> None:
        """Does what ``T3.prefill`` does with a prompt and a cache."""
        rows, length = prompt.shape[:2]
        if length > self._longest:
            self._t3.prefill(prompt, self._tables, cache)
            return
        self._prompt[:rows, :length] = prompt
        self._run(rows, _rounded(length))
        cache[:, :, :, :, :length] = self._cache[:, :, :rows, :, :length]

    def _run(self, rows: int, length: int) -> None:
        prompt, cache = self._prompt[:rows, :length], self._cache[:, :, :rows]
        self._graphs.run(("prompt", rows, length), partial(self._t3.prefill, prompt, self._tables, cache))


def _rounded(length: int) -> int:
    return -(-length // BUCKET) * BUCKET
