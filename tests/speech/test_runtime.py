"""The device's owner: one batch for many threads, fair, and still at work when something failed."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cancel import CancelToken
from errors import Cancelled, DeviceLost, DeviceSuspect
from speech.models.spec import CHATTERBOX
from speech.pipeline import make_batch
from speech.reference.conditionals import dummy_voice
from speech.runtime import (
    MAX_PREFILLS,
    Batch,
    ChunkRequest,
    DeviceModel,
    DeviceRuntime,
    RenderedAudio,
    _HostCopy,
    _translated,
)
from speech.t3.batch import RunningBatch
from tests.speech.conftest import CPU
from tests.speech.runtimes import (
    ConstantBatch,
    FlakyBatch,
    TokensAsSamples,
    WatchedBatch,
    chunk,
    held,
    one_model,
)
from tests.speech.t3.requests import decode_all, mixed_requests, request

LONG, SHORT = 100, 7  # seeds of a long text's first chunk, and of a short text


@pytest.fixture
def batch(our_model) -> RunningBatch:
    return RunningBatch(our_model.t3, 4, poll_every=1, graphs=False)


@pytest.fixture
def renderer() -> TokensAsSamples:
    return TokensAsSamples()


@pytest.fixture
def start(renderer) -> Iterator[Callable[..., DeviceRuntime]]:
    with ExitStack() as stack:

        def start(batch: Any, max_jobs: int = 1, renderer: Any = renderer) -> DeviceRuntime:
            runtime = DeviceRuntime(CPU, one_model(lambda: batch, renderer), max_jobs=max_jobs)
            return stack.enter_context(closing(runtime))

        yield start


def speak(
    runtime: DeviceRuntime, chunks: Sequence[ChunkRequest], cancel: CancelToken | None = None
) -> list[RenderedAudio]:
    return list(runtime.speak(chunks, cancel or CancelToken()))


def tokens_of(rendered: RenderedAudio) -> list[int]:
    """What ``TokensAsSamples`` was given."""
    return rendered.samples.astype(int).tolist()


def expected_tokens(batch: Batch, model, **options: Any) -> list[int]:
    (decoded,) = decode_all(batch, [request(model, **options)])
    return decoded.speech().tolist()


def long_text(model, count: int) -> list[ChunkRequest]:
    return [chunk(model, seed=LONG + index) for index in range(count)]


def test_nothing_asked_nothing_answered(start, batch):
    assert speak(start(batch), []) == []


def test_more_chunks_than_rows_from_several_threads(start, batch, our_model, upstream_model):
    theirs = decode_all(make_batch(upstream_model), mixed_requests(our_model))
    chunks = [
        ChunkRequest(CHATTERBOX.name, one, our_model.builtin_voice, (one.seed,))
        for one in mixed_requests(our_model)
    ]
    runtime = start(batch, max_jobs=6)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: speak(runtime, [one])[0], chunks * 3))
    for ours, decoded in zip(found, theirs * 3, strict=True):
        assert tokens_of(ours) == decoded.speech().tolist()
        assert ours.failures == () if decoded.stopped else ("ran on and was cut",)
    assert not batch.sequences


def test_chunks_come_in_their_order_whichever_is_decoded_first(start, renderer, our_model):
    texts = ["Rows of different lengths, one after the other, and a good many more of them.", "No.", "Well."]
    chunks = [chunk(our_model, text, seed=seed) for seed, text in enumerate(texts)]
    rendered = speak(start(RunningBatch(our_model.t3, 6, poll_every=1, graphs=False)), chunks)
    assert renderer.seeds == [0, 1, 2]
    assert len(rendered[0].samples) > 2 * len(rendered[1].samples)


def test_the_first_chunk_comes_before_the_last_is_decoded(start, our_model):
    """Decoding goes on once the first chunk has arrived: else this would wait for ever."""
    arrived = threading.Event()
    inner = RunningBatch(our_model.t3, 4, poll_every=1, graphs=False)
    added: list[None] = []

    def on_step() -> None:
        # The third chunk is only added when one of the first two is done.
        assert len(added) < 4 or arrived.wait(timeout=120)

    watched = WatchedBatch(inner, on_add=lambda: added.append(None), on_step=on_step)
    chunks = start(watched).speak(long_text(our_model, 6), CancelToken())
    next(chunks)
    assert len(added) < 6
    arrived.set()
    assert len(list(chunks)) == 5


def test_a_short_text_does_not_wait_for_the_many_chunks_of_a_long_one(start, batch, renderer, our_model):
    runtime = start(batch, max_jobs=2)
    with ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            long = pool.submit(speak, runtime, long_text(our_model, 20))
            wait_for(1)
            short = pool.submit(speak, runtime, [chunk(our_model, "No.", seed=SHORT)])
            wait_for(2)
        assert len(short.result()) == 1
        assert len(long.result()) == 20
    assert renderer.seeds.index(SHORT) <= 2


def test_a_short_text_finds_room_when_a_long_one_is_under_way(start, batch, renderer, our_model):
    runtime = start(batch, max_jobs=2)
    long = runtime.speak(long_text(our_model, 20), CancelToken())
    next(long)
    with ThreadPoolExecutor(1) as pool:
        with held(runtime) as wait_for:
            rendered = len(renderer.seeds)
            short = pool.submit(speak, runtime, [chunk(our_model, "No.", seed=SHORT)])
            wait_for(1)
        short.result()
    list(long)
    assert renderer.seeds.index(SHORT) <= rendered + 2


def test_jobs_take_turns_where_one_chunk_fits_at_a_time(start, renderer, our_model, upstream_model):
    """As with upstream's loop."""
    runtime = start(make_batch(upstream_model), max_jobs=2)
    with ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            long = pool.submit(speak, runtime, long_text(our_model, 4))
            wait_for(1)
            short = pool.submit(speak, runtime, [chunk(our_model, "No.", seed=SHORT)])
            wait_for(2)
        short.result()
        long.result()
    assert renderer.seeds.index(SHORT) <= 1


