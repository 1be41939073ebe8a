"""The device's owner: one thread that submits all work to the CPU or GPU that the model runs on.

It admits requests to the running batch of each model, steps T3, renders the chunks that are ready, runs
other device work such as the reference encoder, and captures CUDA graphs. Threads of jobs wait for results.
So nothing is submitted while a graph is captured, and caches that belong to a thread (cuDNN plans, cuBLAS
handles) are built once.

On a GPU, T3 runs on a stream of high priority and everything else on one of low priority. Nothing waits for
the whole device but the capture of a graph: finished audio is copied to pinned memory, and a CUDA event tells
when it is there.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, ClassVar, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audio.waveform import MODEL_SAMPLE_RATE_HZ
from cancel import CancelToken
from errors import Cancelled, DeviceLost, DeviceSuspect, OutOfMemory
from speech.contract import DeviceUsage
from speech.gpu_faults import GpuFault, gpu_fault
from speech.models.spec import CODEBOOK_SIZE, SILENCE_TOKEN, SPEECH_TOKENS_PER_S
from speech.models.t3 import Head
from speech.reference.conditionals import Conditionals
from speech.s3gen.s3gen import PieceRequest, Renderer, RenderRequest
from speech.s3gen.stream import ChunkStream, piece_end
from speech.t3.batch import ROWS_WITH_CFG
from speech.t3.request import Decoded, DecodeRequest
from speech.takes import UNCHECKED, Fault, TakeCheck, badness, describe

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Samples = NDArray[np.float32]

# One token gives less audio than the start that S3Gen mutes, in voices with an odd number of mel frames.
MIN_TOKENS = 2
MAX_PREFILLS = 2  # between two looks at what is decoded, each as long as some ten steps
RECORDED_AT_ONCE = 4  # pieces of one recording, of up to 30 s, that a GPU renders together
EVENT_POLL_S = 0.001  # between two looks at whether the GPU is done, when there is nothing else to do


class Batch(Protocol):
    """``RunningBatch``, or upstream's T3 behind the same interface."""

    sequences: Any
    rows: int

    @property
    def used_rows(self) -> int: ...
    def has_room_for(self, request: DecodeRequest, spare_rows: int = 0) -> bool: ...
    def add(self, request: DecodeRequest) -> Any: ...
    def step_many(self) -> dict[Any, Decoded]: ...
    def speech_so_far(self, sequence: Any, at_least: int) -> Tensor | None: ...
    def attention_to_text(self, request: DecodeRequest, tokens: Tensor, heads: Any) -> Tensor: ...
    def remove(self, sequences: Any) -> None: ...
    def capture(self) -> None: ...


@dataclass(frozen=True, eq=False)
class DeviceModel:
    """A model as the device runs it."""

    make_batch: Callable[[], Batch]
    renderer: Renderer  # the same object for models that share S3Gen: their chunks are rendered together
    # Called once before the first request, in the thread and the stream that render.
    get_renderer_ready: Callable[[], None] = lambda: None


@dataclass(frozen=True, eq=False)
class ChunkRequest:
    """One chunk of text, to be decoded and rendered."""

    model: str  # one of the runtime's
    decode: DecodeRequest  # its seed and cancel token are set by the runtime
    voice: Conditionals
    seeds: tuple[int, ...]  # one for each take: a chunk with a fault is decoded again with the next
    in_pieces: bool = False  # render it while it is decoded
    silence_tokens: int = 0  # speech tokens of silence that are rendered after T3's
    check: TakeCheck = UNCHECKED  # of each take, beside that it has speech and ends
    heads: tuple[Head, ...] = ()  # whose attention to the text is read, by one pass over what was decoded


