"""Turbo and nano at the published size: equal to upstream's own conditionals, tokens and samples.

Takes some 10 GB of memory and 5 GB of disk; `make test-slow`. Turbo is loaded by upstream's ``from_local``.
Nano, which chatterbox-tts 0.1.7 does not know, is the same class around the modules that its master builds.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import soundfile
import torch
from chatterbox.tts_turbo import ChatterboxTurboTTS, Conditionals
from transformers import AutoTokenizer

from audio.waveform import MODEL_SAMPLE_RATE_HZ
from speech.models.gpt2_t3 import Gpt2T3, Gpt2Weights
from speech.models.spec import NANO, TURBO
from speech.pipeline import make_synthesizer
from speech.smoke import write_smoke_checkpoint
from speech.t3.batch import RunningBatch
from speech.t3.request import Decoded
from speech.upstream import UpstreamBatch, build_voice_encoder, load_upstream_modules
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from speech.weights.modules import assign_weights
from tests.speech.speaking import join_marked, recording, speak
from tests.speech.t3.requests import decode_all
from tests.speech.t3.test_turbo_batch import requests

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("all_threads")]

CPU = torch.device("cpu")
SENTENCE = "Good morning, [laugh] all."
STEPS = 200


@pytest.fixture(scope="module", params=[TURBO, NANO], ids=lambda spec: spec.name)
def checkpoint(request, tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(request.param.name)
    write_smoke_checkpoint(folder, size="full", spec=request.param)
    return Checkpoint(folder, None, may_be_unpublished=True)


@pytest.fixture(scope="module")
def model(checkpoint) -> Model:
    spec = next(spec for spec in (TURBO, NANO) if (checkpoint.folder / spec.files.t3).exists())
    return load_model(spec, checkpoint, CPU)


@pytest.fixture(scope="module")
def upstream(model, checkpoint) -> ChatterboxTurboTTS:
    folder = checkpoint.folder
    if model.spec is TURBO:
        return ChatterboxTurboTTS.from_local(folder, "cpu")
    t3, s3gen = load_upstream_modules(model.spec, checkpoint, model.dimensions, CPU)
    voice_encoder = build_voice_encoder(model.dimensions)
    assign_weights(voice_encoder, folder / model.spec.files.voice_encoder, CPU)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    conds = Conditionals.load(folder / model.spec.files.builtin_voice)
    return ChatterboxTurboTTS(t3, s3gen, voice_encoder, tokenizer, "cpu", conds)


def test_conditionals_equal_upstreams(model, upstream, tmp_path):
    waveform, builtin = recording(4, 16.0), upstream.conds
    soundfile.write(tmp_path / "voice.wav", waveform.samples, MODEL_SAMPLE_RATE_HZ, subtype="FLOAT")
    # Upstream's loudness step gives float64 for float32 here, which its networks refuse.
    loudness = upstream.norm_loudness
    upstream.norm_loudness = lambda *arguments: loudness(*arguments).astype("float32")
    upstream.prepare_conditionals(tmp_path / "voice.wav")
    theirs, upstream.conds = upstream.conds, builtin
    ours = model.reference_encoder.compute(waveform)
    assert torch.equal(ours.t3_prompt_tokens, theirs.t3.cond_prompt_speech_tokens)
    assert torch.equal(ours.prompt_tokens, theirs.gen["prompt_token"])
    for found, expected in (
        (ours.speaker_embedding, theirs.t3.speaker_emb),
        (ours.prompt_mel, theirs.gen["prompt_feat"]),
        (ours.xvector, theirs.gen["embedding"]),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_samples_of_a_sentence_equal_upstreams_generate(model, upstream):
    torch.manual_seed(11)
    theirs = upstream.generate(SENTENCE)[0].numpy()
    with closing(make_synthesizer(model, Watermarker())) as synthesizer:
        chunks = speak(synthesizer, SENTENCE, seed=11)
        spoken = join_marked(synthesizer, chunks)
    assert not chunks[0].warnings
    assert 0.6 * 24_000 < len(spoken) <= len(theirs)
    np.testing.assert_allclose(spoken, theirs[: len(spoken)], atol=1e-5)


@pytest.fixture(scope="module")
def endless(model, upstream) -> Gpt2T3:
    """Neither T3 stops any more."""
    head, stop = upstream.t3.speech_head, model.spec.tokens.stop_speech
    with torch.no_grad():
        head.weight[stop], head.bias[stop] = 0.0, -1e4
    heads = model.dimensions.t3_heads
    weights = Gpt2Weights.from_upstream(upstream.t3.state_dict(), heads, torch.float32)
    return Gpt2T3(weights, model.spec)


@pytest.fixture(scope="module")
def expected(model, endless, upstream) -> list[Decoded]:
    return decode_all(UpstreamBatch(upstream.t3, model.spec), requests(model, STEPS))


@pytest.mark.parametrize("index", range(5))
def test_tokens_of_one_request_equal_upstreams(model, endless, expected, index):
    one = requests(model, STEPS)[index]
    assert len(expected[index].tokens) == STEPS
    for rows in (1, 10):
        (found,) = decode_all(RunningBatch(endless, rows, poll_every=1, graphs=False), [one])
        assert torch.equal(found.tokens, expected[index].tokens)


@pytest.mark.parametrize(("poll_every", "steps_apart"), [(1, 0), (8, 4)])
def test_tokens_of_a_ragged_batch_equal_upstreams(model, endless, expected, poll_every, steps_apart):
    """One after the other joins, so many looks later each; the rows of the first ones leave first."""
    batch = RunningBatch(endless, 10, poll_every=poll_every, graphs=False)
    found = decode_all(batch, requests(model, STEPS), steps_apart)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())