@pytest.mark.parametrize(("max_jobs", "most"), [(1, 5), (3, 3), (5, 1), (9, 1)])
def test_chunks_of_one_text_take_all_the_room_but_what_the_others_need(start, our_model, max_jobs, most):
    """Of five places, one is kept for each other job that may come."""
    inner, found = RunningBatch(our_model.t3, 10, poll_every=1, graphs=False), []
    watched = WatchedBatch(inner, on_add=lambda: found.append(len(inner.sequences) + 1))
    speak(start(watched, max_jobs), long_text(our_model, 8))
    assert max(found) == most


def test_few_prompts_are_read_between_two_looks_at_what_is_decoded(start, our_model):
    """However many chunks wait and however much room there is: reading stops those that decode."""
    inner, read = RunningBatch(our_model.t3, 2 * 9, poll_every=1, graphs=False), [0]
    watched = WatchedBatch(inner, on_add=lambda: read.append(read.pop() + 1), on_step=lambda: read.append(0))
    assert len(speak(start(watched), long_text(our_model, 9))) == 9
    assert max(read) == MAX_PREFILLS
    # One after the other: all nine had room from the start.
    assert [count for count in read if count] == [MAX_PREFILLS] * 4 + [1]


def test_a_chunk_that_fails_is_decoded_again_with_the_next_seed(start, batch, our_model):
    expected = expected_tokens(batch, our_model, seed=4)
    flaky = FlakyBatch(batch, failures=1)
    (found,) = speak(start(flaky), [chunk(our_model, seed=3, attempts=2)])
    assert flaky.seeds == [3, 4]
    assert tokens_of(found) == expected
    assert (found.failures, found.attempts) == (("ran on and was cut",), 2)


def test_what_is_logged_of_a_chunk_has_the_context_of_who_waits_for_it(start, batch, our_model, caplog):
    """The id of the job, which log lines take from the context of their thread."""

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((job.get(), record.getMessage()))

    job, lines, handler = ContextVar("job", default="no job"), [], Noting()
    logger = logging.getLogger("speech.runtime")
    caplog.set_level(logging.INFO, logger.name)
    runtime = start(FlakyBatch(batch, failures=1))
    logger.addHandler(handler)
    try:
        token = job.set("job-7")
        speak(runtime, [chunk(our_model, attempts=2)])
        job.reset(token)
    finally:
        logger.removeHandler(handler)
    ((job_id, line),) = lines
    assert job_id == "job-7"
    assert line.startswith("chatterbox: chunk 1 ")


