"""Stand-ins for the model, and a worker's services built around one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import numpy as np

from audio.fetch import Fetcher
from audio.pauses import cut_at_pauses
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from cancel import CancelToken
from delivery import SPILL_FOLDER, Delivery, Spill
from operations.base import Services
from operations.conditionals import VoiceConditionals
from serving.health import HealthCheckedEngine, WorkerHealth
from serving.job_worker import JobWorker
from serving.runpod.limits import queue_limits
from settings import Settings
from speech.contract import (
    AudioChunk,
    Conditionals,
    DeviceUsage,
    Hop,
    ModelInfo,
    Models,
    Synthesizer,
    Utterance,
)
from speech.models.spec import CHATTERBOX
from speech.text.spans import chunk_spans
from voice_store import VoiceStore
from voice_store.live import Timing

FAKE_REVISION = "fa4e" * 10
SECONDS_PER_CHARACTER = 0.06
PAUSE_S = 0.25
ROWS = 64  # of the batch that the fake pretends to have
WATERMARK = 2.0**-10  # the fake's watermark: this much is added to every sample


@dataclass(frozen=True)
class FakeConditionals:
    """Of one recording; None: of the built-in voice."""

    waveform_digest: str | None

    def to_bytes(self, digest: str) -> bytes:
        return f"fake {self.waveform_digest} {digest}".encode()


@dataclass
class FakeSynthesizer:
    """A ``Synthesizer`` without a model: noise, wholly determined by the utterances."""

    info: ModelInfo = field(default_factory=lambda: ModelInfo(CHATTERBOX, FAKE_REVISION))
    conditionals_key: str = "fake-1"
    warnings: tuple[str, ...] = ()  # of the first chunk of each request
    failure: Exception | None = None  # raised by each ``synthesize`` while set
    encode_failure: Exception | None = None  # raised by each ``encode_reference`` while set
    check_failure: Exception | None = None  # raised by ``check`` while set
    gate: threading.Event | None = (
        None  # each ``synthesize`` announces itself in ``entered`` and waits for it
    )
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    has_pieces: bool = False  # streams each chunk in three pieces
    is_stuck: bool = False  # waits even when the job was cancelled
    checks: int = 0  # calls of ``check``
    calls: list[Utterance] = field(default_factory=list)
    encoded: list[Waveform] = field(default_factory=list)  # the arguments of ``encode_reference``
    converted: list[tuple[Waveform, Conditionals, int]] = field(default_factory=list)
    confidence: float = 0.75  # what ``detect_watermark`` returns
    inspected: list[Waveform] = field(default_factory=list)  # the arguments of ``detect_watermark``
    speaking: int = 0  # requests that are being spoken
    most_at_once: int = 0

    @property
    def usage(self) -> DeviceUsage:
        return DeviceUsage(self.speaking, ROWS)

    def check(self) -> None:
        self.checks += 1
        if self.check_failure is not None:
            raise self.check_failure

    def builtin_voice(self) -> FakeConditionals:
        return FakeConditionals(None)

    def encode_reference(self, waveform: Waveform, cancel: CancelToken) -> FakeConditionals:
        self.encoded.append(waveform)
        cancel.raise_if_cancelled()
        if self.encode_failure is not None:
            raise self.encode_failure
        return FakeConditionals(waveform.digest())

    def read_conditionals(self, content: bytes, digest: str) -> FakeConditionals | None:
        kind, *digests = content.decode(errors="replace").split()
        return FakeConditionals(digest) if kind == "fake" and digests == [digest, digest] else None

    def synthesize(
        self, utterances: Sequence[Utterance], cancel: CancelToken, *, hop: Hop = "whole"
    ) -> Iterator[AudioChunk]:
        self.calls.extend(utterances)
        self.speaking += 1
        self.most_at_once = max(self.most_at_once, self.speaking)
        try:
            if self.gate is not None:
                self.entered.release()
                self._wait_for(self.gate, cancel)
            if self.failure is not None:
                raise self.failure
            for chunk in self._chunks(utterances, cancel):
                yield from _in_pieces(chunk) if hop == "stream" and self.has_pieces else [chunk]
        finally:
            self.speaking -= 1

    def convert(
        self, recording: Waveform, voice: Conditionals, seed: int, cancel: CancelToken
    ) -> Iterator[AudioChunk]:
        self.converted.append((recording, voice, seed))
        if self.gate is not None:
            self.entered.release()
            self._wait_for(self.gate, cancel)
        if self.failure is not None:
            raise self.failure
        pieces = cut_at_pauses(recording, 30.0)
        for index, piece in enumerate(pieces):
            cancel.raise_if_cancelled()
            key = repr((piece.waveform.digest(), voice, seed, index))
            rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()))
            samples = (0.1 * rng.standard_normal(len(piece.waveform.samples), np.float32)).clip(-0.9, 0.9)
            yield AudioChunk(
                waveform=Waveform(samples, MODEL_SAMPLE_RATE_HZ),
                pause_after_s=0.0,
                text="",
                utterance=0,
                index=index,
                count=len(pieces),
                stage_times_s={"tokens": 0.25, "s3gen": 0.125} if index == 0 else {},
            )

    def detect_watermark(self, recording: Waveform, cancel: CancelToken) -> float:
        cancel.raise_if_cancelled()
        self.inspected.append(recording)
        return self.confidence

    def watermark(self, chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
        for chunk in chunks:
            marked = chunk.waveform.samples + np.float32(WATERMARK)
            times_s = {**chunk.stage_times_s, "watermark": 0.0625}
            waveform = Waveform(marked, chunk.waveform.sample_rate_hz)
            yield replace(chunk, waveform=waveform, stage_times_s=times_s)

    def _wait_for(self, gate: threading.Event, cancel: CancelToken) -> None:
        for _ in range(6_000):
            if gate.wait(timeout=0.01):
                return
            if not self.is_stuck:
                cancel.raise_if_cancelled()
        raise AssertionError("nobody opened the gate")

    def _chunks(self, utterances: Sequence[Utterance], cancel: CancelToken) -> Iterator[AudioChunk]:
        parts: list[tuple[int, str, tuple[int, int]]] = []
        for number, utterance in enumerate(utterances):
            sentences = [*filter(None, map(str.strip, utterance.text.replace("!", ".").split(".")))]
            spans = chunk_spans(utterance.text, sentences)
            parts += [(number, *each) for each in zip(sentences, spans, strict=True)]
        for index, (number, sentence, span) in enumerate(parts):
            cancel.raise_if_cancelled()
            utterance = utterances[number]
            key = repr((sentence, utterance.voice, utterance.seed, astuple(utterance.params)))
            rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()))
            count = max(1, round(len(sentence) * SECONDS_PER_CHARACTER * MODEL_SAMPLE_RATE_HZ))
            samples = (0.1 * rng.standard_normal(count, np.float32)).clip(-0.9, 0.9)
            ends_utterance = index + 1 == len(parts) or parts[index + 1][0] != number
            pause_s = utterance.pause_after_s if ends_utterance else PAUSE_S
            yield AudioChunk(
                waveform=Waveform(samples, MODEL_SAMPLE_RATE_HZ),
                pause_after_s=pause_s,
                pause_is_exact=ends_utterance and utterance.pause_is_exact,
                text=sentence,
                span=span,
                utterance=number,
                index=index,
                count=len(parts),
                warnings=self.warnings if index == 0 else (),
                stage_times_s={"t3": 0.25, "s3gen": 0.125} if index == 0 else {},
            )


def _in_pieces(chunk: AudioChunk) -> Iterator[AudioChunk]:
    """The chunk as three pieces, the second without a sample."""
    samples, rate_hz = chunk.waveform.samples, chunk.waveform.sample_rate_hz
    half = len(samples) // 2
    for part in (samples[:half], samples[:0]):
        yield replace(
            chunk, waveform=Waveform(part, rate_hz), pause_after_s=0.0, ends_chunk=False, stage_times_s={}
        )
    yield replace(chunk, waveform=Waveform(samples[half:], rate_hz))


def as_list(synthesizer: Synthesizer | Sequence[Synthesizer] | None) -> list[Synthesizer]:
    """The models of a worker: by default a fake one."""
    if synthesizer is None:
        return [FakeSynthesizer()]
    return list(synthesizer) if isinstance(synthesizer, Sequence) else [synthesizer]


def build_services(
    root: Path,
    synthesizer: Synthesizer | Sequence[Synthesizer] | None = None,
    *,
    max_text_chars: int = 5000,
    store_is_shared: bool = True,
    health: WorkerHealth | None = None,
) -> Services:
    """A real store under ``root``, which waits for no other worker, and by default a fake synthesizer."""
    health = health or WorkerHealth()
    synthesizers = as_list(synthesizer)
    return Services(
        models=Models([HealthCheckedEngine(each, health) for each in synthesizers]),
        conditionals=VoiceConditionals(),
        voices=VoiceStore(root / "voice_embeddings", Timing(settle_s=0)),
        fetch=Fetcher().fetch,
        max_text_chars=max_text_chars,
        store_is_shared=store_is_shared,
    )


def build_worker(
    root: Path,
    synthesizer: Synthesizer | Sequence[Synthesizer] | None = None,
    env: Mapping[str, str] | None = None,
    *,
    stop_grace_s: float = 30.0,
    has_volume: bool = True,
    services: Services | None = None,
    settings: Settings | None = None,
) -> JobWorker:
    """A worker with its folders under ``root``; on no platform unless the environment says so."""
    settings, health = settings or Settings.from_env(env or {}), WorkerHealth()

    def build() -> Services:
        return services or build_services(
            root,
            synthesizer,
            max_text_chars=settings.max_text_chars,
            store_is_shared=has_volume,
            health=health,
        )

    spill = Spill(root / SPILL_FOLDER, audio_retention_h=settings.audio_retention_h)
    delivery = Delivery(spill if has_volume else None)
    limits_of = queue_limits if settings.on_platform else None
    return JobWorker(settings, build, delivery, health, limits_of, stop_grace_s=stop_grace_s)
