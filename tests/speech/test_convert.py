"""Voice conversion: upstream's samples for a piece, and a recording of any length without a gap."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from audio.pauses import cut_at_pauses
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from cancel import CancelToken
from errors import Cancelled, OutOfMemory
from speech import pipeline
from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX
from speech.pipeline import SEED_LIMIT, SEED_STRIDE, ChatterboxSynthesizer
from speech.s3gen.s3gen import Renderer, RenderRequest
from speech.upstream import load_upstream_modules
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model
from tests.recordings import silence, speech_like, white_noise
from tests.speech.conftest import CPU
from tests.speech.speaking import encode, join, says
from tests.speech.vc import generate, upstream_vc, wav_file

SEED = 5
TOKEN = 960  # samples
PIECE_S = 4.0


def spoken(duration_s: float, seed: int = 3) -> Waveform:
    return Waveform(speech_like(duration_s, MODEL_SAMPLE_RATE_HZ, seed), MODEL_SAMPLE_RATE_HZ)


@pytest.fixture
def long(monkeypatch) -> Waveform:
    """Of several pieces, which are shorter here than a worker's."""
    monkeypatch.setattr(pipeline, "LONGEST_PIECE_S", PIECE_S)
    return spoken(14.0)


def convert(synthesizer, recording: Waveform, voice=None, seed: int = SEED, cancel=None):
    voice = voice or synthesizer.builtin_voice()
    return list(synthesizer.convert(recording, voice, seed, cancel or CancelToken()))


@pytest.fixture(scope="module")
def vc(smoke_checkpoint):
    _, s3gen = load_upstream_modules(CHATTERBOX, Checkpoint(smoke_checkpoint, None), TINY, CPU)
    return upstream_vc(s3gen, smoke_checkpoint / "conds.pt")


@pytest.mark.parametrize("duration_s", [0.3, 4.0, 10.017, 29.99])
def test_samples_of_a_piece_are_upstreams(synthesizer, vc, tmp_path, duration_s):
    recording = spoken(duration_s)
    theirs = generate(vc, wav_file(tmp_path, recording.samples), SEED)
    (chunk,) = convert(synthesizer, recording)
    np.testing.assert_allclose(chunk.waveform.samples, theirs, rtol=0, atol=5e-6)
    assert theirs.any()


@pytest.mark.parametrize("target_s", [4.0, 12.0])
def test_in_the_voice_of_a_recording_too(synthesizer, vc, tmp_path, target_s):
    """With an odd number of mel frames upstream's audio ends 20 ms early, and ours in silence."""
    recording = spoken(3.0)
    target = wav_file(tmp_path, speech_like(target_s, 24_000, seed=8), "target.wav")
    theirs = generate(vc, wav_file(tmp_path, recording.samples), SEED, target)
    (chunk,) = convert(synthesizer, recording, encode(synthesizer, 8, target_s))
    ours = chunk.waveform.samples
    np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=0, atol=5e-6)
    assert len(ours) == 3 * MODEL_SAMPLE_RATE_HZ
    assert not ours[len(theirs) :].any()


class Listening:
    """A renderer that keeps the requests."""

    def __init__(self, renderer: Renderer, on_call: Callable[[int], object] = lambda _: None) -> None:
        self.requests: list[RenderRequest] = []
        self.sizes: list[int] = []
        self._renderer, self._on_call = renderer, on_call

    def render(self, requests: Sequence[RenderRequest]) -> list[Tensor]:
        self.requests += requests
        self.sizes.append(len(requests))
        self._on_call(len(self.sizes))
        return self._renderer.render(requests)


@pytest.fixture
def listening(our_model: Model) -> Listening:
    return Listening(our_model.s3gen)


def test_tokens_of_each_piece_are_upstreams_of_that_piece(build, our_model, listening, vc, tmp_path, long):
    convert(build(dataclasses.replace(our_model, s3gen=listening)), long)
    pieces = cut_at_pauses(long, PIECE_S)
    assert len(listening.requests) == len(pieces) > 3
    for index, (request, piece) in enumerate(zip(listening.requests, pieces, strict=True)):
        samples, _ = librosa.load(wav_file(tmp_path, piece.waveform.samples), sr=16_000)
        theirs, _ = vc.s3gen.tokenizer(torch.from_numpy(samples)[None])
        assert torch.equal(request.tokens, theirs[0])
        assert len(theirs.unique()) > 5
        assert request.generator.initial_seed() == (SEED + index * SEED_STRIDE) % SEED_LIMIT


