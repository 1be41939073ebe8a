"""Text to audio with the tiny model, beside upstream's ``generate`` on the same weights."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audio.waveform import Waveform
from benchmarks.upstream import load as load_upstream
from cancel import CancelToken
from errors import Cancelled, InvalidRequest, ModelUnavailable, ReferenceTooShort
from speech import pipeline
from speech.contract import NOTICES, AudioChunk, SamplingParams, Utterance
from speech.models.linear import pack
from speech.models.llama_t3 import LlamaT3
from speech.models.spec import CHATTERBOX
from speech.pipeline import (
    ChatterboxSynthesizer,
    cache_bytes,
    load_synthesizer,
    make_batch,
    make_synthesizer,
    set_arithmetic,
)
from speech.t3.request import DecodeRequest
from speech.t3.sampling import Sampling
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from tests.recordings import speech_like
from tests.speech.detector import confidence
from tests.speech.runtimes import ConstantBatch, FlakyBatch, WatchedBatch
from tests.speech.speaking import (
    PAGE,
    SENTENCE,
    encode,
    join,
    join_marked,
    mark,
    recording,
    says,
    speak,
    utter,
)
from tests.synthesizer_contract import SynthesizerContract

CPU = torch.device("cpu")
FADE = 480  # samples


class TestSynthesizer(SynthesizerContract):
    @pytest.fixture
    def synthesizer(self, synthesizer) -> ChatterboxSynthesizer:
        """The one of conftest.py."""
        return synthesizer


class Unmarked:
    """In place of upstream's watermarker, to compare what it would mark."""

    def apply_watermark(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        return samples


def generate(upstream: Any, *, seed: int = 7, **params: float) -> tuple[np.ndarray, np.ndarray]:
    """What upstream says, with its watermark and without."""
    marked, unmarked = upstream.watermarker, Unmarked()
    spoken = []
    for upstream.watermarker in (marked, unmarked):
        torch.manual_seed(seed)
        spoken.append(upstream.generate(SENTENCE, **params)[0].numpy())
    upstream.watermarker = marked
    return spoken[0], spoken[1]


def assert_equal_speech(synthesizer, chunks, theirs, tolerance: float) -> None:
    """Upstream marks a text as a whole, and we each chunk: the same for a text of one chunk."""
    marked, unmarked = theirs
    assert len(chunks) == 1
    np.testing.assert_allclose(join(chunks), unmarked, atol=tolerance)
    np.testing.assert_allclose(join_marked(synthesizer, chunks), marked, atol=tolerance)


def test_one_sentence_equals_upstreams_generate(synthesizer, smoke_checkpoint):
    theirs = generate(load_upstream(smoke_checkpoint))
    assert_equal_speech(synthesizer, speak(synthesizer), theirs, 2e-6)


def test_a_voice_and_parameters_equal_upstreams_generate(synthesizer, smoke_checkpoint, tmp_path):
    voice = recording(3)
    soundfile.write(tmp_path / "voice.wav", voice.samples, 24_000, subtype="FLOAT")
    upstream = load_upstream(smoke_checkpoint)
    params = {
        "exaggeration": 1.3,
        "cfg_weight": 0.3,
        "temperature": 0.6,
        "repetition_penalty": 1.5,
        "top_p": 0.9,
    }
    upstream.prepare_conditionals(tmp_path / "voice.wav", exaggeration=1.3)
    theirs = generate(upstream, **params)
    chunks = speak(synthesizer, voice=encode(synthesizer, 3), **params)
    assert_equal_speech(synthesizer, chunks, theirs, 1e-5)


def test_a_page_of_text_is_spoken_whole(synthesizer):
    text = PAGE[:1000].rsplit(".", 1)[0] + "."
    assert len(text) > 900
    chunks = speak(synthesizer, text, encode(synthesizer, 1), seed=1)
    assert "".join("".join(chunk.text for chunk in chunks).split()) == "".join(text.split())
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.count for chunk in chunks} == {len(chunks)}
    assert all(chunk.pause_after_s > 0 for chunk in chunks[:-1])
    assert chunks[-1].pause_after_s == 0
    samples, duration_s = join(chunks), sum(chunk.duration_s for chunk in chunks)
    assert len(samples) == pytest.approx(duration_s * 24_000)
    # The checkpoint is arranged for about 15 letters a second, the pace of English.
    assert len(text) / duration_s == pytest.approx(15, rel=0.25)
    assert np.isfinite(samples).all()
    assert not any(chunk.warnings for chunk in chunks)


