"""One running batch for every thread that has something to decode."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from speech.t3.batch import Member, RunningBatch
from speech.t3.request import Decoded, DecodeRequest


class BatchDecoder:
    """Requests of all threads decode together, in the order in which they came as far as there is room.

    The batch runs in a thread of its own, which starts with the first request and ends with the process.
    """

    def __init__(self, batch: RunningBatch) -> None:
        self._batch = batch
        self._waiting: deque[tuple[DecodeRequest, Future[Decoded]]] = deque()
        self._work_came = threading.Condition()
        self._thread: threading.Thread | None = None

    def decode(self, requests: Sequence[DecodeRequest]) -> list[Decoded]:
        """Waits for all. Raises what the batch raised, for all that were in it."""
        futures = [Future[Decoded]() for _ in requests]
        with self._work_came:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
                self._thread.start()
            self._waiting.extend(zip(requests, futures, strict=True))
            self._work_came.notify()
        return [future.result() for future in futures]

    def _run(self) -> None:
        inside: dict[Member, Future[Decoded]] = {}
        while True:
            try:
                self._admit(inside)
                for member, decoded in self._batch.advance().items():
                    inside.pop(member).set_result(decoded)
            except Exception as error:  # whoever waits must hear of it
                self._batch.leave(tuple(inside))
                for future in inside.values():
                    future.set_exception(error)
                inside.clear()

    def _admit(self, inside: dict[Member, Future[Decoded]]) -> None:
        """Lets in what there is room for; with nothing to do, waits."""
        while True:
            with self._work_came:
                while not (inside or self._waiting):
                    self._work_came.wait()
                if not self._waiting or not self._batch.has_room_for(self._waiting[0][0]):
                    return
                request, future = self._waiting.popleft()
            try:
                inside[self._batch.join(request)] = future
            except Exception as error:  # the others go on
                future.set_exception(error)