def test_a_long_recording_keeps_its_time_and_ends_every_piece_in_silence(synthesizer, long):
    chunks = convert(synthesizer, long)
    assert len(join(chunks)) == pytest.approx(len(long.samples), abs=TOKEN)
    assert not any(chunk.warnings for chunk in chunks)
    for chunk in chunks[:-1]:
        assert len(chunk.waveform.samples) % TOKEN == 0
        assert chunk.pause_after_s == 0
        assert chunk.waveform.samples[-1] == 0
    assert sum(chunk.stage_times_s["tokens"] for chunk in chunks) > 0


def test_pieces_do_not_depend_on_each_other(synthesizer, long):
    """A recording's first piece sounds as it does alone, but for the fade at its end."""
    first, *_ = convert(synthesizer, long)
    (alone,) = convert(synthesizer, cut_at_pauses(long, PIECE_S)[0].waveform)
    fade = MODEL_SAMPLE_RATE_HZ // 50
    assert np.array_equal(first.waveform.samples[:-fade], alone.waveform.samples[:-fade])


def test_long_silence_is_silence_and_is_not_rendered(build, our_model, listening, long):
    parts = [speech_like(3.0, seed=3), silence(13.0), speech_like(3.0, seed=4)]
    recording = Waveform(np.concatenate(parts), MODEL_SAMPLE_RATE_HZ)
    samples = join(convert(build(dataclasses.replace(our_model, s3gen=listening)), recording))
    assert len(samples) == pytest.approx(len(recording.samples), abs=TOKEN)
    assert not samples[8 * MODEL_SAMPLE_RATE_HZ : 12 * MODEL_SAMPLE_RATE_HZ].any()
    assert len(listening.requests) < len(cut_at_pauses(recording, PIECE_S))


def test_a_seam_without_a_pause_is_warned_about(synthesizer, long):
    noise = Waveform(white_noise(5.0), MODEL_SAMPLE_RATE_HZ)
    first, last = convert(synthesizer, noise)
    assert first.warnings == ("segment 1 of 2 ends where the source has no pause; listen to the seam",)
    assert last.warnings == ()


def test_upstreams_modules_convert_the_same(build, synthesizer, upstream_model):
    recording = spoken(3.0)
    ours, theirs = (join(convert(each, recording)) for each in (synthesizer, build(upstream_model)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)


def test_speech_and_a_conversion_share_the_device(build, our_model, long):
    """Both sound as they do alone."""
    synthesizer = build(our_model, max_jobs=2)
    alone = join(convert(synthesizer, long)), says(synthesizer)
    with ThreadPoolExecutor(2) as pool:
        together = pool.submit(convert, synthesizer, long), pool.submit(says, synthesizer)
        assert np.array_equal(join(together[0].result()), alone[0])
        assert np.array_equal(together[1].result(), alone[1])


def test_a_cancelled_conversion_ends_with_the_piece_that_is_rendered(build, our_model, long):
    cancel = CancelToken()
    renderer = Listening(our_model.s3gen, lambda _: cancel.cancel(Cancelled("the job was cancelled")))
    synthesizer = build(dataclasses.replace(our_model, s3gen=renderer))
    with pytest.raises(Cancelled):
        convert(synthesizer, long, cancel=cancel)
    assert len(renderer.requests) == 1
    assert says(synthesizer).any()


def together(synthesizer: ChatterboxSynthesizer, count: int) -> ChatterboxSynthesizer:
    """Renders so many pieces in a call, as on a GPU."""
    synthesizer._runtime._recorded_at_once = count
    return synthesizer


def test_pieces_are_rendered_together_where_that_is_faster(build, our_model, listening, synthesizer, long):
    found = convert(together(build(dataclasses.replace(our_model, s3gen=listening)), 3), long)
    assert listening.sizes == [3, len(found) - 3]
    assert np.array_equal(join(found), join(convert(synthesizer, long)))


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("count", [1, 2])
def test_after_a_lack_of_memory_the_rest_is_rendered_one_by_one(build, our_model, synthesizer, long, count):
    renderer = Listening(our_model.s3gen, lambda call: out_of_memory() if call == 2 else None)
    found = convert(together(build(dataclasses.replace(our_model, s3gen=renderer)), count), long)
    assert np.array_equal(join(found), join(convert(synthesizer, long)))
    assert renderer.sizes[2:] == [1] * (len(found) - count)


def test_a_second_lack_of_memory_ends_the_conversion(build, our_model, long):
    renderer = Listening(our_model.s3gen, lambda call: out_of_memory() if call in (2, 3) else None)
    synthesizer = build(dataclasses.replace(our_model, s3gen=renderer))
    with pytest.raises(OutOfMemory):
        convert(synthesizer, long)
    assert says(synthesizer).any()
