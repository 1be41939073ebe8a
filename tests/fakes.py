"""Stand-ins for the model, and a worker's services built around one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.fetch import Fetcher
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from delivery import SPILL_FOLDER, Deliverer, Spill
from operations.base import Services
from serving.worker import Worker
from settings import Settings
from speech.contract import (
    PATIENT,
    Listener,
    ModelInfo,
    Piece,
    Reference,
    Segment,
    Speech,
    SpeechParams,
    SpeechStopped,
)
from voice_store import VoiceStore
from voice_store.live import Timing

FAKE_REVISION = "fa4e" * 10
SECONDS_PER_CHARACTER = 0.06


@dataclass(frozen=True)
class Spoken:
    """One call of ``speak``."""

    text: str
    reference: Reference | None
    params: SpeechParams


@dataclass
class FakeSpeaker:
    """Noise, wholly determined by text, reference and parameters: a ``Speaker`` without a model.

    warnings: what each speech comes back with. failure: raised by each ``speak`` while set.
    gate: when given, each ``speak`` announces itself in ``entered`` and waits for the gate.
    is_stuck: waits even when nobody listens any more. check_failure: raised by ``check`` while set.
    """

    info: ModelInfo = field(default_factory=lambda: ModelInfo("chatterbox", FAKE_REVISION))
    warnings: tuple[str, ...] = ()
    failure: Exception | None = None
    gate: threading.Event | None = None
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_stuck: bool = False
    check_failure: Exception | None = None
    checks: int = 0
    calls: list[Spoken] = field(default_factory=list)
    speaking: int = 0
    most_at_once: int = 0

    def prepare_for_new_voices(self) -> None:
        """There is nothing to prepare."""

    def check(self) -> None:
        self.checks += 1
        if self.check_failure is not None:
            raise self.check_failure

    def speak(
        self, text: str, reference: Reference | None, params: SpeechParams, listener: Listener = PATIENT
    ) -> Speech:
        self.calls.append(Spoken(text, reference, params))
        self.speaking += 1
        self.most_at_once = max(self.most_at_once, self.speaking)
        try:
            if self.gate is not None:
                self.entered.release()
                self._wait_for(self.gate, listener)
            if self.failure is not None:
                raise self.failure
            return self._speech(text, reference, params, listener)
        finally:
            self.speaking -= 1

    def _wait_for(self, gate: threading.Event, listener: Listener) -> None:
        for _ in range(6_000):
            if gate.wait(timeout=0.01):
                return
            if listener.is_gone() and not self.is_stuck:
                raise SpeechStopped
        raise AssertionError("nobody opened the gate")

    def _speech(
        self, text: str, reference: Reference | None, params: SpeechParams, listener: Listener
    ) -> Speech:
        samples: list[NDArray[np.float32]] = []
        segments: list[Segment] = []
        sentences = [part.strip() for part in text.replace("!", ".").split(".") if part.strip()]
        for index, sentence in enumerate(sentences):
            if listener.is_gone():
                raise SpeechStopped
            key = repr((sentence, reference.digest if reference else None, astuple(params)))
            rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()))
            start = sum(len(part) for part in samples)
            count = max(1, round(len(sentence) * SECONDS_PER_CHARACTER * MODEL_SAMPLE_RATE_HZ))
            samples.append((0.1 * rng.standard_normal(count)).clip(-1, 1).astype(np.float32))
            piece = Waveform(samples[-1], MODEL_SAMPLE_RATE_HZ)
            listener.hear(Piece(index, len(sentences), sentence, piece))
            segments.append(
                Segment(sentence, start / MODEL_SAMPLE_RATE_HZ, (start + count) / MODEL_SAMPLE_RATE_HZ)
            )
        return Speech(
            waveform=Waveform(np.concatenate(samples), MODEL_SAMPLE_RATE_HZ),
            segments=tuple(segments),
            parameters={
                "exaggeration": params.exaggeration,
                "cfg_weight": params.cfg_weight,
                "temperature": params.temperature,
                "top_p": 1.0 if params.top_p is None else params.top_p,
                "min_p": 0.05 if params.min_p is None else params.min_p,
                "repetition_penalty": 1.2 if params.repetition_penalty is None else params.repetition_penalty,
                "top_k": None,
            },
            warnings=self.warnings,
            stage_times_s={"t3": 0.25, "s3gen": 0.125},
        )


def build_services(root: Path, speaker: FakeSpeaker | None = None, *, max_text_chars: int = 5000) -> Services:
    """Real store, which waits for no other worker, and delivery under ``root``, a fake speaker."""
    return Services(
        speaker=speaker or FakeSpeaker(),
        voices=VoiceStore(root / "voice_embeddings", Timing(settle_s=0)),
        delivery=Deliverer(Spill(root / SPILL_FOLDER)),
        max_text_chars=max_text_chars,
        fetch=Fetcher().fetch,
    )


def build_worker(
    services: Services, env: Mapping[str, str] | None = None, *, stop_grace_s: float = 30.0
) -> Worker:
    """On no platform unless the environment says so."""
    return Worker(Settings.from_env(env or {}), lambda: services, stop_grace_s=stop_grace_s)