def test_each_chunk_begins_in_silence_and_ends_in_it_within_the_pause(synthesizer):
    chunks = speak(synthesizer, PAGE[:450])
    assert len(chunks) > 2
    for chunk in chunks:
        samples = chunk.waveform.samples
        assert abs(samples[0]) < 1e-4
        pause = chunk.with_pause().samples[len(samples) :]
        assert not pause[FADE:].any()
        assert np.abs(pause[FADE - 2 : FADE]).max(initial=0) < 1e-3
    assert len(chunks[-1].with_pause().samples) == len(chunks[-1].waveform.samples)


def test_several_utterances_are_each_spoken_as_alone(synthesizer):
    """In their own voices, with their own seeds."""
    voice = encode(synthesizer, 1)
    utterances = [
        Utterance("The first one speaks.", synthesizer.builtin_voice(), seed=1, pause_after_s=0.7),
        Utterance("...", synthesizer.builtin_voice(), seed=2, pause_after_s=9.0),
        Utterance("The second one answers.", voice, 3, SamplingParams(cfg_weight=0.0), pause_after_s=1.1),
        Utterance("That was all.", synthesizer.builtin_voice(), seed=1, pause_after_s=5.0),
    ]
    chunks = list(synthesizer.synthesize(utterances, CancelToken()))
    assert [chunk.utterance for chunk in chunks] == [0, 2, 3]
    assert [chunk.pause_after_s for chunk in chunks] == [0.7, 1.1, 5.0]
    for chunk in chunks:
        (alone,) = synthesizer.synthesize([utterances[chunk.utterance]], CancelToken())
        assert np.array_equal(chunk.waveform.samples, alone.waveform.samples)


def test_what_is_said_is_watermarked(synthesizer, perth):
    chunks = speak(synthesizer, PAGE[:500])
    assert confidence(perth, join_marked(synthesizer, chunks)) > 0.9
    for chunk in chunks:  # what a streaming caller gets
        assert confidence(perth, mark(synthesizer, chunk).samples) > 0.9
    assert confidence(perth, speech_like(6.0, 24_000, seed=1)) < 0.6


def test_parameters_come_back_resolved_and_ignored_ones_are_named(synthesizer):
    params = SamplingParams(top_k=50, top_p=0.8)
    assert synthesizer.info.resolve(params) == {
        "exaggeration": 0.5,
        "cfg_weight": 0.5,
        "temperature": 0.8,
        "top_p": 0.8,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "top_k": None,
    }
    assert synthesizer.info.ignored(params) == ["top_k has no effect on the chatterbox model"]


def test_every_parameter_reaches_t3(build, our_model):
    given = {
        "exaggeration": 1.3,
        "cfg_weight": 0.3,
        "temperature": 0.6,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.5,
    }
    requests: list[DecodeRequest] = []

    class Recording(WatchedBatch):
        def add(self, request: DecodeRequest) -> Any:
            requests.append(request)
            return super().add(request)

    recording = build(our_model, Recording)
    speak(recording, "Yes.", **given)
    speak(recording, "Yes.")
    usual = {"exaggeration": 0.5} | dataclasses.asdict(Sampling.of(CHATTERBOX.default_parameters))
    no_limit = {"top_k": 0}  # which this model does not have
    for request, expected in zip(requests, (given | no_limit, usual), strict=True):
        assert {"exaggeration": request.exaggeration} | dataclasses.asdict(request.sampling) == expected
    assert usual == CHATTERBOX.default_parameters | no_limit