def test_the_last_attempt_is_taken_as_it_is(start, batch, our_model):
    flaky = FlakyBatch(batch, failures=9)
    (found,) = speak(start(flaky), [chunk(our_model, seed=3, attempts=3)])
    assert flaky.seeds == [3, 4, 5]
    assert (found.failures, found.attempts) == (("ran on and was cut",) * 3, 3)
    assert len(found.samples) > 0


@pytest.mark.parametrize("tokens", [[], [6561, 8000]], ids=["none", "outside the codebook"])
def test_a_chunk_without_speech_is_the_silence_of_one_token(start, renderer, our_model, tokens):
    (found,) = speak(start(ConstantBatch(tokens)), [chunk(our_model, attempts=2)])
    assert found.failures == ("came out empty", "came out empty")
    assert np.array_equal(found.samples, np.zeros(960, np.float32))
    assert renderer.seeds == []


def test_a_single_token_is_silence_too(start, renderer, our_model):
    """S3Gen mutes more than it gives of one, in a voice with an odd number of mel frames."""
    (found,) = speak(start(ConstantBatch([7])), [chunk(our_model)])
    assert np.array_equal(found.samples, np.zeros(960, np.float32))
    assert renderer.seeds == []


def test_silence_does_not_overtake_audio_that_is_still_computed(start, our_model, monkeypatch):
    class SpeechThenSilence(ConstantBatch):
        def step_many(self):
            finished = super().step_many()
            return {
                each: replace(decoded, tokens=decoded.tokens if each.seed == 0 else decoded.tokens[:0])
                for each, decoded in finished.items()
            }

    polls = iter([False] * 5)
    monkeypatch.setattr(_HostCopy, "is_ready", lambda copy: next(polls, True) if copy.source.any() else True)
    first, second = speak(start(SpeechThenSilence([5, 6, 7])), [chunk(our_model), chunk(our_model, seed=1)])
    assert tokens_of(first) == [5, 6, 7]
    assert not second.samples.any()


def test_t3s_own_marks_are_dropped(start, our_model):
    (found,) = speak(start(ConstantBatch([5, 6561, 6560, 8000, 7])), [chunk(our_model)])
    assert tokens_of(found) == [5, 6560, 7]
    assert found.failures == ()


def test_a_request_that_cannot_be_read_fails_alone(start, batch, our_model):
    unknown = chunk(our_model, prompt_tokens=torch.full((1, 5), 9_999))
    expected = expected_tokens(batch, our_model)
    runtime = start(batch, max_jobs=2)
    with ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            good = pool.submit(speak, runtime, [chunk(our_model)])
            wait_for(1)
            bad = pool.submit(speak, runtime, [unknown, chunk(our_model)])
            wait_for(2)
        assert isinstance(bad.exception(), IndexError)
        assert [tokens_of(found) for found in good.result()] == [expected]
    assert not batch.sequences


def fail(*_: object) -> None:
    raise RuntimeError("out of luck")


def test_a_step_that_fails_fails_those_in_the_batch_and_the_next_job_runs(
    start, batch, our_model, monkeypatch
):
    runtime = start(batch, max_jobs=2)
    with ThreadPoolExecutor(2) as pool, monkeypatch.context() as patch:
        patch.setattr(batch, "_step", fail)
        with held(runtime) as wait_for:
            jobs = [pool.submit(speak, runtime, [chunk(our_model, seed=seed)]) for seed in (1, 2)]
            wait_for(2)
        for job in jobs:
            assert isinstance(job.exception(), RuntimeError)
            assert str(job.exception()) == "out of luck"
    assert not batch.sequences
    assert len(speak(runtime, [chunk(our_model)])) == 1


