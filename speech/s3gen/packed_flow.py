"""The flow for several chunks at once: their frames lie one after the other, without padding between them.

``speech.s3gen.flow`` is the reference: the same arithmetic for one chunk. Here the estimator may compute in
bfloat16, with float32 sums; noise, the mel that the ODE moves and the embeddings of time stay float32.

Rows are frames, [rows, channels]. There are as many as a bucket holds, so that few CUDA graphs serve all
lengths. Unused rows are a segment of their own, which no chunk looks at. With guidance, as many unguided
rows follow, in the same order; without it there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.linear import pack
from speech.models.spec import MEL_CHANNELS, FlowSpec
from speech.s3gen.flow import schedule
from speech.s3gen.graphs import RecentGraphs
from speech.s3gen.padding import bucket, buckets
from speech.s3gen.shapes import ESTIMATOR_HEAD_WIDTH, ESTIMATOR_INPUT
from speech.s3gen.weights import WeightsView, layer_norm, linear, linear_gelu, linear_plus
from speech.transfer import upload

# The most frames that are solved together and have graphs: eight chunks of ten seconds in voices with a
# prompt of ten, or three of the longest. More gain nothing.
MAX_FRAMES = 8192
# Of the graphs for several chunks: chunks that need more have graphs of their own.
CHUNKS, LONGEST = 16, 2048
# Frames of the graphs that are captured at the start: a word after a prompt of five seconds and more, and
# chunks of up to 30 s after a prompt of ten. What is shorter or longer has its graph when it first comes.
CAPTURED_ALONE, CAPTURED_TOGETHER = (257, LONGEST), (513, MAX_FRAMES)
EXPECTED_ROWS = 2048  # of a chunk of ten seconds after a prompt of ten, for which a CPU orders matrices
TAPS = 3  # frames that a causal convolution sees
# Which of the neighbours of a segment's rows, three of each, lie before it: two of the first and one of the
# second. A segment of one row has none of the latter; it is the next segment's then.
BEFORE_A_SEGMENT = (0, 1, TAPS)


@dataclass(frozen=True, eq=False)
class FlowInput:
    """What the flow of one chunk starts from."""

    noise: Tensor  # float32 [1, 80, T]
    mu: Tensor  # float32 [T, 80]
    speaker: Tensor  # float32 [80]
    prompt_mel: Tensor  # float32 [P, 80], P at most T

    def cond(self) -> Tensor:
        """What the estimator sees of a chunk beside the mel, [T, 240]."""
        frames = len(self.mu)
        prompt_mel = F.pad(self.prompt_mel, (0, 0, 0, frames - len(self.prompt_mel)))
        return torch.cat([self.mu, self.speaker.expand(frames, -1), prompt_mel], dim=1)


class Shape(NamedTuple):
    """What a CUDA graph is captured for."""

    frames: int  # of all chunks and of nobody: a bucket
    chunks: int  # at most
    longest: int  # frames of a segment at most

    @classmethod
    def exactly(cls, lengths: Sequence[int]) -> Shape:
        """The shape without room for anything else."""
        return cls(sum(lengths), len(lengths), max(lengths))

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Shape:
        """The smallest shape of a graph with room for chunks of these lengths.

        Several chunks have the shape of their frames alone, unless they are many or long: the attention's
        kernel has nothing to do for chunks and frames that are missing.
        """
        total = sum(lengths)
        frames = bucket(total)
        longest = _power_of_two(max(*lengths, frames - total))
        if len(lengths) == 1:
            return cls(frames, 1, longest)
        return cls(frames, max(_power_of_two(len(lengths)), CHUNKS), max(longest, LONGEST))

    @classmethod
    def at_start(cls) -> list[Shape]:
        """The shapes whose graphs are captured before the first request, the largest first.

        The graphs share memory: that of the largest serves the others.
        """
        alone = [cls.of([frames]) for frames in buckets(*CAPTURED_ALONE)]
        together = [cls(frames, CHUNKS, LONGEST) for frames in buckets(*CAPTURED_TOGETHER)]
        return sorted(alone + together, reverse=True)


def _power_of_two(number: int) -> int:
    """The least power of two that is no less than a number."""
    return 1 << (number - 1).bit_length()


@dataclass(frozen=True, eq=False)
class _Rows:
    """What an Euler step reads and writes, at addresses that stay."""

    mel: Tensor  # float32 [frames, 80]
    cond: Tensor  # the estimator's dtype, [rows, 240]; zeros in unguided rows
    step: Tensor  # int64 [1], the number of the Euler step
    bounds: Tensor  # int32 [segments + 1], where segments begin and end; those of missing chunks are empty
    neighbours: Tensor  # int64 [3 * rows], the row before the last, the last and the row itself
    elsewhere: Tensor  # int64 [3 * segments], indices of neighbours that belong to another segment
    longest: int
    segments: list[tuple[int, int]] = field(default_factory=list)  # those that are not empty, for the host

    @classmethod
    def empty(cls, shape: Shape, passes: int, dtype: torch.dtype, device: torch.device) -> _Rows:
        """Allocates rows. passes: 2 with guidance, 1 without."""
        rows = passes * shape.frames
        reach = torch.arange(1 - TAPS, 1, device=device)
        return cls(
            mel=torch.zeros(shape.frames, MEL_CHANNELS, device=device),
            cond=torch.zeros(rows, ESTIMATOR_INPUT - MEL_CHANNELS, dtype=dtype, device=device),
            step=torch.zeros(1, dtype=torch.int64, device=device),
            bounds=torch.zeros(passes * (shape.chunks + 1) + 1, dtype=torch.int32, device=device),
            neighbours=(torch.arange(rows, device=device)[:, None] + reach).clamp(min=0).flatten(),
            elsewhere=torch.zeros(
                passes * (shape.chunks + 1) * len(BEFORE_A_SEGMENT), dtype=torch.int64, device=device
            ),
            longest=shape.longest,
        )

    def first(self, shape: Shape, passes: int) -> _Rows:
        """The first of these rows, as many as a smaller shape has."""
        rows = passes * shape.frames
        return _Rows(
            self.mel[: shape.frames],
            self.cond[:rows],
            self.step,
            self.bounds[: passes * (shape.chunks + 1) + 1],
            self.neighbours[: TAPS * rows],
            self.elsewhere[: passes * (shape.chunks + 1) * len(BEFORE_A_SEGMENT)],
            shape.longest,
        )

    def fill(self, inputs: Sequence[FlowInput]) -> None:
        """Fills in everything but the mel, so that a step can be tried."""
        self.step.zero_()
        frames, rows = len(self.mel), len(self.cond)
        passes = rows // frames
        ends = list(accumulate(len(each.mu) for each in inputs))
        missing = (len(self.bounds) - 1) // passes - 1 - len(ends)
        self.cond.zero_()
        self.cond[: ends[-1]].copy_(torch.cat([each.cond() for each in inputs]))
        ends += [ends[-1]] * missing + [frames]
        bounds = [0, *(start + end for start in range(0, rows, frames) for end in ends)]
        self.segments[:] = [(start, end) for start, end in pairwise(bounds) if start < end]
        self.bounds.copy_(upload(torch.tensor(bounds, dtype=torch.int32), self.bounds.device))
        # Beyond the last row there are none; the first index stands for them, which is always elsewhere.
        elsewhere = [TAPS * start + index for start in bounds[:-1] for index in BEFORE_A_SEGMENT]
        elsewhere = [index if index < TAPS * rows else 0 for index in elsewhere]
        self.elsewhere.copy_(upload(torch.tensor(elsewhere), self.elsewhere.device))

    def start(self, inputs: Sequence[FlowInput]) -> None:
        """Sets the mel to the noise, and the step to the first."""
        self.step.zero_()
        self.mel.zero_()
        noise = torch.cat([each.noise[0] for each in inputs], dim=1).T
        self.mel[: len(noise)].copy_(noise)


class PackedFlow:
    """Solves the flow's ODE for several chunks at once, with the estimator in a dtype of its own.

    With graphs, which bfloat16 on a GPU allows, an Euler step is a CUDA graph.
    """

    def __init__(
        self, estimator: WeightsView, spec: FlowSpec, dtype: torch.dtype, *, graphs: bool = False
    ) -> None:
        device = (estimator / "final_proj")["weight"].device
        self._spec, self._dtype, self._device = spec, dtype, device
        self._passes = 2 if spec.guidance else 1
        spans, time_embeddings = schedule(estimator, spec)
        self._spans = spans[:, None]
        # Of each step and block, [steps, blocks, C]: they are the same for every mel spectrogram.
        self._time_shifts = torch.stack(
            [linear(time_embeddings[:, 0], block / 0 / "mlp" / 1) for block in _blocks(estimator)], dim=1
        ).to(dtype)
        self._estimator = estimator.mapped(lambda tensor: pack(_as_matrix(tensor).to(dtype), EXPECTED_ROWS))
        self._graphs = self._rows = None
        if graphs:
            self._graphs = RecentGraphs(device)
            self._rows = _Rows.empty(Shape(MAX_FRAMES, MAX_FRAMES, MAX_FRAMES), self._passes, dtype, device)

    def solve(self, inputs: Sequence[FlowInput]) -> list[Tensor]:
        """Returns the mel spectrogram of each chunk, float32 [T, 80]."""
        return [mel for group in _groups(inputs) for mel in self._solve(group)]

    def capture(self) -> None:
        """Captures the graphs that are captured at the start, so that no request waits for them."""
        if self._graphs is None or self._rows is None:
            return
        for shape in Shape.at_start():
            rows = self._rows.first(shape, self._passes)
            rows.fill(_silence(shape, self._device))
            self._graphs.replay_of(shape, self._step_of(rows))

    @property
    def graphs(self) -> RecentGraphs | None:
        """The CUDA graphs, for whatever else the flow's caller runs on the device; None without any."""
        return self._graphs

    def drop_graphs(self) -> None:
        """Drops the CUDA graphs, so that their memory can be given back. New ones are captured as before."""
        if self._graphs is not None:
            self._graphs.clear()

    def _solve(self, inputs: Sequence[FlowInput]) -> Sequence[Tensor]:
        lengths = [len(each.mu) for each in inputs]
        shape = Shape.exactly(lengths) if self._graphs is None else Shape.of(lengths)
        if self._rows is None or self._graphs is None or shape.frames > MAX_FRAMES:
            rows = _Rows.empty(shape, self._passes, self._dtype, self._device)
            rows.fill(inputs)
            advance = self._step_of(rows)
        else:
            rows = self._rows.first(shape, self._passes)
            rows.fill(inputs)
            advance = self._graphs.replay_of(shape, self._step_of(rows))
        rows.start(inputs)  # a step that was captured has been run
        for _ in range(self._spec.steps):
            advance()
        return rows.mel[: sum(lengths)].clone().split_with_sizes(lengths)

    def _step_of(self, rows: _Rows) -> Callable[[], None]:
        """One Euler step, in place, which never waits: a CUDA graph can hold it."""

        def step() -> None:
            cond_rows = torch.cat([rows.mel.to(self._dtype).repeat(self._passes, 1), rows.cond], dim=1)
            time_shifts = self._time_shifts.index_select(0, rows.step)[0]
            velocity = _estimate(self._estimator, cond_rows, time_shifts, rows).float()
            if self._passes == 2:
                conditional, unconditional = velocity.chunk(2)
                guidance = self._spec.guidance
                velocity = (1 + guidance) * conditional - guidance * unconditional
            rows.mel.add_(self._spans.index_select(0, rows.step) * velocity)
            rows.step.add_(1)

        return step


