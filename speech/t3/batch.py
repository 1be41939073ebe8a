"""Requests that decode together in one running batch: sequences are added, step, and leave when done.

Everything that a step reads or writes lies in tensors that are allocated once. A step never waits for the
device: whether a sequence is done is read every few steps, and what it drew beyond its end is dropped.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from speech.models.spec import CODEBOOK_SIZE
from speech.models.t3 import T3, Head
from speech.t3.fused_step import FusedStep, StepTensors, load_fused_step
from speech.t3.graphs import StepGraphs
from speech.t3.prefill import GraphedPrefill
from speech.t3.request import Decoded, DecodeRequest
from speech.t3.sampling import Sampling, SamplingRows, draw
from speech.transfer import upload

# With PyTorch's operators attention reads a multiple of so many positions, and each number of them is a CUDA
# graph of its own.
EAGER_BUCKET, GRAPH_BUCKET = 32, 256
ROWS_WITH_CFG = 2
# The longest chunk of text with upstream's 1000 speech tokens fits: 34 + 284 + 1 + 1000 positions.
CAPACITY = 6 * GRAPH_BUCKET
# What most chunks need beside the voice: 280 characters are some 140 text tokens and 500 speech tokens.
USUAL_LENGTH = 640


@dataclass(eq=False)
class DecodingSequence:
    """A request in the batch."""

    request: DecodeRequest
    generator: torch.Generator
    slot: int  # index of its sampling state
    row: int  # its conditional row in the KV cache
    uncond_row: int  # its unconditional row, equal to ``row`` without guidance
    max_position: int  # upper limit of its cache position, known on the host without a device sync
    needs_sort: bool  # whether drawing its tokens takes a sort of the vocabulary
    draws: int = 0  # times that the generator was drawn from
    # A CPU generator's states before each draw since the last look at what is done.
    generator_states: list[Tensor] = field(default_factory=list)

    @property
    def rows(self) -> tuple[int, ...]:
        """Its rows in the cache."""
        return (self.row,) if self.uncond_row == self.row else (self.row, self.uncond_row)


class RunningBatch:
    """The decoding state of all requests that run: a KV cache of rows, and sampling state by slot.

    A request takes two rows, or one without guidance, and one slot. Rows and slots in use are always the
    first ones. For use by one thread.
    """

    def __init__(self, t3: T3, rows: int, *, poll_every: int, graphs: bool, capacity: int = CAPACITY) -> None:
        """Allocates the cache.

        rows: of the KV cache. poll_every: steps between two looks at what is done. graphs: run steps as CUDA
        graphs, with ``FusedStep`` where it can be had. capacity: positions of a row.
        """
        self.t3, self.rows, self.capacity = t3, rows, capacity
        self.sequences: list[DecodingSequence] = []
        self._poll_every = poll_every
        device, vocabulary = t3.device, t3.vocabulary
        self._graphs = StepGraphs(device) if graphs else None
        self._cache = _lazy_zeros(t3.cache_shape(rows, capacity), t3.cache_dtype, device)
        self._tables = t3.position_tables(capacity)
        self._row_ids = torch.arange(rows, device=device)

        def integers(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.int64, device=device)

        # One tensor, which is uploaded at once. Its rows are an even number of integers: for addresses that
        # are no multiples of 16 bytes Triton would compile the kernels again.
        self._index_maps = integers(3, rows + rows % 2)
        self._slot_of_row, self._row_of_slot, self._uncond_row_of_slot = self._index_maps[:, :rows]
        self._tokens, self._counts, self._positions, self._limits = (integers(rows) for _ in range(4))
        self._spoken = integers(rows, capacity)
        self._done = torch.ones(rows, dtype=torch.bool, device=device)
        self._seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=device)
        self._noise = torch.ones(rows, vocabulary, dtype=torch.float32, device=device)
        self._sampling = SamplingRows.neutral(rows, device)
        self._fused: FusedStep | None = None
        self._prefill: GraphedPrefill | None = None
        if self._graphs is not None:
            self._fused = load_fused_step(t3, self._step_tensors())
            if self._fused is not None:  # in float32 tokens are to equal upstream's
                most_rows = min(rows, ROWS_WITH_CFG if self._can_guide else 1)
                self._prefill = GraphedPrefill(t3, self._graphs, most_rows, self._tables)

    @property
    def _can_guide(self) -> bool:
        """Whether the model has classifier-free guidance, for which a request takes two rows."""
        return "guidance" in self.t3.spec.sampler

    @property
    def used_rows(self) -> int:
        """Number of rows that are taken."""
        return sum(len(sequence.rows) for sequence in self.sequences)

    def has_room_for(self, request: DecodeRequest, spare_rows: int = 0) -> bool:
        """Whether the request fits and leaves ``spare_rows`` rows free."""
        return self.used_rows + _rows_of(request) + spare_rows <= self.rows

    @torch.inference_mode()
    def add(self, request: DecodeRequest) -> DecodingSequence:
        """Reads the request's prompt into the cache. Its first token comes with the next ``step_many``."""
        assert self.has_room_for(request)
        slot, row, rows = len(self.sequences), self.used_rows, _rows_of(request)
        prompt = self.t3.embed_prompt(request, use_cfg=rows == ROWS_WITH_CFG)
        length = prompt.shape[1]
        assert length < self.capacity - 1, "the prompt leaves no room for speech"
        cache = self._cache[:, :, row : row + rows]
        if self._prefill is None:
            self.t3.prefill(prompt, self._tables, cache)
        else:
            self._prefill.read(prompt, cache)
        generator = torch.Generator(self.t3.device).manual_seed(request.seed)
        order, start_speech = self.t3.spec.sampler, self.t3.spec.tokens.start_speech
        sampling = request.sampling.without_extremes(order)
        sequence = DecodingSequence(
            request, generator, slot, row, row + rows - 1, length, sampling.needs_sort(order)
        )
        self._tokens[slot], self._counts[slot], self._positions[slot] = start_speech, 0, length
        self._limits[slot] = min(request.max_tokens, self.capacity - length - 1)
        self._seen[slot] = False
        self._seen[slot, start_speech] = True
        self._sampling.set(slot, sampling)
        self._done[slot] = False
        self.sequences.append(sequence)
        try:
            self._upload_index_maps()
        except Exception:
            self.sequences.pop()
            raise
        return sequence

    @torch.inference_mode()
    def step_many(self) -> dict[DecodingSequence, Decoded]:
        """Decodes a few tokens of every sequence. Returns those that are done; they have left the batch."""
        for _ in range(self._poll_every):
            self._step()
        done = self._done[: len(self.sequences)].tolist()
        finished = {sequence: self._result(sequence) for sequence in self.sequences if done[sequence.slot]}
        for sequence in self.sequences:
            sequence.generator_states.clear()
        self.remove(finished)
        return finished

    @torch.inference_mode()
    def speech_so_far(self, sequence: DecodingSequence, at_least: int) -> Tensor | None:
        """Returns the speech tokens so far, int64 [T], as ``Decoded.speech`` does; None if they are fewer."""
        if sequence.draws < at_least:
            return None
        tokens = self._spoken[sequence.slot, : sequence.draws]
        tokens = tokens[tokens < CODEBOOK_SIZE]
        return tokens if len(tokens) >= at_least else None

    def attention_to_text(self, request: DecodeRequest, tokens: Tensor, heads: Collection[Head]) -> Tensor:
        """Returns where heads look in the text while decoded tokens are spoken: ``T3.attention_to_text``."""
        return self.t3.attention_to_text(request, tokens, heads)

    @torch.inference_mode()
    def remove(self, sequences: Collection[DecodingSequence]) -> None:
        """Ends sequences, done or not. The last slots and rows move into the gaps."""
        if not sequences:
            return
        slots = len(self.sequences)
        self.sequences = [sequence for sequence in self.sequences if sequence not in sequences]
        moved_slots = _compact([sequence.slot for sequence in self.sequences])
        moved_rows = _compact([row for sequence in self.sequences for row in sequence.rows])
        for source, target in moved_slots.items():
            for state in self._slot_states():
                state[target] = state[source]
        # What is no number would spoil the sequence that comes next, although that masks what lies behind it.
        for sequence in sequences:
            for row in sequence.rows:
                self._cache[:, :, row, :, : sequence.max_position + 1] = 0
        length = 1 + max((sequence.max_position for sequence in self.sequences), default=0)
        for source, target in moved_rows.items():
            self._cache[:, :, target, :, :length] = self._cache[:, :, source, :, :length]
            self._cache[:, :, source, :, :length] = 0
        for sequence in self.sequences:
            sequence.slot = moved_slots.get(sequence.slot, sequence.slot)
            sequence.row, sequence.uncond_row = (
                moved_rows.get(row, row) for row in (sequence.row, sequence.uncond_row)
            )
        self._done[len(self.sequences) : slots] = True
        self._upload_index_maps()

    @torch.inference_mode()
    def capture(self) -> None:
        """Captures graphs, the smallest first, while no request runs.

        With ``FusedStep`` these are all that there will be. Without it a graph is for a length as well, so
        that they are those which most requests need: with guidance and with a sort where the model's own
        parameters ask for them, and not much longer than a chunk of text is. Others are captured by the step
        that first needs them.
        """
        assert not self.sequences
        if self._graphs is None:
            return
        guided = {self._graph_size(ROWS_WITH_CFG * n, n) for n in range(1, self.rows // ROWS_WITH_CFG + 1)}
        unguided = {self._graph_size(n, n) for n in range(1, self.rows + 1)}
        if self._fused is None:
            spec = self.t3.spec
            usual = Sampling.of(spec.default_parameters)
            longest = min(self.t3.voice_positions + USUAL_LENGTH, self.capacity)
            for rows, slots in sorted(guided if usual.uses_cfg else unguided):
                for position in range(0, longest, GRAPH_BUCKET):
                    self._run(rows, slots, position, usual.needs_sort(spec.sampler))
            return
        assert self._prefill is not None
        self._prefill.capture()
        for rows, slots in sorted(guided | unguided if self._can_guide else unguided):
            for with_sort in (False, True):
                self._run(rows, slots, 0, with_sort)

    def _step(self) -> None:
        """Draws the noise of every sequence and decodes one token with it. Never waits for the device."""
        for sequence in self.sequences:
            if self._poll_every > 1 and sequence.generator.device.type == "cpu":
                sequence.generator_states.append(sequence.generator.get_state())
            self._noise[sequence.slot].exponential_(generator=sequence.generator)
            sequence.draws += 1
        with_sort = any(sequence.needs_sort for sequence in self.sequences)
        longest = max(sequence.max_position for sequence in self.sequences)
        rows, slots = self.used_rows, len(self.sequences)
        if self._graphs is not None:
            rows, slots = self._graph_size(rows, slots)
        self._run(rows, slots, longest, with_sort)
        for sequence in self.sequences:
            sequence.max_position = min(sequence.max_position + 1, self.capacity - 1)

    def _run(self, rows: int, slots: int, longest: int, with_sort: bool) -> None:
        """Decodes one token for the first slots, as a graph where there are graphs.

        longest: upper limit of the rows' positions.
        """
        shape: tuple[int, ...]
        if self._fused is None:
            bucket = EAGER_BUCKET if self._graphs is None else GRAPH_BUCKET
            length = min(bucket * (1 + longest // bucket), self.capacity)
            shape = (rows, slots, length, with_sort)
            work = partial(self._decode_step, rows, slots, length, with_sort)
        else:
            rows = max(rows, self._fused.fewest_rows)
            shape = (rows, slots, with_sort)
            work = partial(self._decode_fused, self._fused, rows, slots, with_sort)
        if self._graphs is None:
            work()
        else:
            self._graphs.run(shape, work)

    def _graph_size(self, rows: int, slots: int) -> tuple[int, int]:
        """Rounds up to powers of two, so that there are few graphs."""
        rows, slots = (min(self.rows, 1 << (count - 1).bit_length()) for count in (rows, slots))
        return rows, slots

    def _decode_step(self, rows: int, slots: int, length: int, with_sort: bool) -> None:
        """Decodes one token for slots 0 to slots - 1.

        Runs wholly on the device without a host sync, so it can be captured as a CUDA graph.
        """
        tokens, counts, positions = self._tokens[:slots], self._counts[:slots], self._positions[:slots]
        slot_of_row = self._slot_of_row[:rows]
        logits = self.t3.step(
            tokens[slot_of_row],
            counts[slot_of_row],
            positions[slot_of_row],
            self._tables,
            self._cache[:, :, :rows, :, :length],
            self._row_ids[:rows],
        )
        self._draw(logits, slots, with_sort)

    def _decode_fused(self, fused: FusedStep, rows: int, slots: int, with_sort: bool) -> None:
        """Does what ``_decode_step`` does, in fewer kernels."""
        logits = fused.logits(rows)
        if fused.draws(self.t3.spec.sampler, with_sort=with_sort):
            fused.draw(logits, slots)
        else:
            self._draw(logits, slots, with_sort)

    def _draw(self, logits: Tensor, slots: int, with_sort: bool) -> None:
        """Draws the next token of the first slots from logits, float32 [rows, vocabulary], and records it."""
        tokens, counts, positions = self._tokens[:slots], self._counts[:slots], self._positions[:slots]
        order = self.t3.spec.sampler
        scores = logits[self._row_of_slot[:slots]]
        drawn = draw(
            scores,
            logits[self._uncond_row_of_slot[:slots]] if self._can_guide else scores,
            self._seen[:slots],
            self._sampling.first(slots),
            self._noise[:slots],
            order=order,
            with_sort=with_sort,
        )
        alive = ~self._done[:slots]
        tokens_of = self.t3.spec.tokens
        stops = drawn == tokens_of.stop_speech
        if (
            self.t3.spec.loop == "turbo"
        ):  # the first draw ends nothing, and the start is penalised in it alone
            is_later = counts > 0
            stops &= is_later
            self._seen[:slots, tokens_of.start_speech] &= is_later
        self._spoken[:slots].scatter_(1, counts[:, None], drawn[:, None])  # past its end once it is done
        self._seen[:slots].scatter_(1, drawn[:, None], True)
        tokens.copy_(drawn)
        counts += alive
        positions += alive
        self._done[:slots] |= stops | (counts >= self._limits[:slots])

    def _result(self, sequence: DecodingSequence) -> Decoded:
        count = int(self._counts[sequence.slot])
        tokens = self._spoken[sequence.slot, :count].clone()
        stopped = bool(tokens[-1] == self.t3.spec.tokens.stop_speech)
        self._rewind(sequence, count)
        return Decoded(tokens[:-1] if stopped else tokens, stopped, sequence.generator)

    def _rewind(self, sequence: DecodingSequence, count: int) -> None:
        """Sets the generator to its state after ``count`` draws.

        It may have drawn more since the sequence was done. S3Gen has to go on where upstream's would.
        """
        generator, beyond = sequence.generator, sequence.draws - count
        if beyond == 0:
            return
        if generator.device.type == "cuda":
            # Each draw of the same size moves Philox's offset by the same amount.
            generator.set_offset(generator.get_offset() // sequence.draws * count)
        else:
            generator.set_state(sequence.generator_states[-beyond])

    def _step_tensors(self) -> StepTensors:
        return StepTensors(
            cache=self._cache,
            tables=self._tables,
            slot_of_row=self._slot_of_row,
            row_of_slot=self._row_of_slot,
            uncond_row_of_slot=self._uncond_row_of_slot,
            tokens=self._tokens,
            counts=self._counts,
            positions=self._positions,
            limits=self._limits,
            spoken=self._spoken,
            done=self._done,
            seen=self._seen,
            noise=self._noise,
            sampling=self._sampling,
        )

    def _slot_states(self) -> tuple[Tensor, ...]:
        counters = (self._tokens, self._counts, self._positions, self._limits)
        return (*counters, self._spoken, self._done, self._seen, *self._sampling.all())

    def _upload_index_maps(self) -> None:
        """Copies the maps between rows and slots to the device.

        Unused entries are 0, so that padded rows of a graph compute something harmless.
        """
        maps = [[0] * self._index_maps.shape[1] for _ in range(3)]
        slot_of_row, row_of_slot, uncond_row_of_slot = maps
        for sequence in self.sequences:
            row_of_slot[sequence.slot] = sequence.row
            uncond_row_of_slot[sequence.slot] = sequence.uncond_row
            for row in sequence.rows:
                slot_of_row[row] = sequence.slot
        self._index_maps.copy_(upload(torch.tensor(maps), self.t3.device))


def _compact(places: Collection[int]) -> dict[int, int]:
    """Returns where to move the last of these places, old to new, so that the first ones are in use."""
    count = len(places)
    gaps = sorted(set(range(count)) - set(places))
    return dict(zip(sorted(place for place in places if place >= count), gaps, strict=True))


def _rows_of(request: DecodeRequest) -> int:
    return ROWS_WITH_CFG if request.sampling.uses_cfg else 1


def _lazy_zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Returns zeros; on a CPU, memory is taken only as it is written.

    They must be zeros: a masked position has weight 0, and 0 times what lies in fresh memory may be NaN.
    """
    if device.type != "cpu":
        return torch.zeros(*shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).view(*shape)
