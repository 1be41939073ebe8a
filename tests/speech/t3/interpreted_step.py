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

from speech.models import gpt2_t3, llama_t3
from speech.models.dimensions import TINY
from speech.models.gpt2_t3 import Gpt2T3
from speech.models.llama_t3 import LlamaT3
from speech.models.spec import CHATTERBOX, NANO, TURBO
from speech.models.t3 import T3
from speech.t3 import fused_step
from speech.t3.batch import RunningBatch
from speech.t3.fused_step import FUSED_STEPS, Gemv
from speech.t3.request import DecodeRequest
from speech.t3.sampling import Sampling
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from tests.speech.t3.requests import (
    USUAL,
    decode_all,
    mixed_requests,
    random_request,
    random_t3,
    request,
)

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
        for name in ("QKV", "OUT", "GATE_UP", "UP", "DOWN"):
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


def plain_batch(t3: T3) -> RunningBatch:
    return RunningBatch(t3, 10, poll_every=1, graphs=False, capacity=256)


def fused_batch(t3: T3) -> RunningBatch:
    batch = plain_batch(t3)
    batch._fused = FUSED_STEPS[t3.spec.family](t3, batch._step_tensors(), pdl=False)
    return batch


def keep_results(owner: object, name: str, kept: list[Tensor]) -> None:
    """Appends to ``kept`` whatever the method returns."""
    real = getattr(owner, name)

    def method(*args):
        result = real(*args)
        kept.append(result.clone())
        return result

    setattr(owner, name, method)


def assert_equal_steps(
    t3: LlamaT3 | Gpt2T3, requests: Sequence[DecodeRequest], atol: float = 2e-6
) -> RunningBatch:
    """Compares all that a step leaves behind, and the logits on its way. Returns the fused batch."""
    plain, fused = plain_batch(type(t3)(t3.weights, t3.spec)), fused_batch(t3)
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
                found_logits[-1][:rows], expected_logits[-1][:rows], rtol=1e-5, atol=atol
            )
            for name in STATE:
                assert torch.equal(getattr(fused, name), getattr(plain, name)), name
            torch.testing.assert_close(
                fused._cache[:, :, :rows], plain._cache[:, :, :rows], rtol=1e-5, atol=atol
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


SORTED = Sampling(temperature=0.8, top_p=0.95, repetition_penalty=1.2, top_k=1000)
UNSORTED = dataclasses.replace(SORTED, top_p=1.0, top_k=0)


def gpt2_t3_of(name: str) -> Gpt2T3:
    """In float32: tiny, or as wide as a published model."""
    spec = NANO if name == "nano" else TURBO
    dimensions = dataclasses.replace(spec.dimensions, t3_layers=2)
    if name == "tiny":
        dimensions = dataclasses.replace(TINY, t3_feed_forward=4 * TINY.t3_width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpt2_t3, "pack", lambda weight: weight)
        t3 = random_t3(spec, dimensions, torch.float32, torch.device("cpu"))
    assert isinstance(t3, Gpt2T3)
    return t3


def ragged(t3: T3, mix: Sequence[Sampling], max_tokens: int = 500) -> list[DecodeRequest]:
    """Requests whose prompts have other lengths, shorter ones than any voice of a published model."""
    return [
        random_request(
            t3.spec, seed, each, max_tokens=max_tokens, voice_tokens=3 + 41 * seed % 97, text_tokens=5 + seed
        )
        for seed, each in enumerate(mix)
    ]


@pytest.mark.parametrize("count", [1, 4])
def test_gpt2_with_and_without_company(count):
    t3 = gpt2_t3_of("tiny")
    assert_equal_steps(t3, ragged(t3, [SORTED, UNSORTED, UNSORTED, SORTED][:count]))


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", ["turbo", "nano"])
def test_gpt2_in_the_published_widths(name, count):
    t3 = gpt2_t3_of(name)
    assert_equal_steps(t3, ragged(t3, [SORTED] * count))


def test_gpt2_sequences_that_leave_and_join():
    """The batch has one row, then several, then others."""
    t3 = gpt2_t3_of("tiny")
    requests = [
        dataclasses.replace(one, max_tokens=limit)
        for one, limit in zip(ragged(t3, [SORTED, UNSORTED, SORTED, SORTED]), (3, 1, 4, 2), strict=True)
    ]
    expected, found = (decode_all(batch(t3), requests, steps_apart=1) for batch in (plain_batch, fused_batch))
    for theirs, ours in zip(expected, found, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())


def test_gpt2_a_sequence_that_is_done_stays_where_it_is():
    t3 = gpt2_t3_of("tiny")
    one, other = ragged(t3, [SORTED, UNSORTED])
    fused = assert_equal_steps(t3, [dataclasses.replace(one, max_tokens=STEPS - 1), other])
    assert fused._done[:2].tolist() == [True, False]
    assert fused._counts[:2].tolist() == [STEPS - 1, STEPS]
