"""At the published size: equal to upstream's own loading, conditionals and generation.

Takes some 12 GB of memory and 3.2 GB of disk; `make test-slow`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from chatterbox import ChatterboxTTS

from audio.waveform import Waveform
from speech.checkpoint import Model, load_model
from speech.contract import Reference, SpeechParams
from speech.decoders import make_decoder
from speech.engine import SpeechEngine
from speech.locate import Checkpoint
from speech.sizes import FULL
from speech.smoke import write_smoke_checkpoint
from speech.t3.batch import RunningBatch
from speech.t3.request import START_SPEECH, STOP_SPEECH, Decoded, DecodeRequest
from speech.t3.weights import T3Weights
from speech.upstream import upstream_decoder
from speech.upstream_checkpoint import load_upstream
from speech.variants import CHATTERBOX
from speech.watermark import Watermarker
from tests.recordings import speech_like
from tests.speech.t3.forced import forced_logits
from tests.speech.t3.requests import mixed_requests, request
from tests.speech.test_checkpoint import assert_same_tensors
from tests.speech.upstream import upstream_conditionals

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SENTENCE = "Good morning, all."
STEPS = 200


@pytest.fixture(scope="module", autouse=True)
def all_threads() -> Iterator[None]:
    """The other tests' modules are better off with one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    write_smoke_checkpoint(folder, size="full")
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder) -> Checkpoint:
    return Checkpoint(folder, None, chosen_by_name=True)


@pytest.fixture(scope="module")
def model(checkpoint) -> Model:
    """With our T3, in float32."""
    return load_model(CHATTERBOX, checkpoint, CPU)


@pytest.fixture(scope="module")
def upstream(folder) -> ChatterboxTTS:
    """Upstream's loader on the very files: the layout is the published one."""
    return ChatterboxTTS.from_local(folder, "cpu")


@pytest.fixture(scope="module")
def voice() -> Reference:
    return Reference.of(Waveform(speech_like(12.0, 24_000, seed=4), 24_000))


def test_each_tensor_equals_from_local(checkpoint, upstream):
    t3, s3gen = load_upstream(checkpoint.folder, FULL, CPU)
    assert_same_tensors(s3gen, upstream.s3gen)
    assert_same_tensors(t3, upstream.t3)


def test_conditionals_equal_upstreams(model, upstream, voice, tmp_path):
    builtin = upstream.conds
    theirs = upstream_conditionals(upstream, voice.waveform.samples, tmp_path)
    upstream.conds = builtin
    ours = model.reference_encoder().compute(voice.waveform)
    assert torch.equal(ours.t3_prompt_tokens, theirs.t3.cond_prompt_speech_tokens)
    assert torch.equal(ours.decoder_prompt["prompt_token"], theirs.gen["prompt_token"])
    for name in ("prompt_feat", "embedding"):
        torch.testing.assert_close(ours.decoder_prompt[name], theirs.gen[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.speaker_embedding, theirs.t3.speaker_emb, rtol=1e-4, atol=1e-5)


def test_samples_of_a_sentence_equal_upstreams_generate(model, upstream):
    torch.manual_seed(11)
    theirs = upstream.generate(SENTENCE)[0].numpy()
    engine = SpeechEngine(model, Watermarker(), make_decoder(model))
    ours = engine.speak(SENTENCE, None, SpeechParams(seed=11))
    assert not ours.warnings
    assert ours.waveform.duration_s > 0.6
    np.testing.assert_allclose(ours.waveform.samples, theirs, atol=1e-5)


@pytest.fixture(scope="module")
def endless(model, upstream) -> T3Weights:
    """Neither T3 stops any more: the stop token is as likely as the start token, which is never drawn."""
    with torch.no_grad():
        upstream.t3.speech_head.weight[STOP_SPEECH] = upstream.t3.speech_head.weight[START_SPEECH]
    return T3Weights.from_upstream(upstream.t3.state_dict(), model.t3.heads, torch.float32)


@pytest.fixture(scope="module")
def expected(model, endless, upstream) -> list[Decoded]:
    return list(upstream_decoder(upstream.t3).decode(mixed_requests(model, STEPS)))


def run(weights: T3Weights, rows: int, requests: list[DecodeRequest], pause: int = 0) -> list[Decoded]:
    """One after the other joins, ``pause`` steps later each; the rows of the first ones leave first."""
    batch, found = RunningBatch(weights, rows, poll_every=1, graphs=False), {}
    for one in requests:
        batch.join(one)
        for _ in range(pause):
            found |= {member.request: decoded for member, decoded in batch.advance().items()}
    while batch.members:
        found |= {member.request: decoded for member, decoded in batch.advance().items()}
    return [found[one] for one in requests]


@pytest.mark.parametrize("index", range(5))
def test_tokens_of_one_request_equal_upstreams(model, endless, expected, index):
    """Alone in a batch of its size, and in one with room for others."""
    one = mixed_requests(model, STEPS)[index]
    assert len(expected[index].tokens) == STEPS
    for rows in (2, 10):
        (found,) = run(endless, rows, [one])
        assert torch.equal(found.tokens, expected[index].tokens)


@pytest.mark.parametrize("pause", [0, 30])
def test_tokens_of_a_ragged_batch_equal_upstreams(model, endless, expected, pause):
    found = run(endless, 10, mixed_requests(model, STEPS), pause)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())


@pytest.fixture(scope="module")
def rounded(model, endless, upstream) -> T3Weights:
    return T3Weights.from_upstream(upstream.t3.state_dict(), model.t3.heads, torch.bfloat16)


def test_bfloat16_stays_near_float32(model, endless, rounded):
    """The logits of 100 steps with the tokens forced: within 2 % of their range."""
    tokens = torch.randint(0, 6561, (100,), generator=torch.Generator().manual_seed(0))
    one = request(model)
    exact = forced_logits(endless, one, tokens)
    error = (exact - forced_logits(rounded, one, tokens)).abs()
    reach = float(exact.max() - exact.min())
    print(f"largest {float(error.max()):.4f}, mean {float(error.mean()):.5f}, of {reach:.2f}")
    assert error.max() < 0.02 * reach


def test_company_changes_bfloat16_by_rounding_alone(model, rounded):
    """The logits of 100 steps with the tokens forced, where others in the batch have got further."""
    tokens = torch.randint(0, 6561, (100,), generator=torch.Generator().manual_seed(0))
    alone = forced_logits(rounded, request(model), tokens)
    error = (forced_logits(rounded, request(model), tokens, room=200) - alone).abs()
    reach = float(alone.max() - alone.min())
    print(f"largest {float(error.max()):.4f}, mean {float(error.mean()):.5f}, of {reach:.2f}")
    assert error.max() < 0.02 * reach
