"""S3Gen's encoder and vocoder as CUDA graphs, one for each shape of a padded batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from speech.models.spec import MEL_CHANNELS, MEL_FRAMES_PER_TOKEN
from speech.s3gen.graphs import RecentGraphs
from speech.s3gen.vocoder import HARMONICS, SAMPLES_A_FRAME

Batch = Callable[..., tuple[Tensor, ...]]

MAX_ROWS, MAX_TOKENS = 64, 12288  # of a batch that has a graph, and of the encoder's with their padding


class GraphedBatches:
    """A function of padded batches as CUDA graphs, one for each shape of the first argument.

    A graph reads and writes tensors at addresses that stay: arguments are copied in, and results out. Shapes
    for which these have no room are computed without a graph. For use by one thread.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., tuple[Tensor, ...]],
        graphs: RecentGraphs,
        *,
        arguments: Sequence[Tensor],
        results: Sequence[Tensor],
    ) -> None:
        """Notes what the graphs are made of. Captures nothing yet.

        name: for the log. function: never waits for the device; the shape of its first argument gives those
        of the others and of its results. arguments, results: tensors of one dimension, with room for the
        largest of each.
        """
        self._name, self._function, self._graphs = name, function, graphs
        self._arguments, self._results = arguments, results
        self._result_shapes: dict[torch.Size, list[torch.Size]] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Returns what the function does, in tensors of their own."""
        if any(each.numel() > len(room) for each, room in zip(arguments, self._arguments, strict=True)):
            return self._function(*arguments)
        inputs = [_view(room, each.shape) for room, each in zip(self._arguments, arguments, strict=True)]
        for static, argument in zip(inputs, arguments, strict=True):
            static.copy_(argument)
        shape = arguments[0].shape
        self._graphs.replay_of((self, *shape), partial(self._run, shape, inputs))()
        rooms = zip(self._results, self._result_shapes[shape], strict=True)
        return tuple(_view(room, result).clone() for room, result in rooms)

    def __repr__(self) -> str:
        return self._name

    def _run(self, shape: torch.Size, inputs: Sequence[Tensor]) -> None:
        results = self._function(*inputs)
        self._result_shapes[shape] = [each.shape for each in results]
        for room, result in zip(self._results, results, strict=True):
            _view(room, result.shape).copy_(result)


@dataclass(frozen=True, eq=False)
class StaticTensors:
    """What the graphs of encoder and vocoder read and write: some 50 MB that all of them share.

    The tensors are those of ``encode`` and ``vocode_windows``, of the largest batch and of one dimension: a
    batch of any shape takes as much of their beginning as it needs.
    """

    tokens: Tensor  # int64
    mu: Tensor
    lengths: Tensor  # int64
    mel: Tensor
    phases: Tensor
    noise: Tensor
    anchors: Tensor  # int64
    cycles: Tensor  # float64
    samples: Tensor
    passed: Tensor  # float64

    @classmethod
    def empty(cls, device: torch.device, max_frames: int) -> StaticTensors:
        """Allocates the tensors. max_frames: of the vocoder's batches, those of their padding included."""
        zeros = partial(torch.zeros, device=device)
        return cls(
            tokens=zeros(MAX_TOKENS, dtype=torch.int64),
            mu=zeros(MAX_TOKENS * MEL_FRAMES_PER_TOKEN * MEL_CHANNELS),
            lengths=zeros(MAX_ROWS, dtype=torch.int64),
            mel=zeros(max_frames * MEL_CHANNELS),
            phases=zeros(MAX_ROWS * HARMONICS),
            noise=zeros(max_frames * SAMPLES_A_FRAME * HARMONICS),
            anchors=zeros(MAX_ROWS, dtype=torch.int64),
            cycles=zeros(MAX_ROWS, dtype=torch.float64),
            samples=zeros(max_frames * SAMPLES_A_FRAME),
            passed=zeros(max_frames + MAX_ROWS, dtype=torch.float64),
        )

    def encoder(self, run: Batch, graphs: RecentGraphs) -> Batch:
        """Returns a function of tokens and lengths, to µ, as CUDA graphs."""
        arguments, results = (self.tokens, self.lengths), (self.mu,)
        return GraphedBatches("encoder", run, graphs, arguments=arguments, results=results)

    def vocoder(self, run: Batch, graphs: RecentGraphs) -> Batch:
        """Returns a function of what ``vocode_batch`` takes but the weights, to samples, as CUDA graphs."""
        arguments, results = (self.mel, self.lengths, self.phases, self.noise), (self.samples,)
        return GraphedBatches("vocoder", run, graphs, arguments=arguments, results=results)

    def windows(self, run: Batch, graphs: RecentGraphs) -> Batch:
        """Returns a function of what ``vocode_windows`` takes but the weights, as CUDA graphs."""
        arguments = self.mel, self.lengths, self.phases, self.noise, self.anchors, self.cycles
        results = self.samples, self.passed
        return GraphedBatches("vocoder of pieces", run, graphs, arguments=arguments, results=results)


def _view(room: Tensor, shape: torch.Size) -> Tensor:
    return room[: math.prod(shape)].view(shape)
