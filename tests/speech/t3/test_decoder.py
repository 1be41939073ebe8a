"""One batch, many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from speech.t3.batch import RunningBatch
from speech.t3.decoder import BatchDecoder
from tests.speech.t3.requests import mixed_requests, request


@pytest.fixture
def batch(our_model) -> RunningBatch:
    return RunningBatch(our_model.t3, 4, poll_every=1, graphs=False)


def test_more_requests_than_rows_from_several_threads(batch, our_model, upstream_decoder):
    requests = mixed_requests(our_model) * 3
    expected = upstream_decoder.decode(mixed_requests(our_model)) * 3
    decoder = BatchDecoder(batch)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: decoder.decode([one])[0], requests))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
    assert not batch.members


def test_a_short_text_does_not_wait_for_the_many_chunks_of_a_long_one(batch, our_model):
    decoder = BatchDecoder(batch, threads=2)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(decoder.decode, [request(our_model, seed=seed) for seed in range(20)])
        short = pool.submit(decoder.decode, [request(our_model, "No.")])
        assert short.result()[0].stopped
        assert not long.done()
        assert all(decoded.stopped for decoded in long.result())


def test_chunks_of_one_text_take_all_the_room_but_what_the_others_need(our_model, monkeypatch):
    batch = RunningBatch(our_model.t3, 10, poll_every=1, graphs=False)
    most, join = [0], batch.join

    def watched(one):
        most[0] = max(most[0], len(batch.members) + 1)
        return join(one)

    monkeypatch.setattr(batch, "join", watched)
    BatchDecoder(batch, threads=3).decode([request(our_model, seed=seed) for seed in range(8)])
    assert most == [3]  # of five, two are kept for two other threads
    BatchDecoder(batch, threads=1).decode([request(our_model, seed=seed) for seed in range(8)])
    assert most == [5]


def test_a_request_that_cannot_be_read_fails_alone(batch, our_model):
    decoder = BatchDecoder(batch)
    unknown = request(our_model, prompt_tokens=torch.full((1, 5), 9_999))
    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(decoder.decode, [request(our_model)])
        with pytest.raises(IndexError):
            decoder.decode([unknown])
    assert good.result()[0].stopped


def test_a_step_that_fails_is_told_to_all_and_the_next_job_runs(batch, our_model, monkeypatch):
    decoder = BatchDecoder(batch)

    def fail() -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(batch, "_step", fail)
        with pytest.raises(RuntimeError, match="out of luck"):
            decoder.decode([request(our_model), request(our_model, seed=1)])
    assert decoder.decode([request(our_model)])[0].stopped
