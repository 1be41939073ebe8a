"""The small demonstration model: what it says is heard, and it is a Chatterbox."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from audio.decode import decode_audio
from audio.encode import FORMATS
from benchmarks import ears
from handler import SMALL_MODEL
from speech.contract import NOTICES
from speech.models.spec import CHATTERBOX
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer
from speech.reference.encoder import load_reference_encoder
from speech.s3gen.s3gen import RenderRequest
from speech.t3.batch import RunningBatch
from speech.upstream import UpstreamBatch, UpstreamS3Gen, load_upstream_modules
from speech.weights.find import Checkpoint
from speech.weights.load import Model, load_model
from tests.fakes import build_services, build_worker
from tests.speech.detector import confidence
from tests.speech.t3.requests import decode_all, request

CPU = torch.device("cpu")
LARGEST_BYTES = 20_000_000
HEARD = [ears.sentences()[number] for number in (7, 22, 24)]  # of which it speaks clearly
PARAGRAPH = " ".join(ears.sentences()[20:50])


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(CHATTERBOX, Checkpoint(SMALL_MODEL, None, may_be_unpublished=True), CPU)


@pytest.fixture(scope="module")
def synthesizer() -> ChatterboxSynthesizer:
    threads = torch.get_num_threads()
    loaded = load_synthesizer("chatterbox", checkpoint_dir=SMALL_MODEL, device="cpu")
    yield loaded
    loaded.close()
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path, synthesizer):
    worker = build_worker(tmp_path, services=build_services(tmp_path, synthesizer, max_text_chars=5_000))

    async def run(**fields) -> dict:
        return await worker.handle({"id": "job", "input": {"operation": "tts", "seed": 1, **fields}})

    return run


@pytest.fixture(scope="module")
def recogniser():
    return ears.Recogniser()


def audio_of(reply: dict, file: str = "speech.wav"):
    return decode_audio(base64.b64decode(reply["audio"]), file)


def errors_of(recogniser, waveform, text: str) -> float:
    """The share of words that were not understood."""
    meant = ears.words_of(text)
    return ears.word_errors(ears.words_of(recogniser.transcribe(waveform)), meant) / len(meant)


def test_it_fits_into_the_repository():
    files = [SMALL_MODEL / name for name in CHATTERBOX.files.all]
    assert sum(file.stat().st_size for file in files) < LARGEST_BYTES


@pytest.mark.parametrize("text", HEARD)
async def test_what_it_says_is_recognised_among_fifty_sentences(run, recogniser, text):
    reply = await run(text=text)
    choices = [text, *(other for other in ears.sentences()[-50:] if other != text)]
    assert recogniser.choose(audio_of(reply), choices) == 0
    assert NOTICES["demonstration"] in reply["warnings"]


def test_its_speech_is_marked(synthesizer):
    from cancel import CancelToken
    from speech.contract import Utterance

    utterance = Utterance(HEARD[0], synthesizer.builtin_voice(), 1)
    chunks = list(synthesizer.synthesize([utterance], CancelToken()))
    import perth

    detector = perth.PerthImplicitWatermarker()
    marked = np.concatenate([synthesizer.watermark(chunk.with_pause()).samples for chunk in chunks])
    assert confidence(detector, marked) > 0.9


def test_upstreams_own_modules_give_the_same_tokens_and_the_same_sound(model):
    t3, s3gen = load_upstream_modules(CHATTERBOX, SMALL_MODEL, model.dimensions, CPU)
    requests = [request(model, text, seed=seed) for seed, text in enumerate(HEARD[:2])]
    expected = decode_all(UpstreamBatch(t3, CHATTERBOX), requests)
    found = decode_all(RunningBatch(model.t3, 4, poll_every=1, graphs=False), requests)
    for one, other in zip(found, expected, strict=True):
        assert other.stopped
        assert torch.equal(one.tokens, other.tokens)

    def samples(renderer) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return renderer.render([RenderRequest(expected[0].tokens, model.builtin_voice, generator)])[0]

    assert torch.allclose(samples(model.s3gen), samples(UpstreamS3Gen(s3gen)), atol=2e-3)


def test_a_voice_can_be_cloned_with_it(model):
    speech = decode_audio((Path(__file__).parent / "speech_samples" / "slt-bridge.flac").read_bytes())
    assert (
        load_reference_encoder(SMALL_MODEL, CHATTERBOX, model.dimensions)
        .compute(speech)
        .fits(CHATTERBOX.conditioning)
    )


@pytest.fixture
def all_threads():
    torch.set_num_threads(os.cpu_count() or 1)


@pytest.mark.slow
@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("sample_rate", [8_000, 24_000, 48_000])
@pytest.mark.parametrize("audio_format", FORMATS)
async def test_every_format_is_understood_as_well(run, recogniser, audio_format, sample_rate):
    """Ten sentences in a row: at most a few more words are lost than without a loss of the format's own."""
    texts = ears.sentences()[50:60]
    if audio_format in ("pcm", "ulaw"):
        pytest.skip("has no header: its rate would have to be told to the decoder")
    lost = plain = 0.0
    for text in texts:
        coded = await run(text=text, format=audio_format, sample_rate=sample_rate)
        lost += errors_of(recogniser, audio_of(coded, f"speech.{audio_format}"), text)
        plain += errors_of(recogniser, audio_of(await run(text=text)), text)
    assert lost / len(texts) <= plain / len(texts) + (0.25 if sample_rate == 8_000 else 0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("all_threads")
async def test_nothing_of_a_long_text_is_lost(run, recogniser):
    """5,000 characters: every chunk's words are in the transcript, in their order."""
    text = " ".join(ears.sentences())[:5_000].rpartition(". ")[0] + "."
    reply = await run(text=text)
    speech = audio_of(reply)
    for segment in reply["segments"]:
        first, last = (round(segment[edge] * speech.sample_rate_hz) for edge in ("start", "end"))
        heard = type(speech)(speech.samples[first:last], speech.sample_rate_hz)
        assert errors_of(recogniser, heard, segment["text"]) < 0.8, segment["text"]
