"""The multilingual models at the published size: equal to upstream's own conditionals, tokens and samples.

Takes some 12 GB of memory and 8 GB of disk; `make test-slow`. Version 2 is loaded by the ``from_local`` of
chatterbox-tts 0.1.7; version 3, which no release knows, is built as chatterbox's master builds it. Both speak
by the rules of master (5de7a54), which differ from those of 0.1.7: there is no alignment analyzer, the
repetition penalty is 1.2, and the sound of the last token is cut. Version 3 reads text in full case, which
upstream's tokenizer can do and master does not ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import torch
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.mtl_tts import ChatterboxMultilingualTTS
from safetensors.torch import load_file

from benchmarks.upstream import FullCase, speaks_as_master, without_downloads
from speech.models.llama_t3 import LlamaT3, T3Weights
from speech.models.spec import MULTILINGUAL, MULTILINGUAL_V2, ModelSpec
from speech.pipeline import make_synthesizer
from speech.smoke import write_smoke_checkpoint
from speech.t3.batch import RunningBatch
from speech.t3.request import Decoded
from speech.upstream import UpstreamBatch, build_voice_encoder, load_upstream_modules, quiet_upstream
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from speech.weights.modules import assign_weights
from tests.speech.mtl import generate, upstreams_tokenizer, upstreams_tts
from tests.speech.reference.test_encoder import assert_equal_conditionals
from tests.speech.speaking import join_marked, recording, speak
from tests.speech.t3.requests import decode_all, mixed_requests
from tests.speech.upstream import upstream_conditionals

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("all_threads")]

CPU = torch.device("cpu")
SENTENCE = "Schönen GUTEN Morgen, alle."
STEPS = 200


@pytest.fixture(scope="module", params=[MULTILINGUAL_V2, MULTILINGUAL], ids=lambda spec: spec.name)
def spec(request) -> ModelSpec:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(spec, tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(spec.name)
    write_smoke_checkpoint(folder, size="full", spec=spec)
    return Checkpoint(folder, None, may_be_unpublished=True)


@pytest.fixture(scope="module")
def model(spec, checkpoint) -> Model:
    return load_model(spec, checkpoint, CPU)


@pytest.fixture(scope="module")
def upstream(spec, model, checkpoint) -> Iterator[ChatterboxMultilingualTTS]:
    """Upstream's class with master's rules."""
    folder, files = checkpoint.folder, spec.files
    if spec is MULTILINGUAL_V2:
        for name in (files.voice_encoder, files.s3gen):  # which 0.1.7 reads in PyTorch's format
            torch.save(load_file(folder / name), (folder / name).with_suffix(".pt"))
        with pytest.MonkeyPatch.context() as patch, without_downloads(folder):
            patch.setattr(T3Config, "is_multilingual", False)  # what 0.1.7 takes its analyzer for
            quiet_upstream()
            yield speaks_as_master(ChatterboxMultilingualTTS.from_local(folder, "cpu"))
    else:
        t3, s3gen = load_upstream_modules(spec, checkpoint, model.dimensions, CPU)
        voice_encoder = build_voice_encoder(model.dimensions)
        assign_weights(voice_encoder, folder / files.voice_encoder, CPU)
        tokenizer = upstreams_tokenizer(folder, spec, FullCase)
        yield upstreams_tts(t3, s3gen, voice_encoder, tokenizer, folder)


def test_conditionals_equal_upstreams(model, upstream, tmp_path):
    builtin, waveform = upstream.conds, recording(4, 12.0)
    theirs = upstream_conditionals(upstream, waveform.samples, tmp_path)
    upstream.conds = builtin
    assert_equal_conditionals(model.reference_encoder.compute(waveform), theirs, tolerance=1e-4)


def test_samples_of_a_sentence_equal_upstreams_generate(model, upstream):
    theirs = generate(upstream, SENTENCE, "de", seed=11)
    with closing(make_synthesizer(model, Watermarker())) as synthesizer:
        chunks = speak(synthesizer, SENTENCE, seed=11, language="de")
        spoken = join_marked(synthesizer, chunks)
    assert not chunks[0].warnings
    assert len(spoken) == len(theirs) > 0.6 * 24_000
    np.testing.assert_allclose(spoken, theirs, atol=1e-5)


@pytest.fixture(scope="module")
def endless(model, upstream) -> LlamaT3:
    """Neither T3 stops any more: the stop token is as likely as the start token, which is never drawn."""
    tokens, head = model.spec.tokens, upstream.t3.speech_head.weight
    with torch.no_grad():
        head[tokens.stop_speech] = head[tokens.start_speech]
    weights = T3Weights.from_upstream(upstream.t3.state_dict(), model.dimensions.t3_heads, torch.float32)
    return LlamaT3(weights, model.spec)


@pytest.fixture(scope="module")
def expected(model, endless, upstream) -> list[Decoded]:
    return decode_all(UpstreamBatch(upstream.t3, model.spec), mixed_requests(model, STEPS))


@pytest.mark.parametrize("index", range(5))
def test_tokens_of_one_request_equal_upstreams(model, endless, expected, index):
    assert len(expected[index].tokens) == STEPS
    batch = RunningBatch(endless, 2, poll_every=1, graphs=False)
    (found,) = decode_all(batch, [mixed_requests(model, STEPS)[index]])
    assert torch.equal(found.tokens, expected[index].tokens)


def test_tokens_of_a_ragged_batch_equal_upstreams(model, endless, expected):
    """One after the other joins, four looks later each; the rows of the first ones leave first."""
    batch = RunningBatch(endless, 10, poll_every=8, graphs=False)
    found = decode_all(batch, mixed_requests(model, STEPS), steps_apart=4)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())
