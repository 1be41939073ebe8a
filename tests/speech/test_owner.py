"""The device has one owner, and what it does for one job does not depend on the others."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from audio.waveform import Waveform
from cancel import CancelToken
from errors import Cancelled
from speech.contract import SamplingParams, Utterance
from speech.pipeline import ChatterboxSynthesizer, make_synthesizer
from speech.reference import encoder as encoder_module
from speech.reference.encoder import ReferenceEncoder
from speech.s3gen.s3gen import RenderRequest, S3Gen
from speech.t3 import batch as batch_module
from speech.t3.batch import RunningBatch
from speech.text.split import MIN_MAX_CHUNK_S
from speech.watermark import Watermarker
from speech.weights.load import Model
from tests.poison import poisoned_generators
from tests.recordings import speech_like

PAGE = "Nine boats came home late. The harbour was dark. Nobody had lit the lamps, so they waited outside."
LONG = " ".join([PAGE] * 4)
CHUNK_S = MIN_MAX_CHUNK_S  # the shortest that texts are split to: several chunks of little work
PARAMS = {
    "top_p": SamplingParams(top_p=0.9),
    "top_p and another voice": SamplingParams(top_p=0.9, exaggeration=1.2),
    "no guidance": SamplingParams(cfg_weight=0.0),
    "usual": SamplingParams(),
}


@dataclass
class DeviceLog:
    """What was submitted to the device, by whom, in the order of begin and end."""

    events: list[tuple[str, str]] = field(default_factory=list)  # ("begin" or "end", what)
    threads: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def work(self, what: str) -> Iterator[None]:
        with self.lock:
            self.threads.add(threading.get_ident())
            self.events.append(("begin", what))
        try:
            yield
        finally:
            with self.lock:
                self.events.append(("end", what))

    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs of works of which one began while the other ran; works within works do not count."""
        running: list[str] = []
        found = []
        for kind, what in self.events:
            if kind == "begin":
                found += [(other, what) for other in running if {other, what} != {"step", "capture"}]
                running.append(what)
            else:
                running.remove(what)
        return found


class LoggedS3Gen:
    """The real S3Gen on a device that keeps a log. tokens: what was rendered, by the chunk's seed."""

    def __init__(self, s3gen: S3Gen, log: DeviceLog) -> None:
        self._s3gen, self._log = s3gen, log
        self.tokens: dict[int, torch.Tensor] = {}

    def render(self, requests: Sequence[RenderRequest]) -> list[torch.Tensor]:
        with self._log.work("render"):
            for request in requests:
                self.tokens[request.generator.initial_seed()] = request.tokens
            return self._s3gen.render(requests)


@pytest.fixture
def log(monkeypatch) -> DeviceLog:
    """Every step, prefill and reference encoding is on it; rendering where ``LoggedS3Gen`` is used."""
    log = DeviceLog()

    def logged(owner: type, name: str, what: str) -> None:
        original = getattr(owner, name)

        def call(*args, **kwargs):
            with log.work(what):
                return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    logged(RunningBatch, "add", "prefill")
    logged(RunningBatch, "step_many", "step")
    logged(ReferenceEncoder, "encode", "reference")
    return log


@pytest.fixture
def logged_model(our_model: Model, log: DeviceLog) -> Model:
    spec = replace(our_model.spec, max_chunk_s=CHUNK_S)
    return replace(our_model, spec=spec, s3gen=LoggedS3Gen(our_model.s3gen, log))


@contextmanager
def running(model: Model, max_concurrency: int = 5) -> Iterator[ChatterboxSynthesizer]:
    synthesizer = make_synthesizer(model, Watermarker(), max_concurrency)
    try:
        yield synthesizer
    finally:
        synthesizer.close()


def recording(seed: int, duration_s: float = 3.0) -> Waveform:
    return Waveform(speech_like(duration_s, 24_000, seed=seed), 24_000)


def speak(synthesizer: ChatterboxSynthesizer, utterance: Utterance) -> np.ndarray:
    chunks = synthesizer.synthesize([utterance], CancelToken())
    return np.concatenate([chunk.with_pause().samples for chunk in chunks])


def test_only_one_thread_submits_work_to_the_device_and_never_two_things_at_once(logged_model, log):
    with running(logged_model) as synthesizer, ThreadPoolExecutor(6) as jobs:
        voice = synthesizer.builtin_voice()
        utterances = [
            Utterance(PAGE + " Then the wind rose.", voice, seed=seed, params=params)
            for seed, params in enumerate(PARAMS.values())
        ]
        spoken = [jobs.submit(speak, synthesizer, utterance) for utterance in utterances]
        encoded = [
            jobs.submit(synthesizer.encode_reference, recording(seed), CancelToken()) for seed in range(2)
        ]
        for future in [*spoken, *encoded]:
            future.result()
        synthesizer.check()
    assert {what for _, what in log.events} == {"prefill", "step", "render", "reference"}
    assert len(log.threads) == 1
    assert threading.get_ident() not in log.threads
    assert log.overlaps() == []


class ScriptedGraphs:
    """Step graphs on a device without graphs: the first step of a shape is a capture.

    during_capture: called within each.
    """

    def __init__(self, log: DeviceLog) -> None:
        self.shapes: list[object] = []
        self.during_capture: Callable[[], None] = lambda: None
        self._log = log

    def run(self, shape: object, work: Callable[[], None]) -> None:
        if shape not in self.shapes:
            self.shapes.append(shape)
            with self._log.work("capture"):
                self.during_capture()
                work()
        else:
            work()


