"""Turbo's T3 in the running batch, against upstream's ``T3.inference_turbo``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from speech.models.spec import TURBO
from speech.pipeline import make_batch
from speech.t3 import batch as batch_module
from speech.t3.batch import RunningBatch
from speech.t3.sampling import Sampling
from speech.weights.load import load_model
from tests.speech.t3.requests import GraphsOnPaper, decode_all, finish, request

USUAL = Sampling(temperature=0.8, top_p=0.95, repetition_penalty=1.2, top_k=1000)
OTHER_VOICE = torch.randint(0, 6561, (1, 80), generator=torch.Generator().manual_seed(1))


def requests(model, max_tokens=200):
    """Of different lengths, voices, parameters and seeds."""
    return [
        request(model, "Some words to speak.", sampling=USUAL, max_tokens=max_tokens),
        request(
            model,
            "More words, many of them, are spoken here by us.",
            seed=1,
            sampling=replace(USUAL, temperature=1.0, top_k=0),
            max_tokens=max_tokens,
        ),
        request(
            model,
            "No. [laugh]",
            seed=2,
            prompt_tokens=OTHER_VOICE,
            sampling=replace(USUAL, top_p=0.6, repetition_penalty=1.0, top_k=40),
            max_tokens=max_tokens,
        ),
        request(
            model,
            "Rows of different lengths, one after the other.",
            seed=2**63 - 1,
            sampling=replace(USUAL, temperature=1.7, top_p=1.0, repetition_penalty=2.0),
            max_tokens=max_tokens,
        ),
        request(
            model,
            "The last is greedy.",
            seed=4,
            sampling=replace(USUAL, temperature=0.0),
            max_tokens=max_tokens,
        ),
    ]


@pytest.fixture(scope="module")
def expected(upstream_turbo):
    return decode_all(make_batch(upstream_turbo), requests(upstream_turbo))


@pytest.mark.parametrize("poll_every", [1, 8])
@pytest.mark.parametrize("steps_apart", [None, 0, 3])
def test_tokens_are_upstreams_alone_and_in_company(turbo, expected, poll_every, steps_apart):
    ours = RunningBatch(turbo.t3, 8, poll_every=poll_every, graphs=False)
    if steps_apart is None:
        found = [decode_all(ours, [one])[0] for one in requests(turbo)]
    else:
        found = decode_all(ours, requests(turbo), steps_apart)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine.tokens, theirs.tokens)
        assert mine.stopped == theirs.stopped
        assert torch.equal(mine.generator.get_state(), theirs.generator.get_state())


def test_the_untrained_models_length_follows_its_text_and_not_its_voice(turbo, expected):
    assert all(decoded.stopped for decoded in expected)
    for decoded, one in zip(expected, requests(turbo), strict=True):
        assert 0.8 < len(decoded.tokens) / len(one.text_tokens) < 3.0


def test_a_stop_that_is_drawn_first_ends_nothing(turbo, upstream_turbo):
    """As in upstream's loop, which looks at what it draws from the second token on."""

    model = upstream_turbo.t3
    kept = model.speech_head.bias.detach().clone()
    stop = turbo.spec.tokens.stop_speech
    with torch.no_grad():
        model.speech_head.bias[stop] = 1e4
    try:
        (theirs,) = decode_all(make_batch(upstream_turbo), [request(turbo, sampling=USUAL)])
    finally:
        with torch.no_grad():
            model.speech_head.bias.copy_(kept)
    weights = turbo.t3.weights
    bias = weights.head[1].clone()
    bias[stop] = 1e4
    t3 = type(turbo.t3)(replace(weights, head=(weights.head[0], bias)), turbo.spec)
    batch = RunningBatch(t3, 2, poll_every=1, graphs=False)
    (mine,) = decode_all(batch, [request(turbo, sampling=USUAL)])
    assert torch.equal(mine.tokens, theirs.tokens)
    assert mine.tokens.tolist() == [stop]
    assert mine.stopped
    assert len(mine.speech()) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_long_text_of_the_untrained_model_ends_in_either_dtype(turbo_checkpoint, dtype):
    model = load_model(TURBO, turbo_checkpoint, torch.device("cpu"), dtype)
    one = request(model, "a" * 200, sampling=USUAL, max_tokens=TURBO.max_speech_tokens)
    (decoded,) = decode_all(make_batch(model), [one])
    assert decoded.stopped
    assert 1.0 < len(decoded.tokens) / len(one.text_tokens) < 2.0


def test_what_is_captured_at_the_start_is_what_usual_requests_need(turbo, monkeypatch):
    paper = GraphsOnPaper()
    monkeypatch.setattr(batch_module, "StepGraphs", lambda device: paper)
    batch = RunningBatch(turbo.t3, 8, poll_every=8, graphs=True)
    batch.capture()
    captured = set(paper.shapes)
    assert max(length for _, _, length, _ in captured) == 1024  # the longest prompt has 376 positions
    paper.shapes.clear()
    for count in (1, 2, 3, 5):
        for seed in range(count):
            batch.add(request(turbo, seed=seed))
        finish(batch)
    assert len(set(paper.shapes)) >= 4
    assert set(paper.shapes) <= captured


def test_greedy_is_greedy_without_limits_as_well(turbo):
    """No draw decides then, so that the seed does not matter."""
    greedy = replace(USUAL, temperature=0.0, top_p=1.0, top_k=0)
    batch = RunningBatch(turbo.t3, 2, poll_every=1, graphs=False)
    first, second = (
        decode_all(batch, [request(turbo, seed=seed, sampling=greedy, max_tokens=20)])[0] for seed in (0, 1)
    )
    assert torch.equal(first.tokens, second.tokens)
