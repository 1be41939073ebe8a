"""Short texts behind a sentence that is cut away again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from cancel import CancelToken
from speech.context import REACH_S, border_s, context_for, cut_context, is_whole
from speech.contract import Alignment, AudioChunk, Utterance
from speech.models.spec import CHATTERBOX
from speech.pipeline import ChatterboxSynthesizer, make_synthesizer
from speech.smoke import write_smoke_checkpoint
from speech.text.calibration import calibration_sentence
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import load_model
from tests.speech.conftest import CPU

RATE_HZ = 24_000
FADE = 480


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory, watermarker: Watermarker) -> Iterator[ChatterboxSynthesizer]:
    """Its attention follows the text."""
    folder = tmp_path_factory.mktemp("follows")
    write_smoke_checkpoint(folder, follows_text=True)
    model = load_model(CHATTERBOX, Checkpoint(folder, None, may_be_unpublished=True), CPU)
    with closing(make_synthesizer(model, watermarker)) as synthesizer:
        synthesizer.check()
        yield synthesizer


def speak(synthesizer: ChatterboxSynthesizer, *texts: str, hop="whole", **options) -> list[AudioChunk]:
    voice = synthesizer.builtin_voice()
    utterances = [Utterance(text, voice, seed=7, **options) for text in texts]
    return list(synthesizer.synthesize(utterances, CancelToken(), hop=hop))


def test_a_short_text_is_what_comes_behind_the_context(synthesizer):
    (chunk,) = speak(synthesizer, "Yes, no.", context=True, align=True)
    context = context_for("Yes, no.", "en")
    (whole,) = speak(synthesizer, context + "Yes, no.", align=True)
    assert chunk.text == "Yes, no."
    samples, spoken = chunk.waveform.samples, whole.waveform.samples
    assert 0 < len(samples) < len(spoken) / 2
    assert np.array_equal(samples[FADE:], spoken[len(spoken) - len(samples) + FADE :])
    assert samples[0] == 0
    end_s, _ = border_s(whole.alignment, context)
    assert (len(spoken) - len(samples)) / RATE_HZ == pytest.approx(end_s, abs=REACH_S + 0.01)
    assert chunk.alignment.ends_s[-1] == pytest.approx(len(samples) / RATE_HZ, abs=0.5)
    assert chunk.alignment.spans[-1][1] == len("Yes, no.")


def test_longer_texts_streams_and_jobs_that_do_not_ask_have_none(synthesizer):
    for text, options in (
        ("There are four words.", {"context": True}),
        ("Yes.", {"context": True, "hop": "stream"}),
        ("Yes.", {}),
    ):
        asked = speak(synthesizer, text, **options)
        usual = speak(synthesizer, text, **{**options, "context": False})
        for ours, theirs in zip(asked, usual, strict=True):
            assert np.array_equal(ours.waveform.samples, theirs.waveform.samples)


def test_the_neighbours_of_a_short_text_stay_as_they_are(synthesizer):
    texts = ("My brother sold his boat.", "Yes.", "Nobody minded that at all.")
    before, short, after = speak(synthesizer, *texts, context=True)
    for chunk, text in ((before, texts[0]), (short, texts[1]), (after, texts[2])):
        (alone,) = speak(synthesizer, text, context=True)
        assert np.array_equal(chunk.waveform.samples, alone.waveform.samples)


def test_without_an_alignment_the_text_is_spoken_alone(synthesizer, monkeypatch):
    (alone,) = speak(synthesizer, "Yes.")
    monkeypatch.setattr("speech.pipeline._alignment", lambda audio, request: None)
    (chunk,) = speak(synthesizer, "Yes.", context=True)
    assert np.array_equal(chunk.waveform.samples, alone.waveform.samples)


def test_a_model_that_cannot_align_speaks_no_context(our_model, watermarker):
    with closing(make_synthesizer(our_model, watermarker)) as synthesizer:
        asked, usual = (speak(synthesizer, "Yes.", context=context)[0] for context in (True, False))
    assert np.array_equal(asked.waveform.samples, usual.waveform.samples)


@pytest.mark.parametrize(
    ("text", "language", "has_context"),
    [("Yes.", "en", True), ("Good morning, Ann!", "en", True), ("Where are you now?", "en", False),
     ("好的", "zh", True), ("我们今天晚上去吃饭吧", "zh", False), ("नमस्ते", "hi", True), ("7", "en", True)],
)  # fmt: skip
def test_texts_of_up_to_three_words_have_a_context(text, language, has_context):
    context = context_for(text, language)
    assert bool(context) == has_context
    if has_context:
        assert context.strip() == calibration_sentence(language)
        assert context.endswith(" ") == (language != "zh")


def test_the_cut_is_at_the_quietest_place_near_the_border():
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * RATE_HZ).astype(np.float32)
    samples[round(0.93 * RATE_HZ) : round(0.96 * RATE_HZ)] = 0
    cut, start_s = cut_context(samples, RATE_HZ, 1.05, 2.0)
    assert 0.93 <= start_s <= 0.95
    assert len(cut) == len(samples) - round(start_s * RATE_HZ)
    for end_s in (-1.0, 0.0, 1.99, 5.0):
        cut, start_s = cut_context(samples, RATE_HZ, end_s, end_s + 0.5)
        assert 0 <= start_s <= 2.0
        assert len(cut) == len(samples) - round(start_s * RATE_HZ)


def test_an_alignment_that_never_reaches_the_text_tells_no_border():
    alignment = Alignment((0.5, 1.0, 1.0), ((0, 5), (5, 10), (10, 14)))
    assert border_s(alignment, "x" * 10) is None
    assert border_s(alignment, "x" * 20) is None
    found = border_s(replace(alignment, ends_s=(0.5, 1.0, 1.6)), "x" * 10)
    assert found == (pytest.approx(1.0), pytest.approx(1.3))


def test_silence_behind_the_word_is_never_taken_for_the_place_before_it():
    samples = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)
    samples[round(0.7 * RATE_HZ) :] = 0  # the word is said from 0.55 to 0.7 s
    _, start_s = cut_context(samples, RATE_HZ, 0.55, 0.62)
    assert start_s < 0.62


@pytest.mark.parametrize(
    ("duration_s", "level", "expected"), [(0.5, 0.1, True), (0.1, 0.1, False), (0.5, 0.002, False)]
)
def test_what_is_left_is_long_and_loud_enough_or_not_the_text(duration_s, level, expected):
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * RATE_HZ).astype(np.float32)
    cut = np.random.default_rng(1).normal(0, level, round(duration_s * RATE_HZ)).astype(np.float32)
    assert is_whole(cut, samples, RATE_HZ, "Yes.") == expected
