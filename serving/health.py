"""Whether this process may go on serving."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import logs
from audio.waveform import Waveform
from cancel import CancelToken
from errors import DeviceLost, DeviceSuspect, Internal, OutOfMemory
from speech.contract import AudioChunk, Conditionals, DeviceUsage, Hop, ModelInfo, Synthesizer, Utterance

OUT_OF_MEMORY_IN_A_ROW = 2

log = logging.getLogger(__name__)


class WorkerHealth:
    """Healthy until it is marked unhealthy, which is for good. Thread-safe.

    A process whose GPU is lost, or in which a thread hangs, must not take another job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._callbacks: list[Callable[[], object]] = []
        self._memory_faults: list[BaseException | None] = []  # what caused those in a row, each once

    @property
    def is_unhealthy(self) -> bool:
        """Whether ``mark_unhealthy`` was called."""
        return self._reason is not None

    def raise_if_unhealthy(self) -> None:
        """Raises Internal for a job that must not run here any more."""
        if self.is_unhealthy:
            raise Internal("the worker is being replaced", hint="send the job again")

    def mark_unhealthy(self, reason: str) -> None:
        """Ends the worker's service and calls the registered callbacks. The first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks = list(self._callbacks)
        log.error("this worker serves no more: %s", reason)
        for callback in callbacks:
            callback()

    def note_out_of_memory(self, error: OutOfMemory) -> bool:
        """Counts a lack of memory. Returns whether it was one too many in a row: the worker is unhealthy."""
        with self._lock:
            # One lack of memory can end several jobs.
            if error.__cause__ is None or all(error.__cause__ is not fault for fault in self._memory_faults):
                self._memory_faults.append(error.__cause__)
            is_last = len(self._memory_faults) >= OUT_OF_MEMORY_IN_A_ROW
        if is_last:
            self.mark_unhealthy("the GPU's memory ran out twice in a row")
        return is_last

    def note_speech(self) -> None:
        """Ends the row of lacks of memory."""
        with self._lock:
            self._memory_faults.clear()

    def on_unhealthy(self, callback: Callable[[], object]) -> None:
        """Calls the callback once the worker is unhealthy, at once if it is so already. It must not block."""
        with self._lock:
            if self._reason is None:
                self._callbacks.append(callback)
                return
        callback()


class HealthCheckedEngine:
    """A ``Synthesizer`` whose failures mark the worker unhealthy, whoever catches them.

    The worker is unhealthy when the GPU is lost to the process, when the GPU's memory runs out in two jobs in
    a row, and when the model does not speak any more after another fault of the GPU. Log lines of a job
    that uses the model name it.
    """

    def __init__(self, synthesizer: Synthesizer, health: WorkerHealth) -> None:
        self._synthesizer, self._health = synthesizer, health

    @property
    def _name(self) -> str:
        return self.info.spec.name

    @property
    def info(self) -> ModelInfo:
        return self._synthesizer.info

    @property
    def conditionals_key(self) -> str:
        return self._synthesizer.conditionals_key

    @property
    def usage(self) -> DeviceUsage:
        return self._synthesizer.usage

    def check(self) -> None:
        self._synthesizer.check()

    def builtin_voice(self) -> Conditionals:
        return self._synthesizer.builtin_voice()

    def read_conditionals(self, content: bytes, digest: str) -> Conditionals | None:
        return self._synthesizer.read_conditionals(content, digest)

    def encode_reference(self, waveform: Waveform, cancel: CancelToken) -> Conditionals:
        logs.note_model(self._name)
        try:
            return self._synthesizer.encode_reference(waveform, cancel)
        except (DeviceLost, DeviceSuspect, OutOfMemory) as error:
            self._note_fault(error)
            raise

    def synthesize(
        self, utterances: Sequence[Utterance], cancel: CancelToken, *, hop: Hop = "whole"
    ) -> Iterator[AudioChunk]:
        logs.note_model(self._name)
        try:
            yield from self._synthesizer.synthesize(utterances, cancel, hop=hop)
        except (DeviceLost, DeviceSuspect, OutOfMemory) as error:
            self._note_fault(error)
            raise
        self._health.note_speech()

    def convert(
        self, recording: Waveform, voice: Conditionals, seed: int, cancel: CancelToken
    ) -> Iterator[AudioChunk]:
        logs.note_model(self._name)
        try:
            yield from self._synthesizer.convert(recording, voice, seed, cancel)
        except (DeviceLost, DeviceSuspect, OutOfMemory) as error:
            self._note_fault(error)
            raise
        self._health.note_speech()

    def detect_watermark(self, recording: Waveform, cancel: CancelToken) -> float:
        try:
            return self._synthesizer.detect_watermark(recording, cancel)
        except (DeviceLost, DeviceSuspect, OutOfMemory) as error:
            self._note_fault(error)
            raise

    def watermark(self, chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
        source = _Source(chunks)
        try:
            yield from self._synthesizer.watermark(source)
        except (DeviceLost, DeviceSuspect, OutOfMemory) as error:
            if error is not source.error:  # ``synthesize`` or ``convert`` has noted that one
                self._note_fault(error)
            raise

    def _note_fault(self, error: Exception) -> None:
        if isinstance(error, DeviceLost):
            self._health.mark_unhealthy("the GPU is lost to this process")
            return
        if isinstance(error, OutOfMemory) and self._health.note_out_of_memory(error):
            return
        self._run_canary()

    def _run_canary(self) -> None:
        try:
            self._synthesizer.check()
        except OutOfMemory:
            # Other jobs hold the memory, or this one still does: that says nothing about the GPU.
            log.warning("no memory is left to check %s after a fault", self._name, exc_info=True)
        except Exception:
            log.exception("%s no longer speaks", self._name)
            self._health.mark_unhealthy(f"after a fault of the GPU {self._name} no longer speaks")


class _Source:
    """Chunks, and the error that they ended with."""

    def __init__(self, chunks: Iterable[AudioChunk]) -> None:
        self._chunks = chunks
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[AudioChunk]:
        try:
            yield from self._chunks
        except Exception as error:
            self.error = error
            raise