@dataclass(frozen=True, eq=False)
class TokensRequest:
    """Speech tokens that are there already, to be rendered."""

    model: str  # one of the runtime's
    tokens: Tensor  # int64 [T], within the codebook
    voice: Conditionals
    seed: int

    in_pieces: ClassVar[bool] = False

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the only attempt."""
        return (self.seed,)


@dataclass(frozen=True)
class RenderedTake:
    """A reading of a chunk: which, and what was wrong with it."""

    seed: int
    faults: tuple[Fault, ...]  # the worst first
    used: bool


@dataclass(frozen=True, eq=False)
class RenderedAudio:
    """The audio of one chunk or a piece of it, and how it came to be."""

    samples: Samples  # float32 [n], 24 kHz
    takes: tuple[RenderedTake, ...]  # of the chunk, on its last piece; empty if its tokens came with it
    render_s: float  # seconds that rendering took
    ends_chunk: bool = True  # False: more of the chunk follows
    # float32 [heads, T, N], shares of the text tokens in the attention of each rendered token that T3 has
    # told; with ``takes``, where heads were asked for.
    attention: NDArray[np.float32] | None = None

    @property
    def attempts(self) -> int:
        """How often T3 has read the chunk."""
        return len(self.takes)

    @property
    def failures(self) -> tuple[str, ...]:
        """What was wrong with each take that has a fault, as a predicate."""
        return tuple(describe(take.faults) for take in self.takes if take.faults)


@dataclass(frozen=True, eq=False)
class _Take:
    """A reading of a chunk by T3: its tokens stay until the chunk is rendered."""

    seed: int
    decoded: Decoded
    tokens: Tensor  # of ``decoded``, those that S3Gen takes
    faults: tuple[Fault, ...]
    attention: NDArray[np.float32] | None  # see ``RenderedAudio``


@dataclass(eq=False)
class _Chunk:
    """A chunk on its way through the runtime."""

    job: _Job
    index: int
    request: ChunkRequest | TokensRequest
    takes: list[_Take] = field(default_factory=list)
    used: _Take | None = None  # once it is decided
    tokens: Tensor | None = None  # to be rendered, once they are known
    stream: ChunkStream | None = None  # of a chunk in pieces, once the first one is rendered
    pieces: int = 0  # that were rendered
    rendered_tokens: Tensor | None = None  # of the last of them
    waits_for: _Rendering | None = None  # what the next piece comes after; None before it was ready

    @classmethod
    def of(cls, job: _Job, index: int, request: ChunkRequest | TokensRequest) -> _Chunk:
        tokens = request.tokens if isinstance(request, TokensRequest) else None
        return cls(job, index, request, tokens=tokens)

    @property
    def seed(self) -> int:
        """Of the take that is decoded now, or else of the one that is rendered."""
        return self.request.seeds[len(self.takes)] if self.used is None else self.used.seed

    @property
    def keeps_tokens(self) -> bool:
        """Whether its tokens stay when the chunk is done again after a lack of memory.

        Those of a stream may have been handed over, as audio.
        """
        return self.tokens is not None and (self.request.in_pieces or isinstance(self.request, TokensRequest))

    def can_begin_again(self, tokens: Tensor) -> bool:
        """Whether nothing of these tokens can have been handed over, which could not be taken back.

        By their number, not by what was rendered so far: what a job says must not depend on others.
        """
        return not self.request.in_pieces or len(tokens) <= piece_end(0, is_first_chunk=self.index == 0)

    @property
    def piece_end(self) -> int:
        """The speech tokens at which the next piece ends."""
        return piece_end(self.pieces, is_first_chunk=self.index == 0)

    def decode_request(self) -> DecodeRequest:
        assert isinstance(self.request, ChunkRequest)
        return replace(self.request.decode, seed=self.seed, cancel=self.job.cancel)

    def add_take(self, decoded: Decoded, attention: NDArray[np.float32] | None) -> bool:
        """Checks a reading. Returns whether it is enough; otherwise the next seed is to be tried.

        When it is enough, the best reading is the one to render, the first of equals; in a stream the last,
        whose beginning may have been handed over.
        """
        assert isinstance(self.request, ChunkRequest)
        tokens = decoded.speech()
        scores = None if attention is None else attention.mean(axis=0)
        faults = self.request.check.faults(tokens.cpu().numpy(), scores, stopped=decoded.stopped)
        self.takes.append(_Take(self.seed, decoded, tokens, faults, attention))
        can_begin_again = self.can_begin_again(tokens)
        if faults and len(self.takes) < len(self.request.seeds) and can_begin_again:
            return False
        candidates = self.takes if can_begin_again else self.takes[-1:]
        self.used = min(candidates, key=lambda take: badness(take.faults))
        self.tokens = F.pad(self.used.tokens, (0, self.request.silence_tokens), value=SILENCE_TOKEN)
        return True

    def begin_again(self) -> None:
        """Forgets what was decided: rendering may have drawn from the generator of the take that was used."""
        if self.used is not None:
            self.takes.clear()
            self.used = self.tokens = None


@dataclass(eq=False)
class _Reading:
    """A take that was decoded, on its way to be checked."""

    chunk: _Chunk
    decoded: Decoded
    attention: _HostCopy | None = None  # once the pass over it has been started

    @property
    def needs_attention(self) -> bool:
        """Whether the check looks at its attention to the text."""
        request = self.chunk.request
        return isinstance(request, ChunkRequest) and bool(request.heads) and len(self.decoded.tokens) > 0

    @property
    def is_checkable(self) -> bool:
        """Whether all is there that the check looks at."""
        if self.attention is None:
            return not self.needs_attention
        return self.attention.is_ready()


@dataclass(frozen=True, eq=False)
class _Piece:
    """What is rendered of a chunk in one go: all of it, or a piece."""

    chunk: _Chunk
    tokens: Tensor  # from the chunk's first, those that S3Gen takes
    ends_chunk: bool


@dataclass(eq=False)
class _Job:
    """The chunks of one call of ``speak``. Chunks are rendered in order, whichever is decoded first."""

    cancel: CancelToken
    waiting: deque[_Chunk] = field(default_factory=deque)  # not yet in the batch
    results: queue.SimpleQueue[RenderedAudio | Exception] = field(default_factory=queue.SimpleQueue)
    decoded: dict[int, _Chunk] = field(default_factory=dict)  # by index, not yet rendered
    in_batch: int = 0
    next_to_render: int = 0
    one_by_one: bool = False  # after a lack of memory: never two chunks in the batch
    is_over: bool = False
    context: Context = field(default_factory=copy_context)  # of the thread that waits, for lines of the log

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Writes a line of the log as the thread that waits would: with the job's id."""
        self.context.run(log.log, level, message, *arguments)

    def end(self, error: Exception) -> None:
        """Fails the job; nothing of it is worked on any more."""
        if not self.is_over:
            self.is_over = True
            self.waiting.clear()
            self.decoded.clear()
            self.results.put(error)


