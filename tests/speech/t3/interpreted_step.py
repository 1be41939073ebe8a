"""The fused step in Triton's interpreter, on a CPU, beside PyTorch's operators.

Not collected with the other tests: ``test_fused_step.py`` runs it in a process of its own, because Triton
decides when it is imported whether it interprets.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter

from speech.models import llama_t3
from speech.models.llama_t3 import LlamaT3
from speech.models.spec import CHATTERBOX
from speech.t3 import fused_step
from speech.t3.batch import RunningBatch
from speech.t3.fused_step import FusedStep, Gemv
from speech.t3.request import DecodeRequest
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from tests.speech.t3.requests import USUAL, decode_all, mixed_requests, request

STEPS = 2
STATE = ("_tokens", "_counts", "_positions", "_limits", "_spoken", "_done", "_seen")
UNGUIDED = dataclasses.replace(USUAL, cfg_weight=0.0)
WITH_TOP_P = dataclasses.replace(USUAL, top_p=0.7)
LONG_TEXT = "Many more words than one are in this text, and they take some time to speak."


@pytest.fixture(scope="module", autouse=True)
def _interpreter() -> Iterator[None]:
    """Mends the interpreter of Triton 3.6 and spares it most programs, of which each takes milliseconds.

    numpy 2.4 does not take the bound of a loop, an array of one number, for an integer.
    """
    real = interpreter._patch_lang_tensor

    def patched(tensor, scope):
        real(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang_tensor", patched)
        for name in ("QKV", "OUT", "GATE_UP", "DOWN"):
            patch.setattr(fused_step, name, Gemv(128, 1))
        patch.setattr(fused_step, "HEAD", Gemv(1024, 1))
        for name, value in {"LEAST_SPLITS": 1, "MOST_SPLITS": 2, "ROWS_TIMES_SPLITS": 4}.items():
            patch.setattr(fused_step, name, value)
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    """In float32, with its matrices as they are on a GPU."""
    checkpoint = Checkpoint(Path(os.environ["CHECKPOINT"]), None, may_be_unpublished=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama_t3, "pack", lambda weight: weight)
        return load_model(CHATTERBOX, checkpoint, torch.device("cpu"))


def plain_batch(t3: LlamaT3) -> RunningBatch:
    return RunningBatch(t3, 10, poll_every=1, graphs=False, capacity=256)


def fused_batch(t3: LlamaT3) -> RunningBatch:
    batch = plain_batch(t3)
    batch._fused = FusedStep(t3, batch._step_tensors(), pdl=False)
    return batch


def keep_results(owner: object, name: str, kept: list[Tensor]) -> None:
    """Appends to ``kept`` whatever the method returns."""
    real = getattr(owner, name)

    def method(*args):
        result = real(*args)
        kept.append(result.clone())
        return result

    setattr(owner, name, method)


def assert_equal_steps(t3: LlamaT3, requests: Sequence[DecodeRequest]) -> RunningBatch:
    """Compares all that a step leaves behind, and the logits on its way. Returns the fused batch."""
    plain, fused = plain_batch(LlamaT3(t3.weights, t3.spec)), fused_batch(t3)
    expected_logits: list[Tensor] = []
    found_logits: list[Tensor] = []
    keep_results(plain.t3, "step", expected_logits)
    keep_results(fused._fused, "logits", found_logits)
    for batch in (plain, fused):
        for one in requests:
            batch.add(one)
    rows = plain.used_rows
    with torch.inference_mode():
        for _ in range(STEPS):
            plain._step(), fused._step()
            torch.testing.assert_close(
                found_logits[-1][:rows], expected_logits[-1][:rows], rtol=1e-5, atol=2e-6
            )
            for name in STATE:
                assert torch.equal(getattr(fused, name), getattr(plain, name)), name
            torch.testing.assert_close(
                fused._cache[:, :, :rows], plain._cache[:, :, :rows], rtol=1e-5, atol=2e-6
            )
    return fused


@pytest.mark.parametrize("count", [1, 3])
def test_a_step_is_the_plain_step(model, count):
    texts = ("No.", LONG_TEXT, "Some words to speak.")
    assert_equal_steps(model.t3, [request(model, text, seed=seed) for seed, text in enumerate(texts[:count])])


def test_one_row_without_guidance_has_company(model):
    assert_equal_steps(model.t3, [request(model, sampling=UNGUIDED)])


def test_rows_with_and_without_guidance(model):
    requests = [
        request(model, seed=seed, sampling=each) for seed, each in enumerate((UNGUIDED, USUAL, UNGUIDED))
    ]
    assert_equal_steps(model.t3, requests)


def test_top_p_is_drawn_by_pytorch(model):
    requests = [request(model, seed=seed, sampling=each) for seed, each in enumerate((WITH_TOP_P, USUAL))]
    assert_equal_steps(model.t3, requests)


def test_another_order_of_the_sampler_is_drawn_by_pytorch(model):
    order = ("temperature", "min_p", "guidance", "repetition_penalty")
    t3 = LlamaT3(model.t3.weights, dataclasses.replace(CHATTERBOX, sampler=order))
    assert_equal_steps(t3, [request(model)])


def test_a_sequence_that_is_done_stays_where_it_is(model):
    fused = assert_equal_steps(model.t3, [request(model, max_tokens=STEPS - 1), request(model, seed=1)])
    assert fused._done[:2].tolist() == [True, False]
    assert fused._counts[:2].tolist() == [STEPS - 1, STEPS]


def test_the_stop_token_ends_a_sequence(model):
    batch = plain_batch(model.t3)
    batch.add(request(model))
    with torch.inference_mode():
        batch._step()
    stop = int(batch._tokens[0])
    tokens = dataclasses.replace(CHATTERBOX.tokens, stop_speech=stop)
    t3 = LlamaT3(model.t3.weights, dataclasses.replace(CHATTERBOX, tokens=tokens))
    fused = assert_equal_steps(t3, [request(model)])
    assert fused._spoken[0, 0] == stop
    assert fused._done[0]


def test_sequences_that_leave_and_join(model):
    limits = (2, 1, 3)
    requests = [
        dataclasses.replace(one, max_tokens=limit)
        for one, limit in zip(mixed_requests(model)[:3], limits, strict=True)
    ]
    expected, found = (
        decode_all(batch(model.t3), requests, steps_apart=1) for batch in (plain_batch, fused_batch)
    )
    for theirs, ours in zip(expected, found, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())


def test_logits_that_are_no_numbers_are_drawn_as_a_token(model):
    head = torch.full_like(model.t3.weights.head, torch.nan)
    t3 = LlamaT3(dataclasses.replace(model.t3.weights, head=head), model.spec)
    batch = fused_batch(t3)
    batch.add(request(model))
    with torch.inference_mode():
        batch._step()
    assert 0 <= int(batch._tokens[0]) < t3.vocabulary
