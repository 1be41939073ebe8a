"""Jobs whose chunks are rendered while they are decoded."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cancel import CancelToken
from errors import Cancelled
from speech.pipeline import make_synthesizer
from speech.runtime import ChunkRequest, DeviceRuntime, RenderedAudio, _HostCopy
from speech.s3gen.s3gen import PieceRequest, RenderRequest
from speech.s3gen.stream import piece_end
from speech.t3.batch import RunningBatch
from speech.t3.request import Decoded
from tests.speech.conftest import CPU
from tests.speech.runtimes import ConstantBatch, FlakyBatch, WatchedBatch, chunk, held, one_model
from tests.speech.speaking import PAGE, join, speak
from tests.speech.t3.requests import decode_all, request

WORDS = "More words, many of them, are spoken here by us, and none of them is of any use to anybody."


class TokensSoFar:
    """A renderer whose samples are all of a request's tokens."""

    def __init__(self, on_render: Callable[[], object] = lambda: None) -> None:
        self._on_render = on_render

    def render(self, requests: Sequence[RenderRequest | PieceRequest]) -> list[Tensor]:
        self._on_render()
        return [each.tokens.float() for each in requests]


@pytest.fixture
def batch(our_model) -> RunningBatch:
    return RunningBatch(our_model.t3, 8, poll_every=1, graphs=False)


@pytest.fixture
def start() -> Iterator[Callable[..., DeviceRuntime]]:
    with ExitStack() as stack:

        def start(batch: Any, renderer: Any) -> DeviceRuntime:
            return stack.enter_context(
                closing(DeviceRuntime(CPU, one_model(lambda: batch, renderer), max_jobs=2))
            )

        yield start


def in_pieces(request: ChunkRequest) -> ChunkRequest:
    return replace(request, in_pieces=True)


def stream(
    runtime: DeviceRuntime, chunks: Sequence[ChunkRequest], cancel: CancelToken | None = None
) -> list[RenderedAudio]:
    return list(runtime.speak([in_pieces(each) for each in chunks], cancel or CancelToken()))


def by_chunk(rendered: Sequence[RenderedAudio]) -> list[list[list[int]]]:
    """The samples of each piece as numbers, the pieces of each chunk together."""
    chunks: list[list[list[int]]] = [[]]
    for each in rendered:
        chunks[-1].append(each.samples.astype(int).tolist())
        if each.ends_chunk:
            chunks.append([])
    assert chunks.pop() == []
    return chunks


def expected_pieces(batch: Any, model: Any, index: int, **options: Any) -> list[list[int]]:
    """The tokens that the pieces of a chunk are rendered from: those of the whole, up to each end."""
    (decoded,) = decode_all(batch, [request(model, **options)])
    tokens = decoded.speech().tolist()
    ends = [piece_end(piece, is_first_chunk=index == 0) for piece in range(20)]
    return [tokens[:end] for end in ends if end < len(tokens)] + [tokens]


@pytest.mark.parametrize("poll_every", [1, 8])
def test_pieces_have_the_tokens_of_the_whole(start, our_model, poll_every):
    """The hop changes no token, and a piece ends at the same one however the decoding is looked at."""
    batch = RunningBatch(our_model.t3, 8, poll_every=poll_every, graphs=False)
    expected = [expected_pieces(batch, our_model, index, text=WORDS, seed=index) for index in range(2)]
    runtime = start(batch, TokensSoFar())
    found = stream(runtime, [chunk(our_model, WORDS, seed=seed) for seed in range(2)])
    assert by_chunk(found) == expected
    assert len(expected[0]) > 2


def test_the_first_piece_comes_while_the_chunk_is_decoded(start, batch, our_model):
    (decoded,) = decode_all(batch, [request(our_model, WORDS)])
    steps, renderings = [], []
    watched = WatchedBatch(batch, on_step=lambda: steps.append(None))
    runtime = start(watched, TokensSoFar(on_render=lambda: renderings.append(len(steps))))
    stream(runtime, [chunk(our_model, WORDS)])
    assert renderings[0] <= 2 * piece_end(0, is_first_chunk=True)  # T3's own marks are no tokens to render
    assert renderings[0] < len(decoded.tokens) < len(steps) + 1


