"""Turbo from text to audio, against upstream's ``ChatterboxTurboTTS`` on the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import torch
from chatterbox.tts_turbo import ChatterboxTurboTTS, Conditionals
from transformers import AutoTokenizer

from errors import ReferenceTooShort
from speech.models.spec import NANO, TURBO
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer, make_synthesizer
from speech.smoke import write_smoke_checkpoint
from tests.speech.speaking import encode, join, join_marked, speak
from tests.synthesizer_contract import SynthesizerContract

SENTENCE = "Well [laugh] that was it; all of it..."


@pytest.fixture(scope="module")
def ours(turbo, watermarker) -> Iterator[ChatterboxSynthesizer]:
    with closing(make_synthesizer(turbo, watermarker, 2)) as synthesizer:
        yield synthesizer


@pytest.fixture(scope="module")
def reference_engine(upstream_turbo, watermarker) -> Iterator[ChatterboxSynthesizer]:
    """The worker with ``ENGINE=upstream``."""
    with closing(make_synthesizer(upstream_turbo, watermarker)) as synthesizer:
        yield synthesizer


@pytest.fixture(scope="module")
def upstreams(upstream_turbo, turbo_checkpoint) -> ChatterboxTurboTTS:
    """As ``ChatterboxTurboTTS.from_local`` builds it, which fixes the published size."""
    folder = turbo_checkpoint.folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    return ChatterboxTurboTTS(
        upstream_turbo.t3,
        upstream_turbo.s3gen._s3gen,
        None,
        tokenizer,
        "cpu",
        Conditionals.load(folder / TURBO.files.builtin_voice),
    )


@pytest.mark.parametrize("seed", [3, 4])
def test_samples_of_a_sentence_equal_upstreams_generate(ours, reference_engine, upstreams, seed):
    torch.manual_seed(seed)
    theirs = upstreams.generate(SENTENCE)[0].numpy()
    for synthesizer in (ours, reference_engine):
        chunks = speak(synthesizer, SENTENCE, seed=seed)
        spoken = join_marked(synthesizer, chunks)
        assert len(spoken) > 0.6 * 24_000
        np.testing.assert_allclose(spoken, theirs[: len(spoken)], atol=1e-5)
        # The worker cuts silence at the end; upstream appends some.
        assert len(theirs) - len(spoken) < 0.8 * 24_000


def test_parameters_reach_the_model(ours, upstreams):
    given = {"temperature": 0.6, "top_p": 0.8, "repetition_penalty": 1.5, "top_k": 50}
    torch.manual_seed(5)
    theirs = upstreams.generate(SENTENCE, **given)[0].numpy()
    spoken = join_marked(ours, speak(ours, SENTENCE, seed=5, **given))
    np.testing.assert_allclose(spoken, theirs[: len(spoken)], atol=1e-5)


def test_what_the_model_does_not_have_changes_nothing(ours):
    usual, others = (
        speak(ours, SENTENCE, seed=6, **given)
        for given in ({}, {"cfg_weight": 0.7, "exaggeration": 1.5, "min_p": 0.3})
    )
    assert np.array_equal(join(usual), join(others))


def test_a_stream_has_the_tokens_and_nearly_the_length_of_the_whole(ours):
    whole, streamed = (join(speak(ours, SENTENCE * 2, seed=8, hop=hop)) for hop in ("whole", "stream"))
    assert len(speak(ours, SENTENCE * 2, seed=8, hop="stream")) > 2
    assert abs(len(whole) - len(streamed)) < 0.12 * 24_000


def test_short_recordings_are_refused_by_name(ours):
    with pytest.raises(ReferenceTooShort, match=r"needs more than 5 s; send a longer recording"):
        encode(ours, 1, 4.0)


def test_nano_is_turbo_in_another_size(tmp_path):
    write_smoke_checkpoint(tmp_path, spec=NANO)
    with closing(load_synthesizer("nano", checkpoint_dir=tmp_path, device="cpu")) as synthesizer:
        synthesizer.check()
        assert synthesizer.info.spec is not TURBO
        assert len(join(speak(synthesizer, SENTENCE))) > 0.6 * 24_000


class TestContract(SynthesizerContract):
    @pytest.fixture
    def synthesizer(self, ours):
        return ours
