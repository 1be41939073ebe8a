"""The multilingual models from text to audio, against upstream's ``ChatterboxMultilingualTTS``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from chatterbox.mtl_tts import ChatterboxMultilingualTTS

from cancel import CancelToken
from errors import InvalidRequest, ModelUnavailable
from speech.contract import Utterance
from speech.models.spec import MODELS, MULTILINGUAL, MULTILINGUAL_V2
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer, make_batch, make_synthesizer
from speech.smoke import SPEECH_PER_TEXT_TOKEN, write_smoke_checkpoint
from speech.t3.batch import RunningBatch
from tests.speech.mtl import generate, upstreams_tokenizer, upstreams_tts
from tests.speech.speaking import encode, join, join_marked, speak
from tests.speech.t3.requests import decode_all, mixed_requests, request
from tests.synthesizer_contract import SynthesizerContract

SENTENCE = "Grün und schön, sagt man; überall..."


@pytest.fixture(scope="module")
def ours(multilingual, watermarker) -> Iterator[ChatterboxSynthesizer]:
    with closing(make_synthesizer(multilingual, watermarker, 2)) as synthesizer:
        yield synthesizer


@pytest.fixture(scope="module")
def reference_engine(upstream_multilingual, watermarker) -> Iterator[ChatterboxSynthesizer]:
    """The worker with ``ENGINE=upstream``."""
    with closing(make_synthesizer(upstream_multilingual, watermarker)) as synthesizer:
        yield synthesizer


@pytest.fixture(scope="module")
def upstreams(upstream_multilingual, multilingual_checkpoint) -> ChatterboxMultilingualTTS:
    model, folder = upstream_multilingual, multilingual_checkpoint.folder
    tokenizer = upstreams_tokenizer(folder, MULTILINGUAL_V2)
    return upstreams_tts(model.t3, model.s3gen._s3gen, None, tokenizer, folder)


@pytest.mark.parametrize(
    ("language", "text"), [("de", SENTENCE), ("ko", "안녕하세요, 여러분."), ("he", "שלום לכולם.")]
)
def test_samples_of_a_sentence_equal_upstreams_generate(ours, reference_engine, upstreams, language, text):
    theirs = generate(upstreams, text, language, seed=3)
    for synthesizer in (ours, reference_engine):
        chunks = speak(synthesizer, text, seed=3, language=language)
        spoken = join_marked(synthesizer, chunks)
        assert not chunks[0].warnings
        assert len(spoken) == len(theirs) > 0.4 * 24_000
        np.testing.assert_allclose(spoken, theirs, atol=1e-5)


def test_parameters_reach_the_model(ours, upstreams):
    given = {"temperature": 0.6, "top_p": 0.8, "cfg_weight": 0.0, "exaggeration": 1.2, "min_p": 0.1}
    theirs = generate(upstreams, SENTENCE, "de", seed=5, repetition_penalty=1.5, **given)
    spoken = speak(ours, SENTENCE, seed=5, language="de", repetition_penalty=1.5, **given)
    np.testing.assert_allclose(join_marked(ours, spoken), theirs, atol=1e-5)


@pytest.mark.parametrize("duration_s", [4.0, 3.98])
@pytest.mark.parametrize("hop", ["whole", "stream"])
def test_the_sound_of_the_last_token_is_cut(ours, multilingual, build, duration_s, hop):
    """In voices of which S3Gen gives 20 ms less of a chunk, too."""
    uncut = build(replace(multilingual, spec=replace(multilingual.spec, cut_last_token=False)))
    voice = encode(ours, 1, duration_s)
    text = SENTENCE * 2  # a chunk in several pieces
    whole, cut = (join(speak(each, text, voice, seed=8, language="de", hop=hop)) for each in (uncut, ours))
    tokens = -(-len(whole) // 960)
    assert len(cut) == 960 * (tokens - 1)
    assert np.array_equal(whole[: len(cut)], cut)


def test_tokens_are_upstreams_alone_and_in_company(multilingual, upstream_multilingual):
    expected = decode_all(make_batch(upstream_multilingual), mixed_requests(upstream_multilingual))
    for steps_apart in (0, 3):
        batch = RunningBatch(multilingual.t3, 10, poll_every=1, graphs=False)
        found = decode_all(batch, mixed_requests(multilingual), steps_apart)
        for mine, theirs in zip(found, expected, strict=True):
            assert torch.equal(mine.tokens, theirs.tokens)
            assert torch.equal(mine.generator.get_state(), theirs.generator.get_state())


def test_the_untrained_models_length_follows_its_text(multilingual):
    for text in ("Yes.", "A sentence of some forty letters, or so.", "Word after word. " * 16):
        one = request(multilingual, text, max_tokens=1000)
        (decoded,) = decode_all(make_batch(multilingual), [one])
        assert decoded.stopped
        expected = SPEECH_PER_TEXT_TOKEN * len(one.text_tokens)
        assert len(decoded.tokens) == pytest.approx(expected, rel=0.15, abs=6)


def test_what_the_model_does_not_know_is_left_out_with_a_warning(ours):
    (chunk,) = speak(ours, "Das ist gut 🙂 und ☃ auch 🙂.", seed=2, language="de")
    assert chunk.warnings == ("segment 1 of 1 holds what the model cannot say: 🙂 ☃",)
    (bare,) = speak(ours, "Das ist gut und auch .", seed=2, language="de")
    assert np.array_equal(chunk.waveform.samples, bare.waveform.samples)


def test_a_text_of_nothing_that_the_model_knows_is_refused(ours):
    with pytest.raises(
        InvalidRequest, match=r"^text has nothing that the model can say in the language 'de'"
    ):
        speak(ours, "สวัสดี", language="de")


@pytest.mark.parametrize("name", ["multilingual", "zh-cmn", "pt-br"])
def test_the_other_models_speak_their_languages(tmp_path, name):
    spec = MODELS[name]
    write_smoke_checkpoint(tmp_path, spec=spec)
    if spec.languages == ("zh",) and find_spec("rjieba") is None:
        with pytest.raises(ModelUnavailable, match="Chinese needs the package rjieba"):
            load_synthesizer(name, checkpoint_dir=tmp_path, device="cpu")
        return
    with closing(load_synthesizer(name, checkpoint_dir=tmp_path, device="cpu")) as synthesizer:
        synthesizer.check()
        unavailable = synthesizer._model.tokenizer.unavailable
        for language in sorted(set(spec.languages) - unavailable.keys())[:3]:
            (chunk,) = speak(synthesizer, "Abc 123, Äöß.", seed=1, language=language)
            assert chunk.waveform.samples.any()
            assert not chunk.warnings


def test_v3_reads_text_as_it_was_trained_and_as_master_does_when_told_so(
    multilingual_checkpoint, multilingual
):
    from speech.models.tokenizers import load_tokenizer

    v3 = load_tokenizer(replace(MULTILINGUAL, files=MULTILINGUAL_V2.files), multilingual_checkpoint)
    masters = load_tokenizer(
        replace(MULTILINGUAL, files=MULTILINGUAL_V2.files, text=MULTILINGUAL_V2.text), multilingual_checkpoint
    )
    text = "der Fluß ist GRÜN"
    assert torch.equal(masters.encode(text, "de"), multilingual.tokenizer.encode(text, "de"))
    assert not torch.equal(v3.encode(text, "de"), masters.encode(text, "de"))


def test_without_its_table_a_model_loses_chinese_alone(tmp_path, multilingual_checkpoint, caplog):
    from speech.models.tokenizers import load_tokenizer
    from speech.weights.checkpoint import Checkpoint

    file = MULTILINGUAL_V2.files.tokenizer[0]
    (tmp_path / file).write_bytes((multilingual_checkpoint.folder / file).read_bytes())
    tokenizer = load_tokenizer(MULTILINGUAL_V2, Checkpoint(tmp_path, None))
    assert "zh" in tokenizer.unavailable
    assert "multilingual-v2 cannot speak zh: Chinese needs" in caplog.text
    assert len(tokenizer.encode("Hello.", "en"))
    assert not (tmp_path / MULTILINGUAL.files.cangjie_table).exists()


class TestContract(SynthesizerContract):
    @pytest.fixture
    def synthesizer(self, ours):
        return ours


def test_an_error_of_a_text_names_where_it_was_sent(ours):
    utterance = Utterance("☃7☃", ours.builtin_voice(), seed=1, language="de", field="turns[2].text")
    assert list(ours.synthesize([utterance], CancelToken()))
    with pytest.raises(InvalidRequest) as refused:
        list(ours.synthesize([replace(utterance, text="ქართული")], CancelToken()))
    assert refused.value.field == "turns[2].text"
