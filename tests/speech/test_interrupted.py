"""The engine when nobody listens any more, and when the GPU fails: faults put in on the CPU."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from errors import DeviceLost, DeviceSuspect, ModelUnavailable, OutOfMemory
from speech.contract import Listener, Piece, SpeechParams, SpeechStopped
from speech.decoders import make_decoder
from speech.engine import SpeechEngine
from speech.gpu_faults import GpuFault, gpu_fault
from speech.watermark import Watermarker

TEXT = " ".join(f"This is sentence number {count}, and it says nothing at all." for count in range(1, 13))
PARAMS = SpeechParams(seed=3)


class Recorder(Listener):
    """Goes away after so many pieces."""

    def __init__(self, patience: float = float("inf")) -> None:
        self.pieces: list[Piece] = []
        self._patience = patience

    def is_gone(self) -> bool:
        return len(self.pieces) >= self._patience

    def hear(self, piece: Piece) -> None:
        self.pieces.append(piece)


def with_vocoder(engine: SpeechEngine, wrap: Callable[[int], None]) -> SpeechEngine:
    """The same engine, whose vocoder calls ``wrap`` with the number of the call first."""
    calls = [0]
    inner = engine.model.token_to_wave

    def token_to_wave(tokens: Tensor, prompt: object) -> Tensor:
        calls[0] += 1
        wrap(calls[0])
        return inner(tokens, prompt)

    model = dataclasses.replace(engine.model, token_to_wave=token_to_wave)
    return SpeechEngine(model, Watermarker(), make_decoder(model))


def failing_at(engine: SpeechEngine, calls: set[int], error: Exception) -> SpeechEngine:
    def wrap(call: int) -> None:
        if call in calls:
            raise error

    return with_vocoder(engine, wrap)


def test_the_pieces_are_the_speech(engine):
    listener = Recorder()
    speech = engine.speak(TEXT, None, PARAMS, listener)
    assert len(listener.pieces) > 2
    heard = np.concatenate([piece.waveform.samples for piece in listener.pieces])
    assert np.array_equal(heard, speech.waveform.samples)
    assert [piece.index for piece in listener.pieces] == list(range(len(listener.pieces)))
    assert {piece.count for piece in listener.pieces} == {len(listener.pieces)}
    assert [piece.text for piece in listener.pieces] == [segment.text for segment in speech.segments]


def test_the_first_piece_comes_before_the_last_is_decoded(our_model):
    """Waits in the decoder until the listener has heard something: else it would wait for ever."""
    heard = threading.Event()
    decoder = make_decoder(our_model)

    class Waiting:
        def decode(self, requests, is_stopped):
            for index, decoded in enumerate(decoder.decode(requests, is_stopped)):
                assert index == 0 or heard.wait(timeout=60)
                yield decoded

    class Once(Listener):
        def hear(self, piece: Piece) -> None:
            heard.set()

    SpeechEngine(our_model, Watermarker(), Waiting()).speak(TEXT, None, PARAMS, Once())
    assert heard.is_set()


@pytest.mark.parametrize("patience", [0, 1])
def test_a_listener_that_left_ends_the_speech(engine, patience):
    listener = Recorder(patience)
    with pytest.raises(SpeechStopped):
        engine.speak(TEXT, None, PARAMS, listener)
    assert len(listener.pieces) == patience
    assert len(engine.speak("Yes.", None, PARAMS).waveform.samples) > 0


def test_who_leaves_disturbs_nobody(engine):
    alone = engine.speak(TEXT, None, PARAMS).waveform.samples
    with ThreadPoolExecutor(2) as pool:
        leaving = pool.submit(engine.speak, TEXT, None, SpeechParams(seed=4), Recorder(1))
        staying = pool.submit(engine.speak, TEXT, None, PARAMS)
        assert np.array_equal(staying.result().waveform.samples, alone)
        assert isinstance(leaving.exception(), SpeechStopped)


def test_out_of_memory_once_goes_on_one_chunk_after_the_other(engine):
    expected = engine.speak(TEXT, None, PARAMS).waveform.samples
    listener = Recorder()
    failing = failing_at(engine, {3}, torch.OutOfMemoryError("CUDA out of memory"))
    speech = failing.speak(TEXT, None, PARAMS, listener)
    assert np.array_equal(speech.waveform.samples, expected)
    assert [piece.index for piece in listener.pieces] == list(range(listener.pieces[0].count))


def test_what_ran_out_of_memory_is_no_longer_decoded_when_it_is_tried_again(engine):
    """Else the second try, which is to take less memory, would run beside what is left of the first."""
    calls: list[Callable[[], bool]] = []
    decoder = make_decoder(engine.model)

    class Watched:
        def decode(self, requests, is_stopped):
            assert all(earlier() for earlier in calls[:1])
            calls.append(is_stopped)
            return decoder.decode(requests, is_stopped)

    failing = failing_at(engine, {1}, torch.OutOfMemoryError("CUDA out of memory"))
    SpeechEngine(failing.model, Watermarker(), Watched()).speak(TEXT, None, PARAMS)
    assert len(calls) > 2
    assert all(over() for over in calls)


def test_out_of_memory_twice_is_said(engine):
    failing = failing_at(engine, {2, 3}, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(OutOfMemory, match="shorter text"):
        failing.speak(TEXT, None, PARAMS)
    assert len(failing.speak("Yes.", None, PARAMS).waveform.samples) > 0


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
def test_what_the_gpu_does_is_told_by_its_kind(engine, error, kind):
    with pytest.raises(kind) as caught:
        failing_at(engine, {1}, error).speak("Yes.", None, PARAMS)
    assert type(caught.value) is kind


def test_memory_can_run_out_in_a_library_too():
    error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    assert gpu_fault(error) is GpuFault.MEMORY
    assert gpu_fault(ValueError("CUDA")) is None


def test_the_canary_sings(engine):
    engine.check()


def test_the_canary_that_is_silent_or_dead_says_so(engine):
    with pytest.raises(DeviceLost):
        failing_at(engine, {1}, RuntimeError("CUDA error: unspecified launch failure")).check()
    for value in (0.0, float("nan")):
        model = dataclasses.replace(
            engine.model, token_to_wave=lambda tokens, prompt, value=value: torch.full((24_000,), value)
        )
        with pytest.raises(ModelUnavailable, match="no sound"):
            SpeechEngine(model, Watermarker(), make_decoder(model)).check()
