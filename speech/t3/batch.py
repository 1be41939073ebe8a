"""Requests that decode together: rows join a running batch, and leave it when they are done.

Everything that a step reads or writes lies in tensors that are allocated once. No step waits for the
device: whether a row is done is asked every few steps, and what it drew beyond its end is dropped.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.t3.graphs import StepGraphs
from speech.t3.network import embed_prefix, embed_voice, read_prefix, rotary_table, step
from speech.t3.request import (
    START_SPEECH,
    START_TEXT,
    STOP_SPEECH,
    STOP_TEXT,
    Decoded,
    DecodeRequest,
)
from speech.t3.sampling import SamplingRows, draw
from speech.t3.weights import T3Weights

# Attention reads so many positions at a time: each number of them is a graph of its own.
EAGER_BUCKET, GRAPH_BUCKET = 32, 256
ROWS_OF_A_GUIDED_REQUEST = 2
# The longest chunk of text with upstream's 1000 speech tokens fits: 34 + 284 + 1 + 1000 positions.
CAPACITY = 6 * GRAPH_BUCKET


@dataclass(eq=False)
class Member:
    """A request in the batch.

    seat: where its sampling lies. row: where its text is read. guide: the row that guides it, or the
    same. bound: where its next token goes in the cache at most, known without asking the device.
    """

    request: DecodeRequest
    generator: torch.Generator
    seat: int
    row: int
    guide: int
    bound: int

    @property
    def rows(self) -> tuple[int, ...]:
        return (self.row,) if self.guide == self.row else (self.row, self.guide)


class RunningBatch:
    """Room for ``rows`` rows of the transformer: a request takes two, or one when its cfg_weight is 0.

    What is sampled and counted has a seat for each request; the cache has rows. Those in use are always
    the first ones. poll_every: steps between two looks at the device. graphs: run steps as CUDA
    graphs. Not for use by several threads.
    """

    def __init__(
        self, weights: T3Weights, rows: int, *, poll_every: int, graphs: bool, capacity: int = CAPACITY
    ) -> None:
        self.weights, self.rows, self.capacity = weights, rows, capacity
        self.members: list[Member] = []
        self._poll_every = poll_every
        self._graphs = StepGraphs() if graphs else None
        device, vocabulary = weights.device, weights.vocabulary
        # CPUs attend in float32 twice as fast as in bfloat16, though they read twice as much.
        dtype = torch.float32 if device.type == "cpu" else weights.dtype
        shape = (len(weights.layers), 2, rows, weights.heads, capacity, weights.head_width)
        self._cache = _zeros_taken_when_used(shape, dtype, device)
        self._cosines, self._sines = rotary_table(weights, capacity, dtype)
        self._row_ids = torch.arange(rows, device=device)

        def integers(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.int64, device=device)

        self._seat_of_row, self._row_of_seat, self._guide_of_seat = (integers(rows) for _ in range(3))
        self._tokens, self._counts, self._positions, self._limits = (integers(rows) for _ in range(4))
        self._spoken = integers(rows, capacity)
        self._done = torch.ones(rows, dtype=torch.bool, device=device)
        self._seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=device)
        self._noise = torch.ones(rows, vocabulary, dtype=torch.float32, device=device)
        self._sampling = SamplingRows.neutral(rows, device)

    @property
    def used_rows(self) -> int:
        return sum(len(member.rows) for member in self.members)

    def has_room_for(self, request: DecodeRequest, spare_rows: int = 0) -> bool:
        return self.used_rows + _rows_of(request) + spare_rows <= self.rows

    @torch.inference_mode()
    def join(self, request: DecodeRequest) -> Member:
        """Reads the request's text. Its first token comes with the next ``advance``."""
        assert self.has_room_for(request)
        seat, row, rows = len(self.members), self.used_rows, _rows_of(request)
        prefix = self._embed(request, guided=rows == 2)
        read_prefix(self.weights, prefix, self._cosines, self._sines, self._cache[:, :, row : row + rows])
        length = prefix.shape[1]
        generator = torch.Generator(self.weights.device).manual_seed(request.seed)
        member = Member(request, generator, seat, row, row + rows - 1, bound=length)
        self._tokens[seat], self._counts[seat], self._positions[seat] = START_SPEECH, 0, length
        self._limits[seat] = min(request.max_tokens, self.capacity - length - 1)
        self._seen[seat] = False
        self._seen[seat, START_SPEECH] = True
        self._sampling.set(seat, request.sampling.without_extremes())
        self._done[seat] = False
        self.members.append(member)
        self._wire()
        return member

    @torch.inference_mode()
    def advance(self) -> dict[Member, Decoded]:
        """A few steps for every member. Returns those that are done; they have left."""
        for _ in range(self._poll_every):
            for member in self.members:
                self._noise[member.seat].exponential_(generator=member.generator)
            self._step()
            for member in self.members:
                member.bound = min(member.bound + 1, self.capacity - 1)
        done = self._done[: len(self.members)].tolist()
        finished = {member: self._result(member) for member in self.members if done[member.seat]}
        self.leave(finished)
        return finished

    @torch.inference_mode()
    def leave(self, members: Collection[Member]) -> None:
        """Ends requests, done or not. The last seats and rows move into the gaps."""
        if not members:
            return
        seats = len(self.members)
        self.members = [member for member in self.members if member not in members]
        moved_seats = _close_gaps([member.seat for member in self.members])
        moved_rows = _close_gaps([row for member in self.members for row in member.rows])
        for source, target in moved_seats.items():
            for state in self._seat_states():
                state[target] = state[source]
        length = max((member.bound for member in self.members), default=0)
        for source, target in moved_rows.items():
            self._cache[:, :, target, :, :length] = self._cache[:, :, source, :, :length]
        for member in self.members:
            member.seat = moved_seats.get(member.seat, member.seat)
            member.row, member.guide = (moved_rows.get(row, row) for row in (member.row, member.guide))
        self._done[len(self.members) : seats] = True
        self._wire()

    def _embed(self, request: DecodeRequest, *, guided: bool) -> Tensor:
        """Everything before the first token, [rows, N, D]."""
        weights = self.weights
        text = request.text_tokens.to(weights.device, torch.int64)
        text = F.pad(F.pad(text, (1, 0), value=START_TEXT), (0, 1), value=STOP_TEXT)
        voice = embed_voice(weights, request.speaker_embedding, request.prompt_tokens, request.exaggeration)
        prefix = embed_prefix(weights, voice, text, guided=guided)
        # Upstream gives the start of speech twice, both at learned position 0: the first step is the second.
        start = weights.speech_embedding[START_SPEECH] + weights.speech_positions[0]
        return torch.cat([prefix, start.expand(len(prefix), 1, -1)], dim=1)

    @torch.inference_mode()
    def capture(self) -> None:
        """The graphs of guided requests with the usual sampling, the smallest first, while nobody is there.

        The others are captured by the step that first needs them.
        """
        assert not self.members
        if self._graphs is None:
            return
        counts = range(1, self.rows // ROWS_OF_A_GUIDED_REQUEST + 1)
        sizes = sorted({self._graph_size(ROWS_OF_A_GUIDED_REQUEST * count, count) for count in counts})
        for rows, seats in sizes:
            for length in range(GRAPH_BUCKET, self.capacity + 1, GRAPH_BUCKET):
                self._replay(self._graphs, (rows, seats, length, False))

    def _step(self) -> None:
        with_top_p = any(member.request.sampling.top_p < 1.0 for member in self.members)
        bucket = EAGER_BUCKET if self._graphs is None else GRAPH_BUCKET
        length = min(bucket * (1 + max(member.bound for member in self.members) // bucket), self.capacity)
        rows, seats = self.used_rows, len(self.members)
        if self._graphs is None:
            self._step_first(rows, seats, length, with_top_p)
        else:
            self._replay(self._graphs, (*self._graph_size(rows, seats), length, with_top_p))

    def _replay(self, graphs: StepGraphs, shape: tuple[int, int, int, bool]) -> None:
        graphs.run(shape, lambda: self._step_first(*shape))

    def _graph_size(self, rows: int, seats: int) -> tuple[int, int]:
        """Sizes are powers of two, so that there are few graphs."""
        rows, seats = (min(self.rows, 1 << (count - 1).bit_length()) for count in (rows, seats))
        return rows, seats

    def _step_first(self, rows: int, seats: int, length: int, with_top_p: bool) -> None:
        """One token more for the first seats. All of it on the device, and nothing waits."""
        tokens, counts, positions = self._tokens[:seats], self._counts[:seats], self._positions[:seats]
        seat_of_row = self._seat_of_row[:rows]
        logits = step(
            self.weights,
            tokens[seat_of_row],
            counts[seat_of_row],
            positions[seat_of_row],
            self._cosines,
            self._sines,
            self._cache[:, :, :rows, :, :length],
            self._row_ids[:rows],
        )
        drawn = draw(
            logits[self._row_of_seat[:seats]],
            logits[self._guide_of_seat[:seats]],
            self._seen[:seats],
            self._sampling.first(seats),
            self._noise[:seats],
            with_top_p=with_top_p,
        )
        alive = ~self._done[:seats]
        self._spoken[:seats].scatter_(1, counts[:, None], drawn[:, None])  # past its end once it is done
        self._seen[:seats].scatter_(1, drawn[:, None], True)
        tokens.copy_(drawn)
        counts += alive
        positions += alive
        self._done[:seats] |= (drawn == STOP_SPEECH) | (counts >= self._limits[:seats])

    def _result(self, member: Member) -> Decoded:
        tokens = self._spoken[member.seat, : int(self._counts[member.seat])].clone()
        stopped = bool(tokens[-1] == STOP_SPEECH)
        return Decoded(tokens[:-1] if stopped else tokens, stopped, member.generator)

    def _seat_states(self) -> tuple[Tensor, ...]:
        counters = (self._tokens, self._counts, self._positions, self._limits)
        return (*counters, self._spoken, self._done, self._seen, *self._sampling.all())

    def _wire(self) -> None:
        """Tells the device which rows and seats belong together; those of nobody belong to the first."""
        seat_of_row, row_of_seat, guide_of_seat = ([0] * self.rows for _ in range(3))
        for member in self.members:
            row_of_seat[member.seat], guide_of_seat[member.seat] = member.row, member.guide
            for row in member.rows:
                seat_of_row[row] = member.seat
        self._seat_of_row.copy_(torch.tensor(seat_of_row))
        self._row_of_seat.copy_(torch.tensor(row_of_seat))
        self._guide_of_seat.copy_(torch.tensor(guide_of_seat))


def _close_gaps(places: Collection[int]) -> dict[int, int]:
    """Where to move the last of these places, old to new, so that they are the first ones."""
    count = len(places)
    gaps = sorted(set(range(count)) - set(places))
    return dict(zip(sorted(place for place in places if place >= count), gaps, strict=True))


def _rows_of(request: DecodeRequest) -> int:
    return ROWS_OF_A_GUIDED_REQUEST if request.sampling.cfg_weight > 0 else 1


def _zeros_taken_when_used(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU memory is taken only as it is written.

    They must be zeros: a masked position has weight 0, and 0 times what lies in fresh memory may be NaN.
    """
    if device.type != "cpu":
        return torch.zeros(*shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).view(*shape)