@dataclass(frozen=True, eq=False)
class _HostCopy:
    """A copy on the host of a tensor that the device may still be computing."""

    source: Tensor  # kept until the copy is there
    tensor: Tensor  # on the host
    event: torch.cuda.Event | None  # recorded after the copy; None on a CPU, where it is there at once

    @classmethod
    def of(cls, source: Tensor) -> _HostCopy:
        """Starts the copy, on the current stream."""
        if not source.is_cuda:
            return cls(source, source, None)
        tensor = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        tensor.copy_(source, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()  # type: ignore[no-untyped-call]
        return cls(source, tensor, event)

    def is_ready(self) -> bool:
        return self.event is None or self.event.query()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class _Rendering:
    """Samples of a piece on their way to the host."""

    piece: _Piece
    samples: _HostCopy
    started_s: float


@dataclass(eq=False)
class _Task:
    """Other work for the device."""

    work: Callable[[], Any]
    future: Future[Any]
    copies_result: bool = False  # a tensor, which is copied to the host without waiting for it


class DeviceRuntime:
    """The owner of one device. Methods may be called from every thread but its own.

    Every model has a batch of its own, and the thread steps them in turn. Jobs take turns at the room in a
    batch, and whoever has no chunk in one comes first. A job gets room for a second chunk only while the
    other jobs that may come would still find room for their first, so that a short text never waits for a
    long one.
    """

    def __init__(
        self,
        device: torch.device,
        models: Mapping[str, DeviceModel],
        *,
        max_jobs: int = 1,
    ) -> None:
        """Starts the thread, in which the batches are made and their graphs are captured.

        models: by name. max_jobs: how many jobs may speak at once. Raises what making a batch raises.
        """
        self._device, self._models, self._max_jobs = device, models, max_jobs
        self._cpu_threads = torch.get_num_threads()
        self._recorded_at_once = RECORDED_AT_ONCE if device.type == "cuda" else 1
        self._work_came = threading.Condition()
        self._arrivals: deque[_Job | _Task] = deque()
        self._jobs: list[_Job] = []
        self._in_batch: dict[Any, _Chunk] = {}
        self._readings: list[_Reading] = []
        self._rendering: list[_Rendering] = []
        self._computing: list[tuple[_Task, _HostCopy]] = []
        self._voices: WeakKeyDictionary[Conditionals, Conditionals] = WeakKeyDictionary()
        self._failure: Exception | None = None  # after which the device does nothing any more
        self._is_closing = False
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="device", daemon=True)
        self._thread.start()
        started.result()

    def run(self, work: Callable[[], Result], cancel: CancelToken | None = None) -> Result:
        """Runs work in the owner's thread and returns its result. Raises what it raises.

        Faults of the GPU become OutOfMemory, DeviceSuspect or DeviceLost. Raises Cancelled for work that had
        not begun when the token was cancelled.
        """
        result: Result = self._run_task(_Task(work, Future()), cancel)
        return result

    def compute(self, work: Callable[[], Tensor]) -> Tensor:
        """Runs work in the owner's thread and returns a copy of the tensor that it gives, on the CPU.

        Nothing else waits for it on the device. Raises as ``run`` does.
        """
        result: Tensor = self._run_task(_Task(work, Future(), copies_result=True))
        return result

    def _run_task(self, task: _Task, cancel: CancelToken | None = None) -> Any:
        self._submit(task)
        cancel = cancel or CancelToken()
        unregister = cancel.on_cancel(task.future.cancel)
        try:
            return task.future.result()
        except CancelledError:
            cancel.raise_if_cancelled()
            raise
        finally:
            unregister()

    def speak(
        self, requests: Sequence[ChunkRequest | TokensRequest], cancel: CancelToken
    ) -> Generator[RenderedAudio]:
        """Decodes and renders chunks; yields them or their pieces in order, each as soon as it is there.

        A ``TokensRequest`` has only to be rendered.
        All are on their way once the first is asked for. Closing the iterator ends the work. Raises
        Cancelled, OutOfMemory, DeviceSuspect, DeviceLost.
        """
        own = CancelToken()
        unregister = cancel.on_cancel(lambda: own.cancel(cancel.reason or Cancelled("cancelled")))
        job = _Job(own)
        for index, request in enumerate(requests):
            chunk = _Chunk.of(job, index, request)
            if chunk.tokens is None:
                job.waiting.append(chunk)
            else:
                job.decoded[index] = chunk
        try:
            own.raise_if_cancelled()
            self._submit(job)
            missing = len(requests)
            while missing:
                result = job.results.get()
                own.raise_if_cancelled()  # audio that is there already is of no use to who cancelled
                if isinstance(result, Exception):
                    raise result
                yield result
                missing -= result.ends_chunk
        finally:
            unregister()
            own.cancel(Cancelled("nobody waits for the audio"))

    @property
    def usage(self) -> DeviceUsage:
        """How much of the batches and of a GPU's memory is in use now.

        Memory is what PyTorch's allocator holds: CUDA must not be asked while a graph is captured.
        """
        batches = self._batches.values()
        rows_in_use, rows = sum(batch.used_rows for batch in batches), sum(batch.rows for batch in batches)
        if self._device.type != "cuda":
            return DeviceUsage(rows_in_use, rows)
        return DeviceUsage(
            rows_in_use,
            rows,
            torch.cuda.memory_reserved(self._device),
            torch.cuda.get_device_properties(self._device).total_memory,
        )

    def close(self) -> None:
        """Ends the thread, and every job that is on its way. For tests and tools: a worker's never ends."""
        with self._work_came:
            self._is_closing = True
            self._work_came.notify()
        self._thread.join()

    def _submit(self, item: _Job | _Task) -> None:
        with self._work_came:
            if self._failure is not None:
                raise _lost(self._failure)
            self._arrivals.append(item)
            self._work_came.notify()

    # What follows runs in the owner's thread.

    def _run(self, started: Future[None]) -> None:
        try:
            self._enter_device()
            self._batches = {name: model.make_batch() for name, model in self._models.items()}
            for batch in self._batches.values():
                batch.capture()
            with self._on_render_stream():
                for model in self._models.values():
                    model.get_renderer_ready()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        while self._failure is None:
            tasks = self._take_arrivals()
            if self._is_closing:
                self._end_all(RuntimeError("the runtime was closed"), tasks)
                return
            try:
                self._run_tasks(tasks)
                self._drop_cancelled()
                self._admit(MAX_PREFILLS - self._read_attention())
                self._decode()
                self._render()
                self._deliver()
            except Exception as error:  # a bug, or a device on which nothing works any more
                log.exception("the device's owner has failed")
                self._end_all(error)

    def _enter_device(self) -> None:
        self._render_stream: torch.cuda.Stream | None = None
        if self._device.type == "cpu":
            torch.set_num_threads(self._cpu_threads)  # of this thread, whatever others have
        if self._device.type == "cuda":
            if self._device.index is None:
                self._device = torch.device("cuda", torch.cuda.current_device())
            torch.cuda.set_device(self._device)
            torch.cuda.synchronize()  # weights were copied on the loading thread's stream
            torch.cuda.set_stream(torch.cuda.Stream(self._device, priority=-1))  # type: ignore[no-untyped-call]
            self._render_stream = torch.cuda.Stream(self._device, priority=0)  # type: ignore[no-untyped-call]

    def _on_render_stream(self) -> AbstractContextManager[Any]:
        """The low-priority stream, after what T3's stream has done so far."""
        if self._render_stream is None:
            return nullcontext()
        self._render_stream.wait_stream(torch.cuda.current_stream())
        return torch.cuda.stream(self._render_stream)

    def _take_arrivals(self) -> list[_Task]:
        """Waits until there is something to do. Returns new tasks; new jobs join the others."""
        with self._work_came:
            while not (self._arrivals or self._jobs or self._is_waiting() or self._is_closing):
                self._work_came.wait()
            arrivals = list(self._arrivals)
            self._arrivals.clear()
        self._jobs += [arrival for arrival in arrivals if isinstance(arrival, _Job)]
        return [arrival for arrival in arrivals if isinstance(arrival, _Task)]

    def _run_tasks(self, tasks: Sequence[_Task]) -> None:
        for task in tasks:
            if not task.future.set_running_or_notify_cancel():
                continue
            try:
                with self._on_render_stream():
                    result = task.work()
                    if task.copies_result:
                        self._computing.append((task, _HostCopy.of(result)))
                        continue
                    if self._render_stream is not None:
                        self._render_stream.synchronize()
            except Exception as error:
                _free_frames(error)
                task.future.set_exception(_translated(error))
            else:
                task.future.set_result(result)

    def _drop_cancelled(self) -> None:
        for job in self._jobs:
            if job.cancel.reason is not None:
                job.end(job.cancel.reason)
        self._drop_ended_jobs()

    def _drop_ended_jobs(self) -> None:
        self._remove([sequence for sequence, chunk in self._in_batch.items() if chunk.job.is_over])
        self._readings = [each for each in self._readings if not each.chunk.job.is_over]
        self._jobs = [job for job in self._jobs if not job.is_over]

    def _remove(self, sequences: Sequence[Any]) -> None:
        """Takes sequences out of their batches."""
        for name, batch in self._batches.items():
            gone = [each for each in sequences if self._in_batch[each].request.model == name]
            if gone:
                batch.remove(gone)
        for sequence in sequences:
            del self._in_batch[sequence]

    def _read_attention(self) -> int:
        """Reads a few decoded takes again for their attention to the text, which stops those that decode.

        Returns how many were read.
        """
        unread = [each for each in self._readings if each.needs_attention and each.attention is None]
        unread = unread[:MAX_PREFILLS]
        for each in unread:
            if each not in self._readings:  # its job began again, or ended
                continue
            request, tokens = each.chunk.request, each.decoded.tokens
            assert isinstance(request, ChunkRequest)
            try:
                spoken = torch.nonzero(tokens < CODEBOOK_SIZE)[:, 0]  # waits for the device: before the pass
                batch = self._batches[request.model]
                attention = batch.attention_to_text(each.chunk.decode_request(), tokens, request.heads)
                each.attention = _HostCopy.of(attention.index_select(1, spoken))
            except Exception as error:
                self._readings.remove(each)
                self._fail_chunks([each.chunk], error)
        self._check_readings()
        return len(unread)

    def _check_readings(self) -> None:
        """Checks the takes of which all is there that the check looks at."""
        try:
            checkable = [each for each in self._readings if each.is_checkable]
        except Exception as error:  # CUDA tells of a fault when it is asked about an event
            self._fail_readings(error)
            return
        for each in checkable:
            if each not in self._readings:  # the check of another failed: its job began again, or ended
                continue
            self._readings.remove(each)
            attention = None if each.attention is None else each.attention.tensor.numpy()
            self._check(each.chunk, each.decoded, attention)

    def _fail_readings(self, error: Exception) -> None:
        lost = [each.chunk for each in self._readings]
        self._readings.clear()
        self._fail_chunks(lost, error)

    def _check(self, chunk: _Chunk, decoded: Decoded, attention: NDArray[np.float32] | None) -> None:
        """Decides whether a take is rendered or the chunk decoded again."""
        try:
            is_enough = chunk.add_take(decoded, attention)
        except Exception as error:
            self._fail_chunks([chunk], error)
            return
        if is_enough:
            chunk.job.decoded[chunk.index] = chunk
            return
        failure = describe(chunk.takes[-1].faults)
        chunk.job.log(
            logging.INFO,
            "%s: chunk %d %s: decoded again with the next seed",
            chunk.request.model,
            chunk.index + 1,
            failure,
        )
        chunk.job.waiting.appendleft(chunk)

    def _admit(self, count: int) -> None:
        """Lets a few chunks into the batches if there is room: reading a prompt stops those that decode."""
        for _ in range(count):
            if (job := self._next_job()) is None:
                return
            chunk = job.waiting.popleft()
            try:
                sequence = self._batches[chunk.request.model].add(chunk.decode_request())
            except Exception as error:  # the others go on
                self._fail_chunks([chunk], error)
                continue
            self._in_batch[sequence] = chunk
            job.in_batch += 1
            # Of those with as many chunks in the batch, whoever waited longest is next.
            self._jobs.remove(job)
            self._jobs.append(job)

    def _next_job(self) -> _Job | None:
        """The job whose chunk is admitted next; None when none waits or there is no room."""
        waiting = [
            job for job in self._jobs if job.waiting and not (job.one_by_one and self._is_working_on(job))
        ]
        full: set[str] = set()  # whoever waits for a batch does not let others pass
        for job in sorted(waiting, key=lambda job: job.in_batch):
            request = job.waiting[0].request
            assert isinstance(request, ChunkRequest)
            if request.model in full:
                continue
            in_it = [chunk for chunk in self._in_batch.values() if chunk.request.model == request.model]
            others = len({chunk.job for chunk in in_it})
            spare_rows = ROWS_WITH_CFG * max(self._max_jobs - others, 0) if job.in_batch else 0
            if self._batches[request.model].has_room_for(request.decode, spare_rows):
                return job
            full.add(request.model)
        return None

    def _decode(self) -> None:
        """Decodes a few tokens of everything in the batches."""
        for name, batch in self._batches.items():
            if batch.sequences:
                self._decode_batch(name, batch)

    def _decode_batch(self, name: str, batch: Batch) -> None:
        try:
            finished = batch.step_many()
        except Exception as error:
            batch.remove(tuple(batch.sequences))  # raises where the device does nothing any more
            lost = [each for each, chunk in self._in_batch.items() if chunk.request.model == name]
            self._fail_chunks([self._in_batch.pop(sequence) for sequence in lost], error)
            return
        for sequence, decoded in finished.items():
            chunk = self._in_batch.pop(sequence)
            chunk.job.in_batch -= 1
            self._readings.append(_Reading(chunk, decoded))
        self._check_readings()

    def _render(self) -> None:
        """Renders of each job what is next and has its tokens: a chunk, a piece of one, or a few chunks."""
        decoding = {(chunk.job, chunk.index): sequence for sequence, chunk in self._in_batch.items()}
        pieces = []
        for job in self._jobs:
            chunk, sequence = job.decoded.get(job.next_to_render), decoding.get((job, job.next_to_render))
            if chunk is not None and isinstance(chunk.request, TokensRequest):
                pieces += self._next_recorded(job)
            elif chunk is not None:
                pieces.append(_next_piece(chunk))
            elif sequence is not None and (piece := self._early_piece(sequence)) is not None:
                pieces.append(piece)
        pieces = [piece for piece in pieces if self._has_its_turn(piece) and self._goes_on(piece)]
        if not pieces:
            return
        for piece in pieces:
            piece.chunk.pieces += 1
            piece.chunk.waits_for = None
            if piece.ends_chunk:
                del piece.chunk.job.decoded[piece.chunk.index]
                piece.chunk.job.next_to_render += 1
        of_call: dict[tuple[Renderer, _Job | None], list[_Piece]] = {}
        for piece in pieces:
            # After a lack of memory in calls of its own, or it would fail others with it again.
            alone = piece.chunk.job if piece.chunk.job.one_by_one else None
            renderer = self._models[piece.chunk.request.model].renderer
            of_call.setdefault((renderer, alone), []).append(piece)
        for (renderer, _), together in of_call.items():
            self._render_together(renderer, together)

    def _render_together(self, renderer: Renderer, pieces: Sequence[_Piece]) -> None:
        """Renders pieces of models that share a renderer."""
        started_s = time.perf_counter()
        try:
            with self._on_render_stream():
                self._start_rendering(renderer, pieces, started_s)
        except Exception as error:
            for piece in pieces:
                piece.chunk.pieces -= 1
            self._rendering = [each for each in self._rendering if each.piece not in pieces]
            self._fail_chunks([piece.chunk for piece in pieces], error)

    def _next_recorded(self, job: _Job) -> list[_Piece]:
        """The next chunks of a job whose tokens all came with it; none while earlier ones are rendered.

        So no other job waits for more than these, and a cancelled job ends after them.
        """
        if self._is_rendering(job):
            return []
        at_once = 1 if job.one_by_one else self._recorded_at_once
        indices = range(job.next_to_render, job.next_to_render + at_once)
        return [_next_piece(job.decoded[index]) for index in indices if index in job.decoded]

    def _has_its_turn(self, piece: _Piece) -> bool:
        """Whether a piece that is ready is rendered now.

        Later pieces of a stream wait: their audio is not played for a while, and the first piece of another
        stream comes before them. They wait for what was under way when they were ready, and for nothing that
        came after it, which may never end.
        """
        chunk = piece.chunk
        if not (chunk.pieces and self._rendering):
            return True
        if chunk.waits_for is None:
            chunk.waits_for = self._rendering[-1]
        return chunk.waits_for not in self._rendering  # they end in order

    def _goes_on(self, piece: _Piece) -> bool:
        """Whether a piece has the tokens of the one before it. If not, its job ends.

        A chunk whose decoding began again after a lack of memory may be read differently, since other rows
        round differently on a GPU.
        """
        before = piece.chunk.rendered_tokens
        if before is None or not piece.chunk.job.one_by_one:
            return True
        if torch.equal(piece.tokens[: len(before)], before):
            return True
        piece.chunk.job.end(OutOfMemory("the GPU's memory ran out", hint="send the job again"))
        return False

    def _early_piece(self, sequence: Any) -> _Piece | None:
        """The next piece of a chunk that is still being decoded; None while it has too few tokens."""
        chunk = self._in_batch[sequence]
        if not chunk.request.in_pieces:
            return None
        # One token more, or the piece may be the last.
        batch = self._batches[chunk.request.model]
        tokens = batch.speech_so_far(sequence, chunk.piece_end + 1)
        return None if tokens is None else _Piece(chunk, tokens[: chunk.piece_end], ends_chunk=False)

    def _start_rendering(self, renderer: Renderer, pieces: Sequence[_Piece], started_s: float) -> None:
        # The model may have stopped at once: silence of one token.
        silent = [piece for piece in pieces if len(piece.tokens) < MIN_TOKENS]
        audible = [piece for piece in pieces if len(piece.tokens) >= MIN_TOKENS]
        silence = torch.zeros(MODEL_SAMPLE_RATE_HZ // SPEECH_TOKENS_PER_S)
        requests = [self._render_request(piece) for piece in audible]
        samples = renderer.render(requests) if requests else []
        renderings = [
            _Rendering(piece, _HostCopy.of(each), started_s)
            for piece, each in zip([*silent, *audible], [silence] * len(silent) + samples, strict=True)
        ]
        # Nothing fails from here on, so that a piece is either on its way or still to be rendered.
        self._rendering += renderings
        for piece, request in zip(audible, requests, strict=True):
            if isinstance(request, PieceRequest):
                piece.chunk.stream, piece.chunk.rendered_tokens = request.stream, piece.tokens

    def _render_request(self, piece: _Piece) -> RenderRequest | PieceRequest:
        chunk, voice = piece.chunk, self._voice_on_device(piece.chunk.request.voice)
        if isinstance(chunk.request, TokensRequest):
            generator = torch.Generator(self._device).manual_seed(chunk.seed)
            return RenderRequest(piece.tokens, voice, generator)
        if not chunk.request.in_pieces:
            assert chunk.used is not None
            return RenderRequest(piece.tokens, voice, chunk.used.decoded.generator)
        # A copy, which replaces it when the piece is rendered: what fails half-way is rendered again.
        stream = copy(chunk.stream) or ChunkStream(chunk.seed, self._device)
        return PieceRequest(piece.tokens, voice, stream, piece.ends_chunk)

    def _voice_on_device(self, voice: Conditionals) -> Conditionals:
        """The voice on the device. A copy is kept as long as the voice itself is."""
        if voice.prompt_mel.device == self._device:
            return voice
        copy = self._voices.get(voice)
        if copy is None:
            copy = self._voices[voice] = voice.to(self._device)
        return copy

    def _deliver(self) -> None:
        """Hands results to the waiting threads; waits for them when there is nothing else to do."""
        try:
            while not self._hand_over() and self._is_waiting() and not self._has_work():
                with self._work_came:
                    if self._arrivals or self._work_came.wait(EVENT_POLL_S):
                        break
        except Exception as error:  # CUDA tells of a fault when it is asked about an event
            _free_frames(error)
            for task, _ in self._computing:
                task.future.set_exception(_translated(error))
            lost = [rendering.piece.chunk for rendering in self._rendering]
            for chunk in lost:
                if chunk.request.in_pieces:  # the stream has gone on without its audio
                    chunk.job.end(_translated(error))
            self._computing.clear()
            self._rendering.clear()
            self._fail_chunks(lost, error)
            self._fail_readings(error)

    def _hand_over(self) -> bool:
        """Hands over what is done, and returns whether there was something.

        Of renderings only those before the first that is not: a stream finishes in order, and so does a job.
        """
        renderings = list(takewhile(lambda each: each.samples.is_ready(), self._rendering))
        computed = [each for each in self._computing if each[1].is_ready()]
        for rendering in renderings:
            self._rendering.remove(rendering)
            self._put_result(rendering)
        for each in computed:
            self._computing.remove(each)
            task, result = each
            task.future.set_result(result.tensor)
        return bool(renderings or computed)

    def _is_waiting(self) -> bool:
        return bool(self._rendering or self._computing or self._readings)

    def _has_work(self) -> bool:
        return (
            bool(self._in_batch)
            or any(job.next_to_render in job.decoded for job in self._jobs)
            or any(each.attention is None or each.is_checkable for each in self._readings)
        )

    def _put_result(self, rendering: _Rendering) -> None:
        chunk = rendering.piece.chunk
        job = chunk.job
        if job.is_over:
            return
        took_s = time.perf_counter() - rendering.started_s
        samples = rendering.samples.tensor.numpy()
        if rendering.piece.ends_chunk:
            takes = tuple(RenderedTake(take.seed, take.faults, take is chunk.used) for take in chunk.takes)
            attention = None if chunk.used is None else chunk.used.attention
            job.results.put(RenderedAudio(samples, takes, took_s, attention=attention))
        else:
            job.results.put(RenderedAudio(samples, (), took_s, ends_chunk=False))
        if not (job.waiting or job.decoded or self._is_working_on(job)):
            job.is_over = True
            self._jobs.remove(job)

    def _is_working_on(self, job: _Job) -> bool:
        is_decoding = bool(job.in_batch) or self._is_checking(job)
        return is_decoding or job.next_to_render in job.decoded or self._is_rendering(job)

    def _is_checking(self, job: _Job) -> bool:
        return any(each.chunk.job is job for each in self._readings)

    def _is_rendering(self, job: _Job) -> bool:
        return any(rendering.piece.chunk.job is job for rendering in self._rendering)

    def _fail_chunks(self, chunks: Sequence[_Chunk], error: Exception) -> None:
        """Ends the jobs of chunks that failed; after a lack of memory, tries again chunk by chunk."""
        _free_frames(error)
        is_memory = gpu_fault(error) is GpuFault.MEMORY
        for job in {chunk.job: None for chunk in chunks}:
            if job.is_over:
                continue
            if is_memory and not job.one_by_one:
                model = next(chunk.request.model for chunk in chunks if chunk.job is job)
                message = "%s: the GPU's memory ran out: once more, one chunk after the other"
                job.log(logging.WARNING, message, model)
                self._restart_one_by_one(job, [chunk for chunk in chunks if chunk.job is job])
            else:
                job.end(_translated(error))
        self._drop_ended_jobs()

    def _restart_one_by_one(self, job: _Job, chunks: Sequence[_Chunk]) -> None:
        """Puts the job's unfinished chunks back in front, to be done one after the other."""
        mine = {chunk.index: chunk for chunk in chunks}
        for sequence, chunk in list(self._in_batch.items()):
            if chunk.job is job:
                self._remove([sequence])
                mine[chunk.index] = chunk
        mine |= {each.chunk.index: each.chunk for each in self._readings if each.chunk.job is job}
        self._readings = [each for each in self._readings if each.chunk.job is not job]
        mine |= job.decoded
        job.decoded = {index: chunk for index, chunk in mine.items() if chunk.keeps_tokens}
        next_to_render = min(job.next_to_render, *mine)
        for index in job.decoded:
            del mine[index]
        job.in_batch, job.one_by_one = 0, True
        for chunk in mine.values():
            chunk.begin_again()
        job.waiting.extendleft(mine[index] for index in sorted(mine, reverse=True))
        job.next_to_render = next_to_render
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _end_all(self, failure: Exception, tasks: Sequence[_Task] = ()) -> None:
        """Fails everybody who waits or will come. tasks: those that were taken and not run."""
        with self._work_came:
            self._failure = failure
            arrivals = list(self._arrivals)
            self._arrivals.clear()
        for task, _ in self._computing:
            task.future.set_exception(_lost(failure))
        for item in [*tasks, *arrivals, *self._jobs]:
            if isinstance(item, _Job):
                item.end(_lost(failure))
            elif item.future.set_running_or_notify_cancel():
                item.future.set_exception(_lost(failure))


def _next_piece(chunk: _Chunk) -> _Piece:
    """What is rendered next of a chunk that is decoded."""
    assert chunk.tokens is not None
    if not chunk.request.in_pieces or len(chunk.tokens) <= chunk.piece_end:
        return _Piece(chunk, chunk.tokens, ends_chunk=True)
    return _Piece(chunk, chunk.tokens[: chunk.piece_end], ends_chunk=False)


def _translated(error: Exception) -> Exception:
    """The worker's error for a fault of the GPU; any other exception as it is."""
    translated: Exception
    match gpu_fault(error):
        case GpuFault.MEMORY:
            translated = OutOfMemory("the GPU's memory ran out", hint="send the job again, or a shorter text")
        case GpuFault.STICKY:
            translated = DeviceLost(
                "the GPU failed, and the worker is being replaced", hint="send the job again"
            )
        case GpuFault.SUSPECT if _cuda_has_failed():
            translated = DeviceLost(
                "the GPU failed, and the worker is being replaced", hint="send the job again"
            )
        case GpuFault.SUSPECT:
            translated = DeviceSuspect("the GPU failed", hint="send the job again")
        case _:
            return error
    translated.__cause__ = error
    return translated


def _cuda_has_failed() -> bool:
    """Whether CUDA answers every call with an error. A library may have named it by an error of its own."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except Exception as error:
        return gpu_fault(error) is GpuFault.STICKY
    return False


def _lost(failure: Exception) -> DeviceLost:
    """The error for one of several threads: an exception object must not be raised in two."""
    error = DeviceLost("the device failed, and the worker is being replaced", hint="send the job again")
    error.__cause__ = failure
    return error


def _free_frames(error: BaseException) -> None:
    """Clears the variables of the frames that an exception keeps alive, and with them tensors on the device.

    Otherwise memory that ran out would still be held when it is tried again, and as long as the exception
    lives.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
