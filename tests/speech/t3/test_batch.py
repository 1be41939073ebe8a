"""Sequences that join and leave a running batch say what upstream says of each alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.models import llama_t3
from speech.t3 import batch as batch_module
from speech.t3.batch import RunningBatch
from speech.t3.request import Decoded
from speech.t3.sampling import Sampling
from speech.upstream import UpstreamBatch
from tests.speech.t3.requests import GraphsOnPaper, decode_all, finish, mixed_requests, request

UNGUIDED = Sampling(0.0, 0.8, 1.0, 0.05, 1.2)


def batch_of(model, rows: int = 10, **options) -> RunningBatch:
    return RunningBatch(model.t3, rows, **{"poll_every": 1, "graphs": False} | options)


@pytest.fixture(scope="module")
def expected(our_model, upstream_model) -> list[Decoded]:
    return decode_all(UpstreamBatch(upstream_model.t3, upstream_model.spec), mixed_requests(our_model))


def assert_equal(found: Decoded, expected: Decoded) -> None:
    assert torch.equal(found.tokens, expected.tokens)
    assert found.stopped == expected.stopped
    assert torch.equal(found.generator.get_state(), expected.generator.get_state())


@pytest.mark.parametrize("index", range(5))
def test_alone(our_model, expected, index):
    batch, one = batch_of(our_model), mixed_requests(our_model)[index]
    batch.add(one)
    assert_equal(finish(batch)[one], expected[index])


def test_in_a_slot_that_others_used_before(our_model, expected):
    batch = batch_of(our_model, rows=2)
    for one, theirs in zip(mixed_requests(our_model), expected, strict=True):
        batch.add(one)
        assert_equal(finish(batch)[one], theirs)


@pytest.mark.parametrize("poll_every", [1, 8])
@given(pauses=st.lists(st.integers(0, 30), min_size=5, max_size=5), order=st.permutations(range(5)))
@settings(max_examples=12, deadline=None)
def test_added_and_done_at_any_time(our_model, expected, poll_every, pauses, order):
    batch, requests = batch_of(our_model, poll_every=poll_every), mixed_requests(our_model)
    found = {}
    for index, pause in zip(order, pauses, strict=True):
        batch.add(requests[index])
        for _ in range(pause // poll_every):
            if batch.sequences:
                found |= {sequence.request: decoded for sequence, decoded in batch.step_many().items()}
    found |= finish(batch)
    for one, theirs in zip(requests, expected, strict=True):
        assert_equal(found[one], theirs)


@pytest.mark.parametrize("gone", range(5))
def test_a_sequence_that_is_removed_leaves_the_others_alone(our_model, expected, gone):
    batch, requests = batch_of(our_model), mixed_requests(our_model)
    sequences = [batch.add(one) for one in requests]
    for _ in range(4):
        batch.step_many()
    batch.remove([sequences[gone]])
    found = finish(batch)
    assert requests[gone] not in found
    for index, one in enumerate(requests):
        if index != gone:
            assert_equal(found[one], expected[index])


@pytest.mark.parametrize("poll_every", [2, 7, 8, 64])
def test_looking_at_the_device_every_few_steps_changes_neither_tokens_nor_generators(
    our_model, expected, poll_every
):
    """What is drawn past a sequence's end is taken back: S3Gen goes on with the generator."""
    found = decode_all(batch_of(our_model, poll_every=poll_every), mixed_requests(our_model))
    for ours, theirs in zip(found, expected, strict=True):
        assert_equal(ours, theirs)


@pytest.mark.parametrize("max_tokens", [1, 7, 8, 9, 16])
def test_a_sequence_at_its_limit_is_rewound_too(our_model, max_tokens):
    requests = mixed_requests(our_model, max_tokens)
    every_step = decode_all(batch_of(our_model), requests)
    every_eight = decode_all(batch_of(our_model, poll_every=8), requests)
    for found, theirs in zip(every_eight, every_step, strict=True):
        assert_equal(found, theirs)


