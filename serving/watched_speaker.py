"""A speaker whose failures decide whether the process goes on, whoever catches them."""

from __future__ import annotations

import logging
import threading

from errors import DeviceLost, DeviceSuspect, OutOfMemory
from serving.condition import Condition
from speech.contract import PATIENT, Listener, ModelInfo, Reference, Speaker, Speech, SpeechParams

OUT_OF_MEMORY_IN_A_ROW = 2

log = logging.getLogger(__name__)


class WatchedSpeaker:
    """speaker: what speaks. condition: condemned when the GPU is lost to the process, when its memory
    runs out in two jobs in a row, and when the model does not speak any more after another fault."""

    def __init__(self, speaker: Speaker, condition: Condition) -> None:
        self._speaker, self._condition = speaker, condition
        self._lock = threading.Lock()
        self._memory_faults = 0

    @property
    def info(self) -> ModelInfo:
        return self._speaker.info

    def prepare_for_new_voices(self) -> None:
        self._speaker.prepare_for_new_voices()

    def check(self) -> None:
        self._speaker.check()

    def speak(
        self, text: str, reference: Reference | None, params: SpeechParams, listener: Listener = PATIENT
    ) -> Speech:
        try:
            speech = self._speaker.speak(text, reference, params, listener)
        except DeviceLost:
            self._condition.condemn("the GPU is lost to this process")
            raise
        except (DeviceSuspect, OutOfMemory) as error:
            self._ask_the_canary(is_memory=isinstance(error, OutOfMemory))
            raise
        with self._lock:
            self._memory_faults = 0
        return speech

    def _ask_the_canary(self, *, is_memory: bool) -> None:
        with self._lock:
            self._memory_faults += is_memory
            if self._memory_faults >= OUT_OF_MEMORY_IN_A_ROW:
                self._condition.condemn("the GPU's memory ran out in two jobs in a row")
                return
        try:
            self._speaker.check()
        except Exception:
            log.exception("the model no longer speaks")
            self._condition.condemn("after a fault of the GPU the model no longer speaks")
