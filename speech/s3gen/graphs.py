"""CUDA graphs of work whose shapes are many: the ones used last are kept."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch

from speech.capture import CaptureFailed, capture_graph

# At the start there are 65, and 26 more for each further vocoder. Calls with other numbers of chunks in a
# batch add to them.
MAX_GRAPHS = 256

log = logging.getLogger(__name__)


class RecentGraphs:
    """One CUDA graph for each shape, captured when that shape first comes, up to a number of graphs.

    The work must be the same whenever its shape is the same; see ``capture_graph`` for the other rules. All
    graphs share one memory pool: one runs at a time. A shape whose capture fails has no graph for good.
    """

    def __init__(self, device: torch.device, max_graphs: int = MAX_GRAPHS) -> None:
        self._graphs: OrderedDict[Hashable, torch.cuda.CUDAGraph] = OrderedDict()
        self._without_graph: set[Hashable] = set()
        self._max_graphs = max_graphs
        self._pool = torch.cuda.graph_pool_handle()
        # Of low priority: T3 goes first.
        self._stream = torch.cuda.Stream(device, priority=0)  # type: ignore[no-untyped-call]

    def replay_of(self, shape: Hashable, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what replays the graph of the work, or the work itself where it has none.

        Runs the work once when it has to be captured.
        """
        if shape in self._without_graph:
            return work
        if shape not in self._graphs:
            log.info("captures a graph of S3Gen: %s", shape)
            try:
                self._graphs[shape] = self._capture(work)  # has waited for the device: no graph is running
            except CaptureFailed as error:
                log.warning("S3Gen is slower: it has no CUDA graph for %s: %s", shape, error)
                self._without_graph.add(shape)
                self._pool = torch.cuda.graph_pool_handle()
                return work
            if len(self._graphs) > self._max_graphs:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(shape)
        return self._graphs[shape].replay

    def clear(self) -> None:
        """Drops all graphs. Their memory is free once the caches are emptied. Waits for the device."""
        torch.cuda.synchronize()
        self._graphs.clear()
        # A pool whose graphs are gone may not be captured into before its memory is given back.
        self._pool = torch.cuda.graph_pool_handle()

    def _capture(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        return capture_graph(work, self._stream, self._pool)
