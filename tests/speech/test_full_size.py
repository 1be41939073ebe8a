"""At the published size: equal to upstream's own loading, conditionals and generation.

Takes some 12 GB of memory and 3.2 GB of disk; `make test-slow`.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chatterbox import ChatterboxTTS

from audio.pauses import cut_at_pauses
from audio.waveform import resample
from cancel import CancelToken
from speech.models.dimensions import FULL
from speech.models.llama_t3 import LlamaT3, T3Weights
from speech.models.spec import CHATTERBOX, MEANFLOW
from speech.pipeline import LONGEST_PIECE_S, make_synthesizer
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import S3Gen
from speech.s3gen.weights import prepare
from speech.smoke import untrained_s3gen, write_smoke_checkpoint
from speech.t3.batch import RunningBatch
from speech.t3.request import Decoded
from speech.upstream import UpstreamBatch, UpstreamS3Gen, load_upstream_modules, quiet_upstream
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from tests.speech.models.forced import forced_logits
from tests.speech.reference.test_encoder import assert_equal_conditionals
from tests.speech.s3gen.packing import EIGHT, distance, make_requests, read_s3gen
from tests.speech.speaking import join, join_marked, recording, speak
from tests.speech.t3.requests import decode_all, mixed_requests, request
from tests.speech.test_upstream_modules import assert_same_tensors
from tests.speech.upstream import upstream_conditionals
from tests.speech.vc import generate, upstream_vc, wav_file

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("all_threads")]

CPU = torch.device("cpu")
SENTENCE = "Good morning, all."
STEPS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    write_smoke_checkpoint(folder, size="full")
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder) -> Checkpoint:
    return Checkpoint(folder, None, may_be_unpublished=True)


@pytest.fixture(scope="module")
def model(checkpoint) -> Model:
    """With our T3, in float32."""
    return load_model(CHATTERBOX, checkpoint, CPU)


@pytest.fixture(scope="module")
def upstream(folder) -> ChatterboxTTS:
    """Upstream's loader on the very files: the layout is the published one."""
    return ChatterboxTTS.from_local(folder, "cpu")


def test_each_tensor_equals_from_local(folder, upstream):
    t3, s3gen = load_upstream_modules(CHATTERBOX, Checkpoint(folder, None), FULL, CPU)
    assert_same_tensors(s3gen, upstream.s3gen)
    assert_same_tensors(t3, upstream.t3)


def test_conditionals_equal_upstreams(model, upstream, tmp_path):
    builtin, waveform = upstream.conds, recording(4, 12.0)
    theirs = upstream_conditionals(upstream, waveform.samples, tmp_path)
    upstream.conds = builtin
    assert_equal_conditionals(model.reference_encoder.compute(waveform), theirs, tolerance=1e-4)


def test_samples_of_a_sentence_equal_upstreams_generate(model, upstream):
    torch.manual_seed(11)
    theirs = upstream.generate(SENTENCE)[0].numpy()
    with closing(make_synthesizer(model, Watermarker())) as synthesizer:
        chunks = speak(synthesizer, SENTENCE, seed=11)
        (chunk,) = chunks
        assert not chunk.warnings
        assert len(join(chunks)) > 0.6 * 24_000
        np.testing.assert_allclose(join_marked(synthesizer, chunks), theirs, atol=1e-5)


def test_a_converted_recording_equals_upstreams(folder, model, upstream, tmp_path):
    source = recording(5, 4.0)
    vc = upstream_vc(upstream.s3gen, folder / "conds.pt")
    theirs = generate(vc, wav_file(tmp_path, source.samples), 11)
    with closing(make_synthesizer(model, Watermarker())) as synthesizer:
        (chunk,) = synthesizer.convert(source, synthesizer.builtin_voice(), 11, CancelToken())
    assert len(theirs) == 4 * 24_000
    np.testing.assert_allclose(chunk.waveform.samples, theirs, rtol=0, atol=5e-6)


def test_speech_tokens_of_each_piece_of_a_recording_equal_upstreams(model, upstream):
    pieces = cut_at_pauses(recording(6, 70.0), LONGEST_PIECE_S)
    assert len(pieces) > 2
    for piece in pieces:
        samples = resample(piece.waveform, 16_000).samples
        theirs, _ = upstream.s3gen.tokenizer(torch.from_numpy(samples)[None])
        assert torch.equal(model.reference_encoder.tokenize(samples), theirs[0])


@pytest.fixture(scope="module")
def eight_of_upstream(upstream) -> list[torch.Tensor]:
    return UpstreamS3Gen(upstream.s3gen).render(make_requests(EIGHT, CPU))


