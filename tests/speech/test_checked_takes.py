"""A model whose attention follows the text: times of its words, and takes that are checked by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cancel import CancelToken
from speech.contract import AudioChunk, Hop, Take, Utterance
from speech.models.spec import CHATTERBOX, TURBO
from speech.pipeline import ChatterboxSynthesizer, make_batch, make_synthesizer
from speech.runtime import MAX_PREFILLS, _Chunk
from speech.s3gen.stream import piece_end
from speech.smoke import FOLLOWING_HEAD, following_places, write_smoke_checkpoint
from speech.t3.request import Decoded
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.heads import heads_path, read_heads
from speech.weights.load import Model, load_model
from tests.speech.conftest import CPU
from tests.speech.runtimes import FlakyBatch, TamperedBatch, WatchedBatch
from tests.speech.speaking import join
from tests.speech.t3.requests import decode_all

TEXT = "My brother sold his boat and bought a farm beside the lake."
SHORT = "Yes, no."
Build = Callable[..., ChatterboxSynthesizer]
Change = Callable[[Decoded], Decoded]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("follows")
    write_smoke_checkpoint(folder, follows_text=True)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(CHATTERBOX, Checkpoint(folder, None, may_be_unpublished=True), CPU)


@pytest.fixture(scope="module")
def synthesizer(model: Model, watermarker: Watermarker) -> Iterator[ChatterboxSynthesizer]:
    """It has looked for heads; those that are built afterwards read what it has found."""
    with closing(make_synthesizer(model, watermarker)) as synthesizer:
        synthesizer.check()
        yield synthesizer


def speak(
    synthesizer: ChatterboxSynthesizer, text: str = TEXT, seed: int = 7, hop: Hop = "whole", **options: Any
) -> list[AudioChunk]:
    utterance = Utterance(text, synthesizer.builtin_voice(), seed, **options)
    return list(synthesizer.synthesize([utterance], CancelToken(), hop=hop))


def cut_end(decoded: Decoded) -> Decoded:
    return replace(decoded, tokens=decoded.tokens[: len(decoded.tokens) // 2])


def say_again(decoded: Decoded) -> Decoded:
    tokens, end = decoded.tokens, 2 * len(decoded.tokens) // 3
    return replace(decoded, tokens=torch.cat([tokens[:end], tokens[end // 2 :]]))


def leave_out(decoded: Decoded) -> Decoded:
    tokens, third = decoded.tokens, len(decoded.tokens) // 3
    return replace(decoded, tokens=torch.cat([tokens[:third], tokens[2 * third :]]))


def hold(decoded: Decoded) -> Decoded:
    tokens = decoded.tokens
    return replace(decoded, tokens=torch.cat([tokens[:30], tokens[30].expand(50), tokens[30:]]))


def run_on(decoded: Decoded) -> Decoded:
    return replace(decoded, stopped=False)


def tampered(build: Build, model: Model, changes: dict[int, Change], **options: Any) -> ChatterboxSynthesizer:
    return build(model, lambda batch: TamperedBatch(batch, changes), **options)


def codes(chunk: AudioChunk) -> list[tuple[int, tuple[str, ...], bool]]:
    return [(take.seed, take.faults, take.used) for take in chunk.takes]


def test_the_head_that_follows_is_found_and_kept_beside_the_weights(synthesizer, folder, model):
    assert synthesizer.info.can_align
    file = folder / CHATTERBOX.files.t3
    kept = read_heads(file, model.dimensions.t3_layers, model.dimensions.t3_heads)
    assert kept is not None
    assert kept.heads == (FOLLOWING_HEAD,)
    assert kept.silence


def test_the_same_weights_have_the_same_heads(synthesizer, folder, model, watermarker):
    """Looked for again; a file that was damaged is as none."""
    file = heads_path(folder / CHATTERBOX.files.t3)
    before = file.read_text()
    for content in ("", "{", "[]", json.dumps({**json.loads(before), "heads": [[99, 0]]})):
        file.write_text(content)
        with closing(make_synthesizer(model, watermarker)) as again:
            assert not again.info.can_align
            again.check()
            assert again.info.can_align
        assert file.read_text() == before


def test_heads_of_other_weights_are_not_read(synthesizer, folder, tmp_path):
    name = CHATTERBOX.files.t3
    write_smoke_checkpoint(tmp_path, seed=1)
    heads_path(tmp_path / name).write_bytes(heads_path(folder / name).read_bytes())
    assert read_heads(tmp_path / name, 2, 2) is None


def test_random_weights_follow_nothing(our_model, watermarker):
    with closing(make_synthesizer(our_model, watermarker)) as synthesizer:
        synthesizer.check()
        assert not synthesizer.info.can_align
        (chunk,) = speak(synthesizer, align=True)
    assert chunk.alignment is None
    assert [take.used for take in chunk.takes] == [True]


def each_tick(decoded: Decoded) -> Decoded:
    """The token of each tick once: decoding holds some and leaves some out."""
    return replace(decoded, tokens=torch.arange(len(decoded.tokens)))


def test_text_tokens_end_within_40_ms_of_where_the_head_leaves_them(build: Build, model, synthesizer):
    steady = tampered(build, model, {7: each_tick})
    (chunk,) = speak(steady, align=True)
    assert chunk.alignment is not None
    assert len(chunk.alignment.ends_s) == len(TEXT)
    places = following_places(torch.arange(200)).numpy().round()
    expected_s = 0.04 * np.searchsorted(places, np.arange(len(TEXT) - 1), side="right")
    assert np.abs(np.array(chunk.alignment.ends_s[:-1]) - expected_s).max() <= 0.04 + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_text_tokens_of_what_was_decoded_end_near_where_the_head_leaves_them(synthesizer, model, seed):
    """Half of them within 40 ms, and all within 80: the head itself wavers by a tick."""
    utterance = Utterance(TEXT, synthesizer.builtin_voice(), seed)
    (decoded,) = decode_all(make_batch(model), [synthesizer._request(TEXT, utterance, 0, "whole").decode])
    places = np.maximum.accumulate(following_places(decoded.speech()).numpy().round())
    expected_s = 0.04 * np.searchsorted(places, np.arange(len(TEXT) - 1), side="right")
    (chunk,) = speak(synthesizer, seed=seed, align=True)
    assert chunk.alignment is not None
    errors_s = np.abs(np.array(chunk.alignment.ends_s[:-1]) - expected_s)
    assert np.median(errors_s) <= 0.04 + 1e-9
    assert errors_s.max() <= 0.08 + 1e-9


def test_characters_have_times_within_the_audio(synthesizer):
    for hop in ("whole", "stream"):
        chunks = speak(synthesizer, "well, it’s “fine”; and  Füße are feet", hop=hop, align=True)
        assert all(chunk.alignment is None for chunk in chunks[:-1])
        assert chunks[-1].alignment is not None
        times = chunks[-1].alignment.character_times()
        places, times_s = zip(*times, strict=True)
        assert list(places) == sorted(set(places))
        assert list(times_s) == sorted(times_s)
        assert places[-1] == len(chunks[-1].text)
        assert times_s[-1] == pytest.approx(sum(chunk.duration_s for chunk in chunks), abs=0.25)


def test_who_does_not_ask_gets_no_alignment(synthesizer):
    (chunk,) = speak(synthesizer)
    assert chunk.alignment is None
    assert chunk.takes == (Take(7, (), used=True),)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (cut_end, "end_missing"),
        (say_again, "repeats"),
        (leave_out, "skips"),
        (hold, "stuck"),
        (run_on, "ran_on"),
    ],
)
def test_a_take_with_a_fault_is_taken_again(build: Build, model, synthesizer, change, code):
    faulty = tampered(build, model, {7: change})
    (chunk,) = speak(faulty)
    assert codes(chunk) == [(7, (code,), False), (8, (), True)]
    (good,) = speak(synthesizer, seed=8)
    assert np.array_equal(chunk.waveform.samples, good.waveform.samples)
    assert chunk.warnings[0].endswith("so the next seed was tried, and was spoken well then")


def test_the_best_take_is_used_when_none_is_good(build: Build, model):
    """With its own tokens and with the noise of its own seed."""
    changes: dict[int, Change] = {
        7: run_on,
        8: lambda decoded: run_on(cut_end(decoded)),
        9: hold,
        10: cut_end,
        11: hold,
    }
    faulty = tampered(build, model, changes)
    (chunk,) = speak(faulty, max_takes=5)
    assert [(take.seed, take.used) for take in chunk.takes] == [
        (7, False),
        (8, False),
        (9, True),
        (10, False),
        (11, False),
    ]
    assert chunk.takes[1].faults == ("ran_on", "end_missing")
    (alone,) = speak(faulty, seed=9, max_takes=1)
    assert np.array_equal(chunk.waveform.samples, alone.waveform.samples)
    assert "4 more seeds were tried, and the best take stayed at one place" in chunk.warnings[0]


@pytest.mark.parametrize("max_takes", [1, 2, 5])
def test_no_more_takes_than_were_asked_for(build: Build, model, max_takes):
    flaky: list[FlakyBatch] = []

    def wrap(batch: Any) -> FlakyBatch:
        flaky.append(FlakyBatch(batch, failures=9))
        return flaky[0]

    (chunk,) = speak(build(model, wrap), max_takes=max_takes)
    assert flaky[0].seeds == list(range(7, 7 + max_takes))
    assert len(chunk.takes) == max_takes
    assert len(chunk.warnings) == 1


def test_a_stream_takes_again_what_is_wrong_before_its_first_audio(build: Build, model, synthesizer):
    """A chunk of so few tokens that no piece of it has been handed over."""
    first_end = piece_end(0, is_first_chunk=True)
    faulty = tampered(
        build,
        model,
        {7: lambda decoded: replace(decoded, tokens=decoded.tokens[:first_end])},
    )
    chunks = speak(with_slow_telling(faulty), hop="stream")
    assert codes(chunks[-1]) == [(7, ("end_missing", "too_short"), False), (8, (), True)]
    np.testing.assert_array_equal(join(chunks), join(speak(synthesizer, seed=8, hop="stream")))


def with_slow_telling(synthesizer: ChatterboxSynthesizer) -> ChatterboxSynthesizer:
    """Lets batches tell of no tokens before the last, which would belong to no answer that was changed."""
    for batch in synthesizer._runtime._batches.values():
        batch.speech_so_far = lambda *_: None  # type: ignore[method-assign]
    return synthesizer


@pytest.mark.parametrize("change", [cut_end, say_again, leave_out, hold, run_on])
def test_a_stream_tells_of_faults_that_come_later(build: Build, model, change):
    (take,) = speak(with_slow_telling(tampered(build, model, {7: change})), hop="stream")[-1].takes
    assert take.used
    assert take.faults


def test_a_stream_that_is_told_of_a_fault_has_the_audio_that_was_handed_over(
    build: Build, model, synthesizer
):
    faulty = tampered(build, model, {7: run_on})
    chunks = speak(faulty, hop="stream")
    assert codes(chunks[-1]) == [(7, ("ran_on",), True)]
    assert all(not chunk.takes for chunk in chunks[:-1])
    assert chunks[-1].warnings == ("segment 1 of 1 ran on and was cut; listen to it",)
    np.testing.assert_array_equal(join(chunks), join(speak(synthesizer, hop="stream")))


def test_the_last_of_a_streams_takes_is_used_once_it_is_handed_over(build: Build, model):
    """Even where an earlier one, of a few tokens, has a smaller fault."""
    changes: dict[int, Change] = {
        7: lambda decoded: replace(decoded, tokens=decoded.tokens[:9]),
        8: lambda decoded: run_on(cut_end(decoded)),
    }
    chunks = speak(with_slow_telling(tampered(build, model, changes)), SHORT + " " + TEXT[:12], hop="stream")
    assert [take.used for take in chunks[-1].takes] == [False, True]


def test_what_a_job_says_does_not_depend_on_the_others(build: Build, model):
    changes: dict[int, Change] = {7: cut_end, 20: hold, 21: say_again}
    alone = [speak(tampered(build, model, changes), TEXT, seed) for seed in (7, 20, 40)]
    busy = tampered(build, model, changes, max_jobs=3)
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda seed: speak(busy, TEXT, seed), (7, 20, 40)))
    for expected, found in zip(alone, together, strict=True):
        assert [codes(chunk) for chunk in found] == [codes(chunk) for chunk in expected]
        np.testing.assert_allclose(join(found), join(expected), atol=1e-5)


class CountedBatch(WatchedBatch):
    """A batch that counts what stops those that decode, between two of their steps."""

    def __init__(self, batch: Any) -> None:
        self.counts = [0]
        super().__init__(batch, on_add=self._count, on_step=lambda: self.counts.append(0))

    def attention_to_text(self, *arguments: Any) -> Any:
        self._count()
        return self._batch.attention_to_text(*arguments)

    def _count(self) -> None:
        if self._batch.sequences:  # else it stops nobody
            self.counts[-1] += 1


def test_prompts_and_passes_together_are_few_between_two_steps(build: Build, model, synthesizer):
    counted: list[CountedBatch] = []

    def wrap(batch: Any) -> CountedBatch:
        counted.append(CountedBatch(batch))
        return counted[0]

    busy = build(model, wrap, max_jobs=6)
    with ThreadPoolExecutor(6) as pool:
        for chunks in pool.map(lambda seed: speak(busy, SHORT, seed), range(18)):
            assert all(take.used for take in chunks[-1].takes[-1:])
    assert sum(counted[0].counts) >= 18
    assert max(counted[0].counts) <= MAX_PREFILLS


class PassOutOfMemory(WatchedBatch):
    """A batch whose memory runs out in some of its passes."""

    def __init__(self, batch: Any, failing: set[int]) -> None:
        super().__init__(batch)
        self._failing, self._calls = failing, 0

    def attention_to_text(self, *arguments: Any) -> Any:
        self._calls += 1
        if self._calls in self._failing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._batch.attention_to_text(*arguments)


@pytest.mark.parametrize(("hop", "failing"), [("whole", {1}), ("stream", {2})])
def test_memory_that_runs_out_in_a_pass_changes_no_sample(build: Build, model, synthesizer, failing, hop):
    text = " ".join([TEXT] * 5)  # more than one chunk
    limited = build(model, lambda batch: PassOutOfMemory(batch, failing))
    found, expected = speak(limited, text, hop=hop), speak(synthesizer, text, hop=hop)
    assert [codes(chunk) for chunk in found] == [codes(chunk) for chunk in expected]
    np.testing.assert_allclose(join(found), join(expected), atol=1e-5)


def test_a_pass_that_fails_fails_its_job_alone(build: Build, model, synthesizer):
    class FailingPass(WatchedBatch):
        def attention_to_text(self, request: Any, *arguments: Any) -> Any:
            if request.seed == 3:
                raise RuntimeError("out of luck")
            return self._batch.attention_to_text(request, *arguments)

    failing = build(model, FailingPass)
    with pytest.raises(RuntimeError, match="out of luck"):
        speak(failing, seed=3)
    (chunk,) = speak(failing)
    assert chunk.takes == (Take(7, (), used=True),)


def test_on_gpt_2_a_head_is_found_and_takes_are_checked(build: Build, tmp_path, watermarker):
    write_smoke_checkpoint(tmp_path, spec=TURBO, follows_text=True)
    turbo = load_model(TURBO, Checkpoint(tmp_path, None, may_be_unpublished=True), CPU)
    with closing(make_synthesizer(turbo, watermarker)) as synthesizer:
        synthesizer.check()
    kept = read_heads(tmp_path / TURBO.files.t3, 2, 2)
    assert kept is not None
    assert kept.heads == (FOLLOWING_HEAD,)
    (chunk,) = speak(tampered(build, turbo, {7: cut_end}), align=True)
    assert codes(chunk) == [(7, ("end_missing",), False), (8, (), True)]
    assert chunk.alignment is not None
    assert chunk.alignment.character_times()[-1][0] == len(TEXT)


@pytest.mark.parametrize("planted", [torch.OutOfMemoryError("CUDA out of memory"), ValueError("a bug")])
def test_a_check_that_fails_ends_its_own_job_alone(build: Build, model, synthesizer, monkeypatch, planted):
    """Both chunks are done in the same round."""
    twice = [Utterance(SHORT, synthesizer.builtin_voice(), seed=7)] * 2
    expected = [chunk.waveform.samples for chunk in synthesizer.synthesize(twice, CancelToken())]
    add_take, calls = _Chunk.add_take, []

    def failing(chunk: _Chunk, *arguments: Any) -> bool:
        calls.append(chunk)
        if len(calls) == 1:
            raise planted
        return add_take(chunk, *arguments)

    monkeypatch.setattr(_Chunk, "add_take", failing)
    if isinstance(planted, torch.OutOfMemoryError):
        chunks = list(synthesizer.synthesize(twice, CancelToken()))
        for chunk, samples in zip(chunks, expected, strict=True):
            assert np.array_equal(chunk.waveform.samples, samples)
    else:
        with pytest.raises(ValueError, match="a bug"):
            list(synthesizer.synthesize(twice, CancelToken()))
    assert len(speak(synthesizer, SHORT)) == 1, "the next job is spoken"