def test_chunks_and_pieces_of_several_jobs_keep_their_order(start, batch, our_model):
    expected = expected_pieces(batch, our_model, 0, text=WORDS, seed=3)
    runtime = start(batch, TokensSoFar())
    whole: list[RenderedAudio] = []
    other = threading.Thread(
        target=lambda: whole.extend(runtime.speak([chunk(our_model, WORDS, seed=3)] * 2, CancelToken()))
    )
    other.start()
    found = stream(runtime, [chunk(our_model, WORDS, seed=3)])
    other.join()
    assert by_chunk(found) == [expected]
    assert by_chunk(whole) == [[expected[-1]], [expected[-1]]]


def test_later_pieces_wait_for_what_is_under_way_and_for_nothing_that_comes_later(
    start, our_model, monkeypatch
):
    """Whole chunks keep coming, one in each round: there is always a rendering under way."""
    looks: Counter[_HostCopy] = Counter()

    def is_ready(copy: _HostCopy) -> bool:
        looks[copy] += 1
        return looks[copy] > 1

    class Notes(TokensSoFar):
        """Notes of each piece how many whole chunks came before it, and what was under way then."""

        def __init__(self) -> None:
            super().__init__()
            self.whole, self.before, self.under_way = 0, [], []

        def render(self, requests: Sequence[RenderRequest | PieceRequest]) -> list[Tensor]:
            pieces = sum(isinstance(each, PieceRequest) for each in requests)
            self.before += [self.whole] * pieces
            self.under_way += [len(runtime._rendering)] * pieces
            self.whole += len(requests) - pieces
            return super().render(requests)

    monkeypatch.setattr(_HostCopy, "is_ready", is_ready)
    notes, count = Notes(), 100
    runtime = start(ConstantBatch(range(450)), notes)
    with ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            whole = pool.submit(lambda: list(runtime.speak([chunk(our_model)] * count, CancelToken())))
            wait_for(1)
            streamed = pool.submit(stream, runtime, [chunk(our_model)])
            wait_for(2)
        assert [len(each.samples) for each in streamed.result()] == [15, 40, 90, 190, 290, 390, 450]
        assert len(whole.result()) == count
    assert all(notes.under_way[1:]), "no piece was rendered because nothing was under way"
    waits = [after - before for before, after in pairwise(notes.before)]
    # A round starts one whole chunk and ends one rendering: as many are under way at a piece's turn as were
    # when it became ready.
    assert all(1 < wait <= most + 1 for wait, most in zip(waits, notes.under_way[1:], strict=True)), waits


def test_a_chunk_that_runs_on_is_not_taken_back_once_a_piece_is_there(start, batch, our_model):
    flaky = FlakyBatch(batch, failures=1)
    found = stream(start(flaky, TokensSoFar()), [chunk(our_model, WORDS, attempts=2)])
    assert len(flaky.seeds) == 1
    assert found[-1].failures == ("ran on and was cut",)
    assert found[-1].attempts == 1
    assert all(not each.failures for each in found[:-1])


def test_a_chunk_that_fails_before_its_first_piece_is_decoded_again(start, our_model):
    class EmptyAtFirst(FlakyBatch):
        def speech_so_far(self, sequence: Any, at_least: int) -> None:
            """As if nothing had been decoded yet."""

        def step_many(self):
            return {
                sequence: decoded if decoded.stopped else replace(decoded, tokens=decoded.tokens[:0])
                for sequence, decoded in super().step_many().items()
            }

    batch = RunningBatch(our_model.t3, 8, poll_every=1, graphs=False)
    expected = expected_pieces(batch, our_model, 0, text=WORDS, seed=1)
    found = stream(
        start(EmptyAtFirst(batch, failures=1), TokensSoFar()), [chunk(our_model, WORDS, attempts=2)]
    )
    assert by_chunk(found) == [expected]
    assert found[-1].failures == ("came out empty",)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_memory_that_runs_out_loses_no_piece_and_repeats_none(start, batch, our_model, failing):
    calls = []

    def run_out_of_memory() -> None:
        calls.append(None)
        if len(calls) == failing + 1:
            raise torch.OutOfMemoryError

    expected = [expected_pieces(batch, our_model, index, text=WORDS, seed=index) for index in range(2)]
    runtime = start(batch, TokensSoFar(on_render=run_out_of_memory))
    found = stream(runtime, [chunk(our_model, WORDS, seed=seed) for seed in range(2)])
    assert by_chunk(found) == expected


