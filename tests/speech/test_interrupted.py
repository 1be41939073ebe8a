"""Speech that is cut short: a caller who left, a GPU that fails. The faults are put in on the CPU."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cancel import CancelToken
from errors import Cancelled, DeviceLost, DeviceSuspect, ModelUnavailable, OutOfMemory
from speech.gpu_faults import GpuFault, gpu_fault
from speech.pipeline import ChatterboxSynthesizer, make_synthesizer
from speech.s3gen.s3gen import Renderer, RenderRequest
from speech.text.split import MIN_MAX_CHUNK_S
from speech.watermark import Watermarker
from speech.weights.load import Model
from tests.speech.runtimes import WatchedBatch
from tests.speech.speaking import join, says, speak, utter

TEXT = " ".join(f"This is sentence number {count}, and it says nothing at all." for count in range(1, 4))
CHUNK_S = MIN_MAX_CHUNK_S  # the shortest that texts are split to: a chunk a sentence
SEED = 3

Build = Callable[..., ChatterboxSynthesizer]


@pytest.fixture(scope="module")
def our_model(our_model: Model) -> Model:
    spec = dataclasses.replace(our_model.spec, max_chunk_s=CHUNK_S)
    return dataclasses.replace(our_model, spec=spec)


@pytest.fixture(scope="module")
def synthesizer(our_model: Model, watermarker: Watermarker) -> Iterator[ChatterboxSynthesizer]:
    with closing(make_synthesizer(our_model, watermarker)) as synthesizer:
        yield synthesizer


class WatchedRenderer:
    """A renderer that calls a function with the number of the call first."""

    def __init__(self, renderer: Renderer, on_call: Callable[[int], object]) -> None:
        self.calls = 0
        self._renderer, self._on_call = renderer, on_call

    def render(self, requests: Sequence[RenderRequest]) -> list[Tensor]:
        self.calls += 1
        self._on_call(self.calls)
        return self._renderer.render(requests)


def with_renderer(model: Model, on_call: Callable[[int], object]) -> Model:
    return dataclasses.replace(model, s3gen=WatchedRenderer(model.s3gen, on_call))


def failing_at(model: Model, calls: set[int], error: Exception) -> Model:
    """The model, whose renderer raises the error in these calls."""

    def on_call(call: int) -> None:
        if call in calls:
            raise error

    return with_renderer(model, on_call)


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture(scope="module")
def expected(synthesizer) -> np.ndarray:
    return says(synthesizer, TEXT, seed=SEED)


@pytest.mark.parametrize("heard", [0, 1])
def test_a_job_that_is_cancelled_ends(synthesizer, heard):
    cancel = CancelToken()
    chunks = synthesizer.synthesize([utter(synthesizer, TEXT, None, SEED)], cancel)
    for _ in range(heard):
        next(chunks)
    cancel.cancel(Cancelled("its caller is gone"))
    with pytest.raises(Cancelled, match="its caller is gone"):
        next(chunks)
    assert len(says(synthesizer, "Yes.")) > 0


def test_who_leaves_disturbs_nobody(synthesizer, expected):
    def leave() -> None:
        cancel = CancelToken()
        chunks = synthesizer.synthesize([utter(synthesizer, TEXT, None, seed=4)], cancel)
        next(chunks)
        cancel.cancel(Cancelled("its caller is gone"))
        list(chunks)

    with ThreadPoolExecutor(2) as pool:
        leaving = pool.submit(leave)
        staying = pool.submit(says, synthesizer, TEXT, seed=SEED)
        assert np.array_equal(staying.result(), expected)
        assert isinstance(leaving.exception(), Cancelled)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_renderer_out_of_memory_once_goes_on_one_chunk_after_the_other(
    build: Build, our_model, expected, call
):
    chunks = speak(build(failing_at(our_model, {call}, out_of_memory())), TEXT, seed=SEED)
    assert np.array_equal(join(chunks), expected)
    assert [chunk.index for chunk in chunks] == list(range(chunks[0].count))
    assert not any(chunk.warnings for chunk in chunks)


class BatchOutOfMemory(WatchedBatch):
    """A batch whose memory runs out in these calls of ``add`` or ``step_many``, counted from 1."""

    def __init__(self, batch: Any, adds: set[int] = frozenset(), steps: set[int] = frozenset()) -> None:
        self._counts = {"add": 0, "step": 0}
        super().__init__(
            batch, on_add=lambda: self._count("add", adds), on_step=lambda: self._count("step", steps)
        )

    def _count(self, what: str, failing: set[int]) -> None:
        self._counts[what] += 1
        if self._counts[what] in failing:
            raise out_of_memory()


@pytest.mark.parametrize("calls", [{"adds": {1}}, {"adds": {3}}, {"steps": {1}}, {"steps": {40}}], ids=str)
def test_t3_out_of_memory_once_goes_on_one_chunk_after_the_other(build: Build, our_model, expected, calls):
    limited = build(our_model, lambda batch: BatchOutOfMemory(batch, **calls))
    assert np.array_equal(says(limited, TEXT, seed=SEED), expected)


def test_every_job_of_a_step_that_ran_out_of_memory_is_spoken(build: Build, our_model, expected):
    limited = build(our_model, lambda batch: BatchOutOfMemory(batch, steps={20}), max_jobs=2)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(says, limited, TEXT, seed=SEED) for _ in range(2)]
        for job in jobs:
            assert np.array_equal(job.result(), expected)


def test_what_ran_out_of_memory_is_no_longer_decoded_when_it_is_tried_again(build: Build, our_model):
    """Else the second try, which is to take less memory, would run beside what is left of the first."""
    model = failing_at(our_model, {1}, out_of_memory())
    at_once: list[int] = []  # chunks in the batch at each step since the failure

    def wrap(batch: Any) -> WatchedBatch:
        def on_step() -> None:
            if model.s3gen.calls:
                at_once.append(len(batch.sequences))

        return WatchedBatch(batch, on_step=on_step)

    speak(build(model, wrap), TEXT, seed=SEED)
    assert len(at_once) > 100
    assert set(at_once) == {1}


class HoldingRenderer:
    """A renderer that holds a large tensor when its memory runs out, and in a frame below it."""

    def __init__(self, renderer: Renderer, failures: int) -> None:
        self.held: list[weakref.ref[Tensor]] = []
        self.alive: list[int] = []  # how many of them were alive at the start of each call
        self._renderer, self._failures = renderer, failures

    def render(self, requests: Sequence[RenderRequest]) -> list[Tensor]:
        self.alive.append(self.count_alive())
        if len(self.alive) <= self._failures:
            activations = self._allocate()
            try:
                self._fail_below(activations * 2)
            except torch.OutOfMemoryError as error:
                raise RuntimeError("the kernel could not be launched") from error
        return self._renderer.render(requests)

    def count_alive(self) -> int:
        return sum(reference() is not None for reference in self.held)

    def _allocate(self) -> Tensor:
        tensor = torch.zeros(2**20)
        self.held.append(weakref.ref(tensor))
        return tensor

    def _fail_below(self, more_activations: Tensor) -> None:
        self.held.append(weakref.ref(more_activations))
        raise out_of_memory()


def test_the_tensors_of_the_failed_try_are_gone_when_it_is_tried_again(build: Build, our_model, expected):
    """An exception keeps the variables of its frames: without the memory that ran out, nothing would fit."""
    renderer = HoldingRenderer(our_model.s3gen, failures=1)
    found = says(build(dataclasses.replace(our_model, s3gen=renderer)), TEXT, seed=SEED)
    assert np.array_equal(found, expected)
    assert len(renderer.held) == 2
    assert set(renderer.alive) == {0}


def test_the_error_that_a_job_gets_keeps_no_tensors(build: Build, our_model):
    renderer = HoldingRenderer(our_model.s3gen, failures=2)
    with pytest.raises(OutOfMemory) as caught:
        speak(build(dataclasses.replace(our_model, s3gen=renderer)), TEXT, seed=SEED)
    assert caught.value.__cause__ is not None
    assert len(renderer.held) == 4
    assert renderer.count_alive() == 0


def test_the_tensors_of_other_work_that_failed_are_gone(synthesizer):
    held: list[weakref.ref[Tensor]] = []

    def work() -> None:
        tensor = torch.zeros(2**20)
        held.append(weakref.ref(tensor))
        raise out_of_memory()

    with pytest.raises(OutOfMemory):
        synthesizer._runtime.run(work)
    assert held[0]() is None


def test_out_of_memory_twice_is_said(build: Build, our_model):
    failing = build(failing_at(our_model, {2, 3}, out_of_memory()))
    with pytest.raises(OutOfMemory, match="shorter text"):
        speak(failing, TEXT, seed=SEED)
    assert len(says(failing, "Yes.")) > 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), DeviceLost),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLost),
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLost),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), DeviceSuspect),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling"), DeviceSuspect),
        (RuntimeError("shapes do not match"), RuntimeError),
    ],
)
def test_what_the_gpu_does_is_told_by_its_kind(build: Build, our_model, error, kind):
    with pytest.raises(kind) as caught:
        speak(build(failing_at(our_model, {1}, error)), "Yes.")
    assert type(caught.value) is kind


def test_memory_can_run_out_in_a_library_too():
    error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    assert gpu_fault(error) is GpuFault.MEMORY
    assert gpu_fault(ValueError("CUDA")) is None


def test_a_healthy_model_passes_the_check(synthesizer):
    synthesizer.check()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    ],
    ids=["sticky", "suspect"],
)
def test_the_check_on_a_failing_gpu_says_that_it_is_lost(build: Build, our_model, error):
    with pytest.raises(DeviceLost):
        build(failing_at(our_model, {1}, error)).check()


def test_the_check_that_finds_too_little_memory_says_so(build: Build, our_model):
    with pytest.raises(OutOfMemory):
        build(failing_at(our_model, {1, 2}, out_of_memory())).check()


def test_the_check_says_that_the_weights_are_wrong(build: Build, our_model):
    with pytest.raises(ModelUnavailable, match="cannot say a word"):
        build(failing_at(our_model, {1}, RuntimeError("shapes do not match"))).check()


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_the_check_that_hears_nothing_says_so(build: Build, our_model, value):
    class Constant:
        def render(self, requests: Sequence[RenderRequest]) -> list[Tensor]:
            return [torch.full((24_000,), value) for _ in requests]

    with pytest.raises(ModelUnavailable, match="no sound"):
        build(dataclasses.replace(our_model, s3gen=Constant())).check()
