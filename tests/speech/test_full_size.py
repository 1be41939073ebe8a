"""At the published size: equal to upstream's own loading, conditionals and generation.

Takes some 12 GB of memory and 3.2 GB of disk; `make test-slow`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from chatterbox import ChatterboxTTS

from audio.waveform import Waveform
from speech.checkpoint import Model, load_model
from speech.contract import Reference, SpeechParams
from speech.engine import SpeechEngine
from speech.locate import Checkpoint
from speech.smoke import write_smoke_checkpoint
from speech.variants import CHATTERBOX
from speech.watermark import Watermarker
from tests.recordings import speech_like
from tests.speech.test_checkpoint import assert_same_tensors
from tests.speech.upstream import upstream_conditionals

pytestmark = pytest.mark.slow

SENTENCE = "Good morning, all."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    write_smoke_checkpoint(folder, size="full")
    return folder


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return load_model(CHATTERBOX, Checkpoint(folder, None, chosen_by_name=True), torch.device("cpu"))


@pytest.fixture(scope="module")
def upstream(folder) -> ChatterboxTTS:
    """Upstream's loader on the very files: the layout is the published one."""
    return ChatterboxTTS.from_local(folder, "cpu")


@pytest.fixture(scope="module")
def voice() -> Reference:
    return Reference.of(Waveform(speech_like(12.0, 24_000, seed=4), 24_000))


@pytest.mark.parametrize(("ours", "theirs"), [("t3", "t3"), ("s3gen", "s3gen"), ("voice_encoder", "ve")])
def test_each_tensor_equals_from_local(model, upstream, ours, theirs):
    assert_same_tensors(getattr(model, ours), getattr(upstream, theirs))


def test_conditionals_equal_upstreams(model, upstream, voice, tmp_path):
    builtin = upstream.conds
    theirs = upstream_conditionals(upstream, voice.waveform.samples, tmp_path)
    upstream.conds = builtin
    ours = SpeechEngine(model, Watermarker())._encoder.compute(voice.waveform)
    assert torch.equal(ours.t3_prompt_tokens, theirs.t3.cond_prompt_speech_tokens)
    assert torch.equal(ours.decoder_prompt["prompt_token"], theirs.gen["prompt_token"])
    for name in ("prompt_feat", "embedding"):
        torch.testing.assert_close(ours.decoder_prompt[name], theirs.gen[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.speaker_embedding, theirs.t3.speaker_emb, rtol=1e-4, atol=1e-5)


def test_tokens_and_samples_of_a_sentence_equal_upstreams_generate(model, upstream, monkeypatch):
    their_tokens, our_tokens = recorded(upstream.t3, monkeypatch), recorded(model.t3, monkeypatch)
    torch.manual_seed(11)
    theirs = upstream.generate(SENTENCE)[0].numpy()
    ours = SpeechEngine(model, Watermarker()).speak(SENTENCE, None, SpeechParams(seed=11))

    assert not ours.warnings
    assert their_tokens[0].shape[1] > 15
    assert torch.equal(our_tokens[0], their_tokens[0])
    np.testing.assert_allclose(ours.waveform.samples, theirs, atol=1e-5)


def recorded(t3, monkeypatch) -> list[torch.Tensor]:
    """What this T3's ``inference`` returns from now on."""
    tokens: list[torch.Tensor] = []
    inference = t3.inference

    def record(**options) -> torch.Tensor:
        tokens.append(inference(**options))
        return tokens[-1]

    monkeypatch.setattr(t3, "inference", record)
    return tokens