def fail_once(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    """The function, which runs out of memory after one of its calls."""
    calls = []

    def wrapped(*arguments: Any) -> Any:
        result = function(*arguments)
        calls.append(None)
        if len(calls) == call:
            raise torch.OutOfMemoryError
        return result

    return wrapped


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("place", ["after rendering", "while copying"])
def test_memory_that_runs_out_changes_no_sample(start, our_model, monkeypatch, place, call):
    """Whatever of the piece was done by then."""

    def speak_once() -> np.ndarray:
        batch = RunningBatch(our_model.t3, 8, poll_every=1, graphs=False)
        chunks = [chunk(our_model, WORDS, seed=seed) for seed in range(2)]
        return np.concatenate([each.samples for each in stream(start(batch, our_model.s3gen), chunks)])

    expected = speak_once()
    if place == "after rendering":
        monkeypatch.setattr(our_model.s3gen, "render", fail_once(our_model.s3gen.render, call))
    else:
        monkeypatch.setattr(_HostCopy, "of", fail_once(_HostCopy.of, call))
    np.testing.assert_allclose(speak_once(), expected, atol=1e-5)


class RunsOn(ConstantBatch):
    """A batch whose first answer runs on. is_slow: tells of the tokens before it answers."""

    def __init__(self, tokens: Sequence[int], *, is_slow: bool) -> None:
        super().__init__(tokens)
        self._steps_before_answer = 2 if is_slow else 0

    def step_many(self) -> dict[Any, Decoded]:
        if self._steps_before_answer:
            self._steps_before_answer -= 1
            return {}
        return {
            each: replace(decoded, stopped=each.seed != 0) for each, decoded in super().step_many().items()
        }

    def speech_so_far(self, sequence: Any, at_least: int) -> Tensor | None:
        return self._tokens if len(self._tokens) >= at_least else None


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize(("tokens", "attempts"), [(15, 2), (16, 1)])
def test_whether_a_chunk_is_decoded_again_depends_on_its_tokens_alone(
    start, our_model, tokens, attempts, is_slow
):
    """Not on whether a piece of it was rendered by then, which others on the device decide."""
    batch = RunsOn(range(tokens), is_slow=is_slow)
    found = stream(start(batch, TokensSoFar()), [chunk(our_model, WORDS, attempts=2)])
    assert found[-1].attempts == attempts
    assert found[-1].failures == ("ran on and was cut",)


def test_a_stream_that_nobody_reads_ends(start, batch, our_model):
    runtime = start(batch, TokensSoFar())
    cancel = CancelToken()
    pieces = runtime.speak([in_pieces(chunk(our_model, WORDS))], cancel)
    next(pieces)
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        list(pieces)
    assert by_chunk(stream(runtime, [chunk(our_model)]))
    assert not batch.sequences


def test_a_stream_has_the_samples_of_its_chunks_and_the_same_each_time(our_model, watermarker, synthesizer):
    """Whoever else is served."""
    alone = speak(synthesizer, PAGE[:300], hop="stream")
    busy = make_synthesizer(our_model, watermarker, max_concurrency=2)
    with closing(busy):
        other = threading.Thread(target=lambda: speak(busy, PAGE[:200], seed=1, hop="stream"))
        other.start()
        beside = speak(busy, PAGE[:300], hop="stream")
        other.join()
    np.testing.assert_allclose(join(beside), join(alone), atol=1e-5)


def test_pieces_say_which_chunk_they_belong_to(synthesizer):
    chunks = speak(synthesizer, PAGE[:300], hop="stream")
    ends = [chunk for chunk in chunks if chunk.ends_chunk]
    assert len(chunks) > len(ends) > 1
    assert [chunk.index for chunk in ends] == list(range(ends[0].count))
    assert [chunk.index for chunk in chunks] == sorted(chunk.index for chunk in chunks)
    assert len({(chunk.index, chunk.text) for chunk in chunks}) == len(ends)
    assert all(chunk.pause_after_s == 0 for chunk in chunks if not chunk.ends_chunk)
    assert all(chunk.pause_after_s > 0 for chunk in ends[:-1])
    assert " ".join(chunk.text for chunk in ends) == PAGE[:300].strip()


def test_a_marked_stream_is_as_long_as_the_unmarked(synthesizer):
    chunks = speak(synthesizer, PAGE[:300], hop="stream")
    marked = list(synthesizer.watermark(iter(chunks)))
    for index in range(chunks[0].count):
        before, after = (
            sum(len(chunk.waveform.samples) for chunk in each if chunk.index == index)
            for each in (chunks, marked)
        )
        assert before == after


def test_a_first_chunk_is_short(synthesizer):
    sentence = "One of the sentences that are all alike and of some length, so that three are too long. "
    whole, streamed = (speak(synthesizer, sentence * 6, hop=hop) for hop in ("whole", "stream"))
    assert len(streamed[0].text) < len(whole[0].text)