def test_samples_of_chunks_of_any_length_and_voice_equal_upstreams(model, eight_of_upstream):
    """And none depends on the others of its call."""
    ours = model.s3gen.render(make_requests(EIGHT, CPU))
    for samples, expected in zip(ours, eight_of_upstream, strict=True):
        torch.testing.assert_close(samples, expected, rtol=0, atol=5e-6)
    (alone,) = model.s3gen.render(make_requests(EIGHT, CPU)[2:3])
    assert torch.equal(alone, ours[2])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_packed_rows_and_padded_batches_equal_upstreams(folder, eight_of_upstream, count):
    """As a GPU renders chunks together, in float32."""
    renderer = PackedS3Gen(read_s3gen(folder, FULL), CHATTERBOX.flow, torch.float32, graphs=False)
    ours = renderer.render(make_requests(EIGHT, CPU)[:count])
    for samples, expected in zip(ours, eight_of_upstream[:count], strict=True):
        torch.testing.assert_close(samples, expected, rtol=0, atol=5e-6)


@pytest.fixture(scope="module")
def meanflow() -> Any:
    """Upstream's ``S3Gen(meanflow=True)``."""
    quiet_upstream()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return untrained_s3gen(FULL, MEANFLOW).eval()


def test_samples_with_meanflow_equal_upstreams(meanflow):
    """Alone, and packed in float32."""
    weights = prepare(meanflow.state_dict())
    expected = UpstreamS3Gen(meanflow).render(make_requests(EIGHT, CPU))
    plain = S3Gen(weights, MEANFLOW)
    for renderer in (plain, PackedS3Gen(weights, MEANFLOW, torch.float32, graphs=False)):
        for samples, theirs in zip(renderer.render(make_requests(EIGHT, CPU)), expected, strict=True):
            torch.testing.assert_close(samples, theirs, rtol=0, atol=5e-6)


def test_mels_with_meanflow_equal_upstreams_and_are_near_in_bfloat16(meanflow):
    weights = prepare(meanflow.state_dict())
    one, two, three = (make_requests(EIGHT[:1], CPU)[0] for _ in range(3))
    expected = UpstreamS3Gen(meanflow).mel(one)
    torch.testing.assert_close(S3Gen(weights, MEANFLOW).mel(two), expected, rtol=0, atol=1e-5)
    rounded = PackedS3Gen(weights, MEANFLOW, torch.bfloat16, graphs=False, in_batches=False).mel(three)
    print(f"in bfloat16 {distance(rounded, expected):.2%} of the norm")
    assert distance(rounded, expected) < 0.02


@pytest.fixture(scope="module")
def endless(model, upstream) -> LlamaT3:
    """Neither T3 stops any more: the stop token is as likely as the start token, which is never drawn."""
    tokens, head = CHATTERBOX.tokens, upstream.t3.speech_head.weight
    with torch.no_grad():
        head[tokens.stop_speech] = head[tokens.start_speech]
    return ours_of(upstream, model, torch.float32)


def ours_of(upstream: ChatterboxTTS, model: Model, dtype: torch.dtype) -> LlamaT3:
    weights = T3Weights.from_upstream(upstream.t3.state_dict(), model.t3.weights.heads, dtype)
    return LlamaT3(weights, CHATTERBOX)


@pytest.fixture(scope="module")
def expected(model, endless, upstream) -> list[Decoded]:
    return decode_all(UpstreamBatch(upstream.t3, CHATTERBOX), mixed_requests(model, STEPS))


@pytest.mark.parametrize("index", range(5))
def test_tokens_of_one_request_equal_upstreams(model, endless, expected, index):
    """Alone in a batch of its size, and in one with room for others."""
    one = mixed_requests(model, STEPS)[index]
    assert len(expected[index].tokens) == STEPS
    for rows in (2, 10):
        (found,) = decode_all(RunningBatch(endless, rows, poll_every=1, graphs=False), [one])
        assert torch.equal(found.tokens, expected[index].tokens)


@pytest.mark.parametrize(("poll_every", "steps_apart"), [(1, 0), (1, 30), (8, 4)])
def test_tokens_of_a_ragged_batch_equal_upstreams(model, endless, expected, poll_every, steps_apart):
    """One after the other joins, so many looks later each; the rows of the first ones leave first."""
    batch = RunningBatch(endless, 10, poll_every=poll_every, graphs=False)
    found = decode_all(batch, mixed_requests(model, STEPS), steps_apart)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())


@pytest.fixture(scope="module")
def rounded(model, endless, upstream) -> LlamaT3:
    return ours_of(upstream, model, torch.bfloat16)


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