def test_what_is_captured_at_the_start_is_what_usual_requests_need(our_model, expected, monkeypatch):
    paper = GraphsOnPaper()
    monkeypatch.setattr(batch_module, "StepGraphs", lambda device: paper)
    batch = batch_of(our_model, graphs=True)
    batch.capture()
    captured = set(paper.shapes)
    assert len(captured) == len(paper.shapes)
    assert paper.shapes[0] == (2, 1, 256, False)
    paper.shapes.clear()
    for count in (1, 2, 3, 5):
        for seed in range(count):
            batch.add(request(our_model, seed=seed, max_tokens=1000))
        finish(batch)
    assert len(set(paper.shapes)) > 3
    assert set(paper.shapes) <= captured
    # Capturing leaves nothing behind.
    for one, theirs in zip(mixed_requests(our_model), expected, strict=True):
        batch.add(one)
        assert_equal(finish(batch)[one], theirs)


def test_a_voice_that_is_not_a_number_spoils_nobody_elses_tokens(our_model, expected):
    """A damaged file of a stored voice, in rows that others move into and come into."""
    batch, others = batch_of(our_model), mixed_requests(our_model)
    one = request(our_model, "Many words, so that its rows are written far. " * 3, max_tokens=40)
    damaged = replace(one, speaker_embedding=torch.full_like(one.speaker_embedding, 1e38))
    spoiled = batch.add(damaged)
    batch.add(others[0])
    batch.step_many()
    assert not batch._cache[:, :, spoiled.row].isfinite().all()
    batch.remove([spoiled])
    found = finish(batch)
    for each in others[1:]:
        batch.add(damaged)
        found |= finish(batch)
        batch.add(each)
        found |= finish(batch)
    for each, theirs in zip(others, expected, strict=True):
        assert_equal(found[each], theirs)


@pytest.mark.parametrize("rows", [3, 10])
def test_what_a_request_brings_from_the_host_is_uploaded_without_waiting(our_model, monkeypatch, rows):
    """The maps between rows and slots in one copy, whose addresses Triton's kernels can take as they are."""
    uploads: list[tuple[int, ...]] = []

    def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        uploads.append(tuple(tensor.shape))
        return tensor

    for module in (batch_module, llama_t3):
        monkeypatch.setattr(module, "upload", upload)
    batch, one = batch_of(our_model, rows=rows), request(our_model)
    sequence = batch.add(one)
    of_voice = [tuple(one.prompt_tokens.shape), tuple(one.speaker_embedding.shape)]
    assert uploads == [tuple(one.text_tokens.shape), *of_voice, (3, rows + rows % 2)]
    maps = (batch._slot_of_row, batch._row_of_slot, batch._uncond_row_of_slot)
    assert [each[:2].tolist() for each in maps] == [[0, 0], [0, 0], [1, 0]]
    assert {len(each) for each in maps} == {rows}
    assert all((each.data_ptr() - maps[0].data_ptr()) % 16 == 0 for each in maps)
    uploads.clear()
    batch.remove([sequence])
    assert len(uploads) == 1


def test_without_guidance_a_request_takes_one_row(our_model):
    batch = batch_of(our_model, rows=3)
    batch.add(request(our_model))
    assert not batch.has_room_for(request(our_model))
    assert batch.has_room_for(request(our_model, sampling=UNGUIDED))
    assert not batch.has_room_for(request(our_model, sampling=UNGUIDED), spare_rows=1)
    batch.add(request(our_model, sampling=UNGUIDED))
    assert batch.used_rows == 3


def test_without_guidance_the_second_row_has_no_say(our_model):
    """What upstream computes of cond + 0 * (cond - uncond) with two rows, one row gives."""
    two_rows = Sampling(1e-30, *(getattr(UNGUIDED, name) for name in list(vars(UNGUIDED))[1:]))
    batch = batch_of(our_model)
    first, second = request(our_model, sampling=UNGUIDED), request(our_model, sampling=two_rows)
    batch.add(first), batch.add(second)
    assert batch.used_rows == 3
    found = finish(batch)
    assert torch.equal(found[first].tokens, found[second].tokens)


def test_a_text_that_leaves_little_room_is_cut_at_the_end_of_the_cache(our_model):
    batch = batch_of(our_model, capacity=96)
    one = request(our_model, "A text that takes its room. " * 2, max_tokens=400)
    batch.add(one)
    decoded = finish(batch)[one]
    assert not decoded.stopped
    assert 0 < len(decoded.tokens) < 96


def test_rows_that_are_not_in_use_cost_no_memory(our_model):
    """The cache of 400 rows would take 1.3 GB; on a CPU pages come when they are written."""
    before = resident_mb()
    decode_all(batch_of(our_model, rows=400), [request(our_model, max_tokens=5)])
    assert resident_mb() - before < 300


def resident_mb() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096 / 1e6