def test_a_renderer_that_fails_fails_one_job_and_the_next_runs(start, batch, our_model):
    class Failing(TokensAsSamples):
        def render(self, requests):
            if not self.seeds:
                self.seeds.append(0)
                fail()
            return super().render(requests)

    runtime = start(batch, renderer=Failing())
    with pytest.raises(RuntimeError, match="out of luck"):
        speak(runtime, long_text(our_model, 5))
    runtime.run(lambda: None)
    assert not batch.sequences
    assert len(speak(runtime, [chunk(our_model)])) == 1


def test_when_nothing_works_any_more_everybody_hears_of_it(start, batch, our_model, monkeypatch):
    monkeypatch.setattr(batch, "_step", fail)
    monkeypatch.setattr(batch, "remove", fail)
    runtime = start(batch, max_jobs=2)
    with ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            jobs = [pool.submit(speak, runtime, long_text(our_model, 5)) for _ in range(2)]
            wait_for(2)
        errors = [job.exception() for job in jobs]
    for later in (lambda: speak(runtime, [chunk(our_model)]), lambda: runtime.run(lambda: None)):
        with pytest.raises(DeviceLost) as caught:
            later()
        errors.append(caught.value)
    assert {type(error) for error in errors} == {DeviceLost}
    assert {str(error.__cause__) for error in errors} == {"out of luck"}
    assert len({id(error) for error in errors}) == 4, "no error is raised in two threads"


def test_a_batch_that_cannot_be_made_is_told_to_who_starts_the_runtime(renderer):
    with pytest.raises(RuntimeError, match="out of luck"):
        DeviceRuntime(CPU, one_model(fail, renderer))