@pytest.mark.parametrize("text", ["", "   \n", "...", "?!"])
def test_nothing_to_say_is_refused(synthesizer, text):
    with pytest.raises(InvalidRequest) as caught:
        speak(synthesizer, text)
    assert caught.value.field == "text"


def test_no_utterance_is_nothing_to_say(synthesizer):
    with pytest.raises(InvalidRequest):
        list(synthesizer.synthesize([], CancelToken()))


@pytest.mark.parametrize(
    "text", ["A", "7", "你好，世界。今天天气很好。", "a" * 700, "Ünïcödé 🙂 test", "\u202eright to left"]
)
def test_unusual_text_is_spoken(synthesizer, text):
    assert len(says(synthesizer, text)) > 0


Build = Callable[..., ChatterboxSynthesizer]


def test_a_runaway_chunk_is_spoken_again_with_the_next_seed(synthesizer, build: Build, our_model):
    flaky: list[FlakyBatch] = []

    def wrap(batch: Any) -> FlakyBatch:
        flaky.append(FlakyBatch(batch, failures=1))
        return flaky[0]

    (chunk,) = speak(build(our_model, wrap))
    assert flaky[0].seeds == [7, 8]
    assert np.array_equal(chunk.waveform.samples, says(synthesizer, seed=8))
    (warning,) = chunk.warnings
    assert warning.startswith("segment 1 of 1 ran on and was cut, so the next seed was tried")
    assert warning.endswith("was spoken well then")


def test_a_chunk_that_runs_away_twice_is_cut_and_reported(build: Build, our_model):
    flaky: list[FlakyBatch] = []

    def wrap(batch: Any) -> FlakyBatch:
        flaky.append(FlakyBatch(batch, failures=2))
        return flaky[0]

    (chunk,) = speak(build(our_model, wrap), seed=2**63 - 1)
    assert flaky[0].seeds == [2**63 - 1, 0]
    assert chunk.warnings[0].endswith("ran on and was cut again; listen to it")
    assert chunk.duration_s > 0


@pytest.mark.parametrize("tokens", [[], [6561, 8000]], ids=["none", "outside the codebook"])
def test_a_chunk_without_speech_is_tried_again_and_reported(build: Build, our_model, tokens):
    (chunk,) = speak(build(our_model, lambda _: ConstantBatch(tokens)))
    assert chunk.warnings[0].startswith("segment 1 of 1 came out empty")
    assert chunk.warnings[0].endswith("came out empty again; listen to it")


def test_warnings_name_the_chunk(build: Build, our_model):
    chunks = speak(build(our_model, lambda _: ConstantBatch([])), PAGE[:700])
    starts = [chunk.warnings[0].split(" came out")[0] for chunk in chunks]
    assert starts == [f"segment {number} of {len(chunks)}" for number in range(1, len(chunks) + 1)]


def without_stop(model: Model) -> Model:
    """A model that never stops: the stop token is as likely as the start token, which is never drawn."""
    tokens, weights = CHATTERBOX.tokens, model.t3.weights
    head = (weights.head.to_dense() if weights.head.is_mkldnn else weights.head).clone()
    head[tokens.stop_speech] = head[tokens.start_speech]
    endless = LlamaT3(dataclasses.replace(weights, head=pack(head)), CHATTERBOX)
    return dataclasses.replace(model, t3=endless)


def test_a_model_that_never_stops_is_stopped_by_the_length_of_its_text(build: Build, our_model):
    (chunk,) = speak(build(without_stop(our_model)), "Hello there.", seed=1)
    assert "ran on and was cut" in chunk.warnings[0]
    assert chunk.duration_s < 15


def test_upstreams_loop_can_be_chosen_and_says_the_same(smoke_checkpoint, synthesizer):
    reference = load_synthesizer("chatterbox", checkpoint_dir=smoke_checkpoint, device="cpu", upstream=True)
    np.testing.assert_allclose(says(reference), says(synthesizer), atol=2e-6)
    text = PAGE[:350]
    np.testing.assert_allclose(says(reference, text), says(synthesizer, text), atol=2e-6)
    reference.close()