def _silence(shape: Shape, device: torch.device) -> list[FlowInput]:
    """Chunks of nobody that fill a shape, to try a step with."""
    zeros = torch.zeros(shape.frames, MEL_CHANNELS, device=device)
    parts = [zeros[start : start + shape.longest] for start in range(0, shape.frames, shape.longest)]
    return [FlowInput(part.T[None], part, part[0], part[:0]) for part in parts]


def _groups(inputs: Sequence[FlowInput]) -> Iterator[list[FlowInput]]:
    """Splits chunks, in order, into groups of at most ``MAX_FRAMES``; one chunk may have more."""
    group: list[FlowInput] = []
    for each in inputs:
        if group and sum(len(other.mu) for other in (*group, each)) > MAX_FRAMES:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _as_matrix(tensor: Tensor) -> Tensor:
    """Flattens a convolution's weight, [outputs, inputs, taps], to [outputs, taps * inputs]; others stay."""
    return tensor.transpose(1, 2).flatten(1) if tensor.ndim == 3 else tensor


def _blocks(estimator: WeightsView) -> tuple[WeightsView, ...]:
    down, up = estimator / "down_blocks" / 0, estimator / "up_blocks" / 0
    return down, *(estimator / "mid_blocks").numbered(), up


def _estimate(estimator: WeightsView, channels: Tensor, time_shifts: Tensor, rows: _Rows) -> Tensor:
    """Returns the velocity of the mel, [rows, 80]. channels: [rows, 320]. time_shifts: [blocks, C]."""
    down, *middle, up = _blocks(estimator)
    first_shift, *middle_shifts, last_shift = time_shifts
    hidden = skipped = _block(down, channels, first_shift, rows)
    hidden = _causal_conv(hidden, down / 2, rows)
    for block, time_shift in zip(middle, middle_shifts, strict=True):
        hidden = _block(block, hidden, time_shift, rows)
    hidden = _block(up, torch.cat([hidden, skipped], dim=1), last_shift, rows)
    hidden = _causal_conv(hidden, up / 2, rows)
    return linear(_causal_block(hidden, estimator / "final_block" / "block", rows), estimator / "final_proj")


