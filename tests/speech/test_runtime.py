"""One batch, many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from speech.t3.batch import RunningBatch
from speech.t3.decoder import BatchDecoder
from speech.t3.request import Decoded, Decoder, DecodeRequest, DecodingStopped
from tests.speech.t3.requests import mixed_requests, request


def decode_all(decoder: Decoder, requests: list[DecodeRequest]) -> list[Decoded]:
    return list(decoder.decode(requests))


@pytest.fixture
def batch(our_model) -> RunningBatch:
    return RunningBatch(our_model.t3, 4, poll_every=1, graphs=False)


def test_more_requests_than_rows_from_several_threads(batch, our_model, upstream_decoder):
    requests = mixed_requests(our_model) * 3
    expected = list(upstream_decoder.decode(mixed_requests(our_model))) * 3
    decoder = BatchDecoder(batch)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: next(decoder.decode([one])), requests))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
    assert not batch.members


def test_a_short_text_does_not_wait_for_the_many_chunks_of_a_long_one(batch, our_model):
    decoder = BatchDecoder(batch, threads=2)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(decode_all, decoder, [request(our_model, seed=seed) for seed in range(20)])
        short = pool.submit(decode_all, decoder, [request(our_model, "No.")])
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
    decode_all(BatchDecoder(batch, threads=3), [request(our_model, seed=seed) for seed in range(8)])
    assert most == [3]  # of five, two are kept for two other threads
    decode_all(BatchDecoder(batch, threads=1), [request(our_model, seed=seed) for seed in range(8)])
    assert most == [5]


def test_a_request_that_cannot_be_read_fails_alone(batch, our_model):
    decoder = BatchDecoder(batch)
    unknown = request(our_model, prompt_tokens=torch.full((1, 5), 9_999))
    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(decode_all, decoder, [request(our_model)])
        with pytest.raises(IndexError):
            decode_all(decoder, [unknown])
    assert good.result()[0].stopped


def fail(*_: object) -> None:
    raise RuntimeError("out of luck")


def test_a_step_that_fails_is_told_to_all_and_the_next_job_runs(batch, our_model, monkeypatch):
    decoder = BatchDecoder(batch)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_step", fail)
        with pytest.raises(RuntimeError, match="out of luck"):
            decode_all(decoder, [request(our_model), request(our_model, seed=1)])
    assert next(decoder.decode([request(our_model)])).stopped


def test_when_nothing_works_any_more_every_job_hears_of_it(batch, our_model, monkeypatch):
    monkeypatch.setattr(batch, "_step", fail)
    monkeypatch.setattr(batch, "leave", fail)
    decoder = BatchDecoder(batch)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of luck"):
            decode_all(decoder, [request(our_model, seed=seed) for seed in range(5)])


def test_what_is_stopped_makes_room_for_who_waits(batch, our_model):
    decoder = BatchDecoder(batch)
    steps = []

    def is_stopped() -> bool:
        steps.append(None)
        return len(steps) > 5

    stopped = decoder.decode([request(our_model, seed=seed, max_tokens=400) for seed in range(9)], is_stopped)
    (alone,) = decoder.decode([request(our_model)])
    (expected,) = BatchDecoder(RunningBatch(our_model.t3, 4, poll_every=1, graphs=False)).decode(
        [request(our_model)]
    )
    assert torch.equal(alone.tokens, expected.tokens)
    with pytest.raises(DecodingStopped):
        list(stopped)