def test_texts_spoken_by_several_threads_come_out_as_alone(synthesizer):
    texts = [SENTENCE, PAGE[:400], "No.", PAGE[400:500]]
    alone = [says(synthesizer, text, seed=index) for index, text in enumerate(texts)]
    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(lambda job: says(synthesizer, job[1], seed=job[0]), enumerate(texts)))
    for expected, found in zip(alone, together, strict=True):
        assert np.array_equal(found, expected)


def test_the_tokenizer_gets_every_chunk_as_it_is_reported(synthesizer, our_model, monkeypatch):
    seen: list[str] = []
    encode = our_model.tokenizer.encode
    monkeypatch.setattr(
        our_model.tokenizer,
        "encode",
        lambda text, language: (seen.append(text), encode(text, language))[1],
    )
    chunks = speak(synthesizer, "first part; then - the “second”… " + PAGE[:400])
    assert seen == [chunk.text for chunk in chunks]
    assert len(seen) > 1


def test_speaking_leaves_the_voice_unchanged(synthesizer):
    voice = encode(synthesizer, 1, 3.0)
    names = [field.name for field in dataclasses.fields(voice)]
    before = {name: getattr(voice, name).clone() for name in names}
    speak(synthesizer, "One.", voice, exaggeration=2.0)
    for name, tensor in before.items():
        assert torch.equal(getattr(voice, name), tensor)
        assert getattr(voice, name).dtype == tensor.dtype


@pytest.fixture
def copied(smoke_checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(smoke_checkpoint, tmp_path / "weights"))


def load(folder: Path) -> Model:
    return load_model(CHATTERBOX, Checkpoint(folder, None, may_be_unpublished=True), CPU)


def test_without_a_builtin_voice_a_job_must_name_one(build: Build, copied):
    (copied / "conds.pt").unlink()
    voiceless = build(load(copied))
    with pytest.raises(InvalidRequest, match="no built-in voice") as caught:
        voiceless.builtin_voice()
    assert caught.value.field == "voice_name"
    assert len(says(voiceless, voice=encode(voiceless, 1))) > 0
    voiceless.check()


def test_a_new_voice_is_the_same_each_time_and_on_the_cpu(synthesizer):
    first, again = (encode(synthesizer, 1) for _ in range(2))
    for field in dataclasses.fields(first):
        tensor = getattr(first, field.name)
        assert tensor.device == CPU
        assert torch.equal(tensor, getattr(again, field.name))


def test_a_fragment_is_no_voice(synthesizer):
    with pytest.raises(ReferenceTooShort, match="0.30 s"):
        encode(synthesizer, 1, 0.3)


def test_nobody_waits_for_the_voice_of_a_job_that_was_cancelled(synthesizer):
    cancel = CancelToken()
    cancel.cancel(Cancelled("its caller is gone"))
    with pytest.raises(Cancelled, match="its caller is gone"):
        synthesizer.encode_reference(recording(1), cancel)


def test_the_key_of_conditionals_is_fit_for_a_file_name(synthesizer):
    assert all(char.isalnum() or char in "-_." for char in synthesizer.conditionals_key)


def test_conditionals_come_back_from_bytes(synthesizer):
    waveform = recording(2)
    voice = synthesizer.encode_reference(waveform, CancelToken())
    again = synthesizer.read_conditionals(voice.to_bytes(waveform.digest()), waveform.digest())
    assert np.array_equal(says(synthesizer, voice=again), says(synthesizer, voice=voice))