def _block(block: WeightsView, channels: Tensor, time_shift: Tensor, rows: _Rows) -> Tensor:
    """Applies a resnet block and its transformer layers; returns [rows, C]. time_shift: [C]."""
    resnet = block / 0
    hidden = _causal_block(channels, resnet / "block1" / "block", rows) + time_shift
    hidden = linear_plus(
        _causal_block(hidden, resnet / "block2" / "block", rows), channels, resnet / "res_conv"
    )
    for layer in (block / 1).numbered():
        hidden = _transformer_block(layer, hidden, rows)
    return hidden


def _transformer_block(layer: WeightsView, hidden: Tensor, rows: _Rows) -> Tensor:
    attention, forward = layer / "attn1", layer / "ff" / "net"
    projected = linear(layer_norm(hidden, layer / "norm1"), attention / "to_qkv")
    queries, keys, values = projected.view(len(hidden), 3, -1, ESTIMATOR_HEAD_WIDTH).unbind(1)
    attended = _attend(queries, keys, values, rows).flatten(1)
    hidden = linear_plus(hidden, attended, attention / "to_out" / 0)
    widened = linear_gelu(layer_norm(hidden, layer / "norm3"), forward / 0 / "proj")
    return linear_plus(hidden, widened, forward / 2)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, rows: _Rows) -> Tensor:
    """Every segment attends to itself. [rows, heads, 64]."""
    if queries.is_cuda and queries.dtype == torch.bfloat16:  # PyTorch has a kernel for segments there alone
        return attend_in_segments(queries, keys, values, rows.bounds, rows.longest)
    by_head = [each.transpose(0, 1)[None] for each in (queries, keys, values)]
    segments = []
    for start, end in rows.segments:
        query, key, value = (each[:, :, start:end] for each in by_head)
        segments.append(F.scaled_dot_product_attention(query, key, value))
    return torch.cat(segments, dim=2)[0].transpose(0, 1)


def attend_in_segments(queries: Tensor, keys: Tensor, values: Tensor, bounds: Tensor, longest: int) -> Tensor:
    """Attention within segments by PyTorch's flash kernel: ``torch.nn.attention.varlen.varlen_attn``.

    queries, keys, values: bfloat16 [rows, heads, 64]. bounds: int32, where segments begin and end. This calls
    the operator itself, since that function's first call imports torch._dynamo: 5 s of CPU time.
    """
    attended: Tensor = torch.ops.aten._flash_attention_forward(
        queries, keys, values, bounds, bounds, longest, longest, 0.0, False, return_debug_mask=False
    )[0]
    return attended


def _causal_block(hidden: Tensor, view: WeightsView, rows: _Rows) -> Tensor:
    return F.mish(layer_norm(_causal_conv(hidden, view / 0, rows), view / 2))


def _causal_conv(hidden: Tensor, view: WeightsView, rows: _Rows) -> Tensor:
    """A matrix product: cuDNN would make a plan for every number of rows."""
    seen = hidden.index_select(0, rows.neighbours)
    # Not times 0: another chunk's frames may be no numbers.
    return linear(seen.index_fill_(0, rows.elsewhere, 0.0).view(len(hidden), -1), view)