def test_a_late_capture_overlaps_no_other_work(logged_model, log, monkeypatch):
    """A fresh worker and a first job with top_p, whose shapes are captured while its chunks are rendered and
    while other threads want a voice encoded and another text spoken."""
    graphs = ScriptedGraphs(log)
    monkeypatch.setattr(batch_module, "StepGraphs", lambda _device: graphs)
    make_batch = RunningBatch.__init__
    monkeypatch.setattr(
        RunningBatch,
        "__init__",
        lambda self, *args, **options: make_batch(self, *args, **{**options, "graphs": True}),
    )
    with running(logged_model) as synthesizer, ThreadPoolExecutor(20) as others:
        captured_at_the_start = len(graphs.shapes)
        voice = synthesizer.builtin_voice()
        submit, asked = synthesizer._runtime._submit, threading.Semaphore(0)

        def submit_and_tell(item):
            submit(item)
            asked.release()

        monkeypatch.setattr(synthesizer._runtime, "_submit", submit_and_tell)
        waiting = []

        def interfere() -> None:
            """Two other threads ask for the device, and have done so when this returns."""
            if len(waiting) < 12:
                number = len(waiting)
                other = Utterance("No.", voice, seed=number, params=SamplingParams(cfg_weight=0.0))
                waiting.append(
                    others.submit(synthesizer.encode_reference, recording(number, 1.0), CancelToken())
                )
                waiting.append(others.submit(speak, synthesizer, other))
                asked.acquire()
                asked.acquire()

        graphs.during_capture = interfere
        first = others.submit(
            speak, synthesizer, Utterance(PAGE * 2, voice, seed=1, params=SamplingParams(top_p=0.9))
        )
        asked.acquire()
        assert len(first.result()) > 0
        for future in waiting:
            future.result()
    late = len(graphs.shapes) - captured_at_the_start
    assert late >= 2, "the first job's shapes were not all captured at the start"
    rendered = [index for index, event in enumerate(log.events) if event == ("begin", "render")]
    captured = [index for index, event in enumerate(log.events) if event == ("begin", "capture")]
    assert captured[-1] > rendered[0], "captures and rendering took turns"
    assert log.overlaps() == []
    assert len(log.threads) == 1


def test_what_a_new_voice_needs_no_device_for_is_computed_in_its_jobs_thread(logged_model, log, monkeypatch):
    """Resampling, trimming and the mel of up to a minute stop nobody who speaks."""
    threads: dict[str, int] = {}

    def noted(name: str) -> Callable[..., object]:
        original = getattr(encoder_module, name)

        def call(*args):
            threads[name] = threading.get_ident()
            return original(*args)

        return call

    for name in ("resample", "trim", "voice_encoder_mel"):
        monkeypatch.setattr(encoder_module, name, noted(name))
    with running(logged_model) as synthesizer:
        synthesizer.encode_reference(recording(1), CancelToken())
    assert threads == dict.fromkeys(("resample", "trim", "voice_encoder_mel"), threading.get_ident())
    assert log.events == [("begin", "reference"), ("end", "reference")]
    assert threading.get_ident() not in log.threads


def test_poisoning_finds_every_use():
    for use in (lambda: torch.rand(1), lambda: torch.manual_seed(1), lambda: torch.get_rng_state()):
        with pytest.raises(AssertionError), poisoned_generators():
            use()


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_four_jobs_at_once_give_what_each_gives_alone(logged_model, rounds):
    """Two with top_p, one without guidance, voices and seeds mixed, and a fifth that is cancelled."""
    s3gen = logged_model.s3gen
    with running(logged_model) as synthesizer:
        voices = [synthesizer.builtin_voice(), synthesizer.encode_reference(recording(1), CancelToken())]
        jobs = [
            Utterance(PAGE[: 45 + 30 * index], voices[index % 2], seed=2**40 * index + 7, params=params)
            for index, params in enumerate(PARAMS.values())
        ]
        with poisoned_generators():
            alone = [speak(synthesizer, job) for job in jobs]
        tokens = dict(s3gen.tokens)
        s3gen.tokens.clear()
        rng = random.Random(0)
        with poisoned_generators(), ThreadPoolExecutor(len(jobs) + 1) as threads:
            for _ in range(rounds):
                cancel = CancelToken()
                order = rng.sample(range(len(jobs)), len(jobs))
                extra = synthesizer.synthesize([Utterance(LONG, voices[0], seed=99)], cancel)
                cancelled = threads.submit(drain_until_cancelled, extra, cancel, rng.randrange(2))
                together = {index: threads.submit(speak, synthesizer, jobs[index]) for index in order}
                for index, future in together.items():
                    np.testing.assert_allclose(future.result(), alone[index], rtol=0, atol=5e-6)
                assert isinstance(cancelled.result(), Cancelled)
    for seed, expected in tokens.items():
        assert torch.equal(s3gen.tokens[seed], expected)


def drain_until_cancelled(chunks, cancel: CancelToken, chunks_before: int) -> Exception | None:
    """Cancels after some chunks; what the iterator raises then."""
    try:
        for index, _ in enumerate(chunks):
            if index >= chunks_before:
                cancel.cancel(Cancelled("the test has heard enough"))
    except Cancelled as error:
        return error
    return None