def test_loading_by_folder_says_what_was_loaded(smoke_checkpoint, caplog):
    caplog.set_level("INFO")
    loaded = load_synthesizer("chatterbox", checkpoint_dir=smoke_checkpoint, device="cpu")
    loaded.check()
    assert loaded.info.notice == NOTICES["untrained"]
    assert len(loaded.info.revision) == 16
    assert "untrained smoke checkpoint: the audio is noise" in caplog.text
    loaded.close()


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_a_device_that_is_not_there_is_named(smoke_checkpoint, device):
    with pytest.raises(ModelUnavailable, match=f"DEVICE '{device}'"):
        load_synthesizer("chatterbox", checkpoint_dir=smoke_checkpoint, device=device)


@pytest.mark.parametrize(("precision", "tf32"), [("auto", True), ("exact", False)])
def test_what_products_and_convolutions_on_a_gpu_may_do(precision, tf32):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    expected = {
        (matmul, "allow_tf32"): tf32,
        (matmul, "allow_bf16_reduced_precision_reduction"): False,
        (cudnn, "allow_tf32"): tf32,
        (cudnn, "deterministic"): True,
    }
    before, attends = {place: getattr(*place) for place in expected}, torch.backends.cuda.cudnn_sdp_enabled()
    try:
        for place, value in expected.items():
            setattr(*place, not value)
        torch.backends.cuda.enable_cudnn_sdp(True)
        set_arithmetic(precision)
        assert {place: getattr(*place) for place in expected} == expected
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        for place, value in before.items():
            setattr(*place, value)
        torch.backends.cuda.enable_cudnn_sdp(attends)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError("Unable to allocate 512. TiB"),
    ],
    ids=str,
)
def test_too_many_jobs_for_the_memory_are_named(our_model, watermarker, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "make_batch", fail)
    monkeypatch.setattr(pipeline, "free_memory", lambda device: 2_500_000_000)
    with pytest.raises(ModelUnavailable, match="MAX_CONCURRENCY 64: the key-value cache needs") as caught:
        make_synthesizer(our_model, watermarker, max_concurrency=64)
    assert "2.5 GB are free" in caught.value.message
    assert "set it lower" in caught.value.message


def test_another_failure_of_the_start_is_not_taken_for_a_lack_of_memory(our_model, watermarker, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("sizes differ")

    monkeypatch.setattr(pipeline, "make_batch", fail)
    with pytest.raises(RuntimeError, match="sizes differ"):
        make_synthesizer(our_model, watermarker)


def test_the_size_of_the_cache_is_said_before_there_is_one(our_model):
    batch = make_batch(our_model, max_concurrency=3)
    assert cache_bytes(our_model, 3) == batch._cache.nbytes


def test_upstreams_chatter_stays_out_of_the_output(smoke_checkpoint, capfd):
    reference = load_synthesizer("chatterbox", checkpoint_dir=smoke_checkpoint, device="cpu", upstream=True)
    speak(reference, PAGE[:300], encode(reference, 5))
    reference.close()
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_chunk_says_how_long_its_stages_took(synthesizer):
    for chunk in speak(synthesizer, PAGE[:600]):
        assert set(chunk.stage_times_s) == {"t3", "s3gen"}
        assert all(math.isfinite(value) and value >= 0 for value in chunk.stage_times_s.values())


def test_the_watermark_keeps_length_and_rate(synthesizer):
    waveform = Waveform(speech_like(1.3, 24_000, seed=1), 24_000)
    marked = mark(synthesizer, AudioChunk(waveform, 0.0, "", 0, 0, 1))
    assert (len(marked.samples), marked.sample_rate_hz) == (len(waveform.samples), 24_000)


def test_an_utterance_has_a_seed_for_each_of_its_chunks(synthesizer):
    """Two chunks with one text do not sound alike, and a chunk's next seed is no other's first."""
    text = (SENTENCE + " ") * 12
    chunks = list(synthesizer.synthesize([utter(synthesizer, text, None, 7)], CancelToken()))
    same = [chunk for chunk in chunks if chunk.text == chunks[0].text]
    assert len(same) > 1
    ours, other = (chunk.waveform.samples[FADE:-FADE] for chunk in same[:2])
    assert not np.array_equal(ours, other)