def test_renderers_are_ready_before_a_job_can_come(batch, renderer):
    ready: list[str] = []
    model = DeviceModel(lambda: batch, renderer, lambda: ready.append(threading.current_thread().name))
    with closing(DeviceRuntime(CPU, {"first": model, "second": model})):
        assert ready == ["device", "device"]
    broken = DeviceModel(lambda: batch, renderer, fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        DeviceRuntime(CPU, {"broken": broken})


def test_work_beside_jobs_runs_in_the_owners_thread_and_its_errors_come_back(start, batch):
    runtime = start(batch)
    names = {runtime.run(lambda: threading.current_thread().name) for _ in range(2)}
    assert names == {"device"}
    with pytest.raises(RuntimeError, match="out of luck"):
        runtime.run(fail)
    assert runtime.run(lambda: 7) == 7


def test_a_job_that_is_cancelled_makes_room_for_who_waits(start, batch, our_model):
    cancel, sequences = CancelToken(), []

    def on_step() -> None:
        sequences.append(len(batch.sequences))
        if len(sequences) == 6:
            cancel.cancel(Cancelled("its caller is gone"))

    expected = expected_tokens(RunningBatch(our_model.t3, 4, poll_every=1, graphs=False), our_model)
    runtime = start(WatchedBatch(batch, on_step=on_step))
    with ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            leaving = pool.submit(speak, runtime, long_text(our_model, 9), cancel)
            wait_for(1)
            staying = pool.submit(speak, runtime, [chunk(our_model)])
            wait_for(2)
        assert isinstance(leaving.exception(), Cancelled)
        assert leaving.exception().reason == "its caller is gone"
        (found,) = staying.result()
    assert tokens_of(found) == expected
    assert set(sequences[6:]) == {1}


def test_audio_that_is_there_already_is_not_given_to_who_cancelled(start, our_model):
    cancel = CancelToken()
    runtime = start(ConstantBatch([1, 2, 3]))
    chunks = runtime.speak(long_text(our_model, 3), cancel)
    next(chunks)
    for _ in range(3):  # a round of the owner's each, and each renders one chunk
        runtime.run(lambda: None)
    cancel.cancel(Cancelled("its caller is gone"))
    with pytest.raises(Cancelled, match="its caller is gone"):
        next(chunks)


def test_a_job_that_is_cancelled_before_is_not_begun(start, batch, our_model):
    cancel, added = CancelToken(), []
    cancel.cancel(Cancelled("too late"))
    runtime = start(WatchedBatch(batch, on_add=lambda: added.append(None)))
    with pytest.raises(Cancelled, match="too late"):
        speak(runtime, [chunk(our_model)], cancel)
    assert added == []


def test_closing_the_iterator_ends_the_work(start, batch, our_model):
    runtime = start(batch)
    chunks = runtime.speak(long_text(our_model, 20), CancelToken())
    next(chunks)
    chunks.close()
    runtime.run(lambda: None)
    assert runtime.run(lambda: len(batch.sequences)) == 0
    assert len(speak(runtime, [chunk(our_model)])) == 1


def test_upstreams_loop_ends_within_a_step_of_the_cancellation(start, our_model, upstream_model):
    cancel, steps = CancelToken(), []

    def on_step(*_: object) -> None:
        steps.append(None)
        if len(steps) == 6:
            cancel.cancel(Cancelled("its caller is gone"))

    runtime = start(make_batch(upstream_model))
    hook = upstream_model.t3.speech_emb.register_forward_pre_hook(on_step)
    try:
        with pytest.raises(Cancelled, match="its caller is gone"):
            speak(runtime, [chunk(our_model)], cancel)
    finally:
        hook.remove()
    assert len(steps) <= 7
    assert len(speak(runtime, [chunk(our_model)])) == 1


def test_closing_the_runtime_ends_the_jobs_that_wait(batch, renderer, our_model):
    entered, over = threading.Event(), threading.Event()

    def on_step() -> None:
        entered.set()
        assert over.wait(timeout=120)

    runtime = DeviceRuntime(CPU, one_model(lambda: WatchedBatch(batch, on_step=on_step), renderer))
    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(speak, runtime, long_text(our_model, 5))
        assert entered.wait(timeout=120)
        closing_it = pool.submit(runtime.close)
        over.set()
        closing_it.result()
        assert isinstance(job.exception(), DeviceLost)
    with pytest.raises(DeviceLost):
        runtime.run(lambda: None)


def test_closing_the_runtime_ends_work_that_was_taken_and_not_run(batch, renderer):
    runtime = DeviceRuntime(CPU, one_model(lambda: batch, renderer))
    with ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            work = pool.submit(runtime.run, lambda: 7)
            wait_for(1)
            runtime._is_closing = True
        assert isinstance(work.exception(timeout=120), DeviceLost)
    runtime.close()


def test_work_that_was_cancelled_keeps_nobody_else_waiting_when_the_runtime_ends(batch, renderer):
    runtime, cancel = DeviceRuntime(CPU, one_model(lambda: batch, renderer)), CancelToken()
    with ThreadPoolExecutor(3) as pool:
        with held(runtime) as wait_for:
            cancelled = pool.submit(runtime.run, lambda: 7, cancel)
            wait_for(1)
            work = pool.submit(runtime.run, lambda: 7)
            wait_for(2)
            cancel.cancel(Cancelled("its caller is gone"))
            runtime._is_closing = True
        assert isinstance(cancelled.exception(timeout=120), Cancelled)
        assert isinstance(work.exception(timeout=120), DeviceLost)
    runtime.close()


def test_work_that_waits_ends_when_its_job_is_cancelled(start, batch):
    runtime, cancel, ran = start(batch), CancelToken(), []
    with ThreadPoolExecutor(1) as pool, held(runtime) as wait_for:
        work = pool.submit(runtime.run, lambda: ran.append(1), cancel)
        wait_for(1)
        cancel.cancel(Cancelled("the test"))
        assert isinstance(work.exception(timeout=120), Cancelled)
    runtime.run(lambda: None)
    assert ran == []


def test_no_voice_is_kept_by_the_runtime(start, batch, our_model):
    runtime = start(batch)
    voice = dummy_voice(our_model.spec.conditioning)
    speak(runtime, [replace(chunk(our_model), voice=voice)])
    known = weakref.ref(voice)
    del voice
    gc.collect()
    assert known() is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, DeviceSuspect),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), DeviceLost),
        (RuntimeError("CUDA error: something that passes"), DeviceSuspect),
    ],
)
def test_an_error_of_a_library_is_that_of_cuda_when_cuda_answers_with_one(monkeypatch, answer, expected):
    """cuBLAS and cuDNN have errors of their own for a context that is broken."""

    def synchronize() -> None:
        if answer is not None:
            raise answer

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    found = _translated(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling"))
    assert type(found) is expected
