"""One running batch for every thread that has something to decode."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from speech.t3.batch import ROWS_OF_A_GUIDED_REQUEST, Member, RunningBatch
from speech.t3.request import Decoded, DecodeRequest, DecodingStopped, never


@dataclass(eq=False)
class _Call:
    """What one thread waits for. inside: how many of its requests are in the batch."""

    waiting: deque[tuple[DecodeRequest, Future[Decoded]]]
    is_stopped: Callable[[], bool]
    inside: int = 0

    def end(self, error: Exception) -> None:
        """Nothing more of it is let in."""
        for _, future in self.waiting:
            future.set_exception(error)
        self.waiting.clear()


Inside = dict[Member, tuple[_Call, Future[Decoded]]]


class BatchDecoder:
    """Requests of all threads decode together.

    Threads take turns at what room there is, and who has no request in the batch comes first. ``threads``
    may call at once: a thread gets room for a second request only when the others would still find some
    for their first, so that a short text never waits for a long one.

    The batch runs in a thread of its own, which starts with the first request and ends with the process.
    """

    def __init__(self, batch: RunningBatch, threads: int = 1) -> None:
        self._batch = batch
        self._threads = threads
        self._calls: list[_Call] = []
        self._work_came = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None  # after which nothing can be decoded

    def decode(
        self, requests: Sequence[DecodeRequest], is_stopped: Callable[[], bool] = never
    ) -> Iterator[Decoded]:
        """All are on their way when it returns. Raises what the batch raised, for all that were in it."""
        futures = [Future[Decoded]() for _ in requests]
        with self._work_came:
            if self._failure is not None:
                raise self._failure
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
                self._thread.start()
            self._calls.append(_Call(deque(zip(requests, futures, strict=True)), is_stopped))
            self._work_came.notify()
        return (future.result() for future in futures)

    def _run(self) -> None:
        inside: Inside = {}
        while True:
            try:
                self._drop_stopped(inside)
                self._admit(inside)
                for member, decoded in self._batch.advance().items():
                    call, future = inside.pop(member)
                    call.inside -= 1
                    future.set_result(decoded)
            except Exception as error:  # whoever waits must hear of it
                for call, future in inside.values():
                    call.inside -= 1
                    future.set_exception(error)
                inside.clear()
                try:
                    self._batch.leave(tuple(self._batch.members))
                except Exception as failure:  # a GPU that does nothing any more
                    self._end(failure)
                    return

    def _end(self, failure: Exception) -> None:
        with self._work_came:
            self._failure = failure
            for call in self._calls:
                call.end(failure)

    def _drop_stopped(self, inside: Inside) -> None:
        with self._work_came:
            stopped = {call for call in self._calls if call.is_stopped()}
            for call in stopped:
                call.end(DecodingStopped())
        gone = [member for member, (call, _) in inside.items() if call in stopped]
        self._batch.leave(gone)
        for member in gone:
            call, future = inside.pop(member)
            call.inside -= 1
            future.set_exception(DecodingStopped())

    def _admit(self, inside: Inside) -> None:
        """Lets in what there is room for; with nothing to do, waits."""
        while True:
            with self._work_came:
                call = self._next_call()
                while call is None and not inside:
                    self._work_came.wait()
                    call = self._next_call()
                if call is None:
                    return
                request, future = call.waiting.popleft()
            try:
                inside[self._batch.join(request)] = call, future
                call.inside += 1
            except Exception as error:  # the others go on
                future.set_exception(error)

    def _next_call(self) -> _Call | None:
        """Whose request to let in next; None when there is none, or no room."""
        self._calls = [call for call in self._calls if call.waiting or call.inside]
        waiting = [call for call in self._calls if call.waiting]
        if not waiting:
            return None
        call = min(waiting, key=lambda call: call.inside)  # of equals, who came first
        to_come = self._threads - sum(other.inside > 0 for other in self._calls) if call.inside else 0
        spare_rows = ROWS_OF_A_GUIDED_REQUEST * max(to_come, 0)
        return call if self._batch.has_room_for(call.waiting[0][0], spare_rows) else None
