"""What any ``Synthesizer`` owes its callers, as tests: subclass it as ``Test...`` and give the fixture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from cancel import CancelToken
from errors import Cancelled
from speech.contract import (
    PARAMETER_NAMES,
    AudioChunk,
    Conditionals,
    SamplingParams,
    Synthesizer,
    Utterance,
)
from tests.recordings import speech_like

TEXT = "Nobody knew. The ship left at dawn!"


def speak(
    synthesizer: Synthesizer,
    voice: Conditionals | None = None,
    text: str = TEXT,
    seed: int = 1,
    params: SamplingParams = SamplingParams(),  # noqa: B008
) -> list[AudioChunk]:
    """The chunks of one utterance. voice: None for the built-in one."""
    utterance = Utterance(text, voice or synthesizer.builtin_voice(), seed, params)
    return list(synthesizer.synthesize([utterance], CancelToken()))


def samples_of(chunks: Sequence[AudioChunk]) -> np.ndarray:
    return np.concatenate([chunk.with_pause().samples for chunk in chunks])


class SynthesizerContract:
    @pytest.fixture
    def synthesizer(self) -> Synthesizer:
        raise NotImplementedError

    @pytest.fixture
    def low_voice(self, synthesizer) -> Conditionals:
        return synthesizer.encode_reference(recording(1), CancelToken())

    @pytest.fixture
    def high_voice(self, synthesizer) -> Conditionals:
        return synthesizer.encode_reference(recording(2), CancelToken())

    def test_the_batch_is_empty_again_after_speech(self, synthesizer):
        speak(synthesizer)
        usage = synthesizer.usage
        assert usage.rows_in_use == 0
        assert usage.rows > 0

    def test_speech_is_finite_mono_at_the_models_rate(self, synthesizer, low_voice):
        for chunk in speak(synthesizer, low_voice):
            assert chunk.waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ
            assert np.isfinite(chunk.waveform.samples).all()
            assert chunk.waveform.duration_s > 0

    def test_chunks_are_numbered_and_know_their_count(self, synthesizer):
        chunks = speak(synthesizer)
        assert [chunk.index for chunk in chunks] == list(range(chunks[0].count))
        assert {chunk.count for chunk in chunks} == {len(chunks)}
        assert all(chunk.text for chunk in chunks)
        assert all(chunk.pause_after_s >= 0 for chunk in chunks)
        assert chunks[-1].pause_after_s == 0

    def test_chunks_know_where_in_the_text_they_come_from(self, synthesizer):
        text = "Nobody knew.  The ship left!\n\nIt was late."
        utterances = [Utterance(text, synthesizer.builtin_voice(), seed) for seed in (1, 2)]
        chunks = list(synthesizer.synthesize(utterances, CancelToken()))
        for number in (0, 1):
            mine = [chunk for chunk in chunks if chunk.utterance == number and chunk.ends_chunk]
            starts = [chunk.span[0] for chunk in mine]
            assert starts == sorted(starts)
            for chunk in mine:
                start, end = chunk.span
                assert list(filter(str.isalnum, text[start:end])) == list(filter(str.isalnum, chunk.text))

    def test_the_pause_after_an_utterance_is_the_one_that_was_asked_for(self, synthesizer):
        voice = synthesizer.builtin_voice()
        utterances = [
            Utterance("Nobody knew.", voice, seed=1, pause_after_s=0.7, pause_is_exact=True),
            Utterance("The ship left.", voice, seed=2, pause_after_s=1.3),
        ]
        first, last = synthesizer.synthesize(utterances, CancelToken())
        assert (first.pause_after_s, first.pause_is_exact) == (0.7, True)
        assert (last.pause_after_s, last.pause_is_exact) == (1.3, False)
        assert len(first.with_pause().samples) - len(first.waveform.samples) == 16_800

    def test_several_utterances_are_spoken_in_order(self, synthesizer, low_voice):
        utterances = [
            Utterance("Nobody knew.", low_voice, seed=1),
            Utterance("The ship left.", synthesizer.builtin_voice(), seed=2),
        ]
        chunks = list(synthesizer.synthesize(utterances, CancelToken()))
        assert [chunk.utterance for chunk in chunks] == sorted(chunk.utterance for chunk in chunks)
        assert {chunk.utterance for chunk in chunks} == {0, 1}
        assert [chunk.index for chunk in chunks] == list(range(len(chunks)))

    def test_same_arguments_give_the_same_samples(self, synthesizer, low_voice):
        assert_same_audio(speak(synthesizer, low_voice), speak(synthesizer, low_voice))

    def test_another_seed_gives_other_samples(self, synthesizer, low_voice):
        assert not same_audio(speak(synthesizer, low_voice, seed=1), speak(synthesizer, low_voice, seed=2))

    def test_the_largest_seed_works(self, synthesizer):
        assert speak(synthesizer, text="Yes.", seed=2**63 - 1)

    def test_voices_in_turn_do_not_mix(self, synthesizer, low_voice, high_voice):
        voices = {"low": low_voice, "high": high_voice, "built-in": None}
        alone = {name: speak(synthesizer, voice) for name, voice in voices.items()}
        for name in ("high", "built-in", "low", "built-in", "high", "low"):
            assert_same_audio(speak(synthesizer, voices[name]), alone[name])
        assert not same_audio(alone["low"], alone["high"])
        assert not same_audio(alone["low"], alone["built-in"])

    def test_no_parameter_is_left_behind_for_the_next_job(self, synthesizer, low_voice):
        before = speak(synthesizer, low_voice)
        others = SamplingParams(exaggeration=1.5, temperature=0.0, cfg_weight=0.0)
        speak(synthesizer, low_voice, params=others)
        assert_same_audio(speak(synthesizer, low_voice), before)

    def test_conditionals_survive_as_bytes_for_the_same_samples_alone(self, synthesizer, low_voice):
        digest = recording(1).digest()
        content = low_voice.to_bytes(digest)
        again = synthesizer.read_conditionals(content, digest)
        assert_same_audio(speak(synthesizer, again), speak(synthesizer, low_voice))
        assert synthesizer.read_conditionals(content, recording(2).digest()) is None
        assert synthesizer.read_conditionals(b"something else", digest) is None

    def test_nothing_is_said_for_a_cancelled_job(self, synthesizer):
        cancel = CancelToken()
        cancel.cancel(Cancelled("the job was cancelled"))
        utterance = Utterance(TEXT, synthesizer.builtin_voice(), seed=1)
        with pytest.raises(Cancelled):
            list(synthesizer.synthesize([utterance], cancel))

    def test_a_job_can_be_cancelled_between_chunks(self, synthesizer):
        cancel = CancelToken()
        utterance = Utterance(TEXT, synthesizer.builtin_voice(), seed=1)
        chunks = synthesizer.synthesize([utterance], cancel)
        if next(chunks).count > 1:
            cancel.cancel(Cancelled("the job was cancelled"))
            with pytest.raises(Cancelled):
                list(chunks)

    @pytest.mark.parametrize("duration_s", [0.5, 3.017, 31.0])
    def test_a_converted_recording_is_as_long_as_it_was(self, synthesizer, low_voice, duration_s):
        chunks = convert(synthesizer, spoken(duration_s), low_voice)
        assert [chunk.index for chunk in chunks] == list(range(chunks[0].count))
        assert all(chunk.ends_chunk and chunk.text == "" for chunk in chunks)
        assert all(chunk.waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ for chunk in chunks)
        samples = samples_of(chunks)
        assert np.isfinite(samples).all()
        assert samples.any()
        assert len(samples) / MODEL_SAMPLE_RATE_HZ == pytest.approx(duration_s, abs=0.04)

    def test_the_same_recording_voice_and_seed_give_the_same_samples(
        self, synthesizer, low_voice, high_voice
    ):
        recording = spoken(2.0)
        first = convert(synthesizer, recording, low_voice)
        assert not same_audio(convert(synthesizer, recording, high_voice), first)
        assert not same_audio(convert(synthesizer, recording, low_voice, seed=2), first)
        assert_same_audio(convert(synthesizer, recording, low_voice), first)

    def test_nothing_is_converted_for_a_cancelled_job(self, synthesizer, low_voice):
        cancel = CancelToken()
        cancel.cancel(Cancelled("the job was cancelled"))
        with pytest.raises(Cancelled):
            list(synthesizer.convert(spoken(2.0), low_voice, 1, cancel))

    def test_a_conversion_can_be_cancelled_between_its_pieces(self, synthesizer, low_voice):
        cancel = CancelToken()
        chunks = synthesizer.convert(spoken(33.0), low_voice, 1, cancel)
        assert next(chunks).count > 1
        cancel.cancel(Cancelled("the job was cancelled"))
        with pytest.raises(Cancelled):
            list(chunks)

    def test_the_detector_answers_with_a_share(self, synthesizer):
        confidence = synthesizer.detect_watermark(spoken(2.0), CancelToken())
        assert 0.0 <= confidence <= 1.0
        assert synthesizer.detect_watermark(spoken(2.0), CancelToken()) == confidence

    def test_the_watermark_keeps_the_length(self, synthesizer):
        (chunk, *_) = speak(synthesizer)
        (marked,) = (each.waveform for each in synthesizer.watermark([chunk]))
        assert marked.sample_rate_hz == chunk.waveform.sample_rate_hz
        assert len(marked.samples) == len(chunk.waveform.samples)
        assert not np.array_equal(marked.samples, chunk.waveform.samples)

    def test_a_healthy_synthesizer_checks_well(self, synthesizer):
        synthesizer.check()

    def test_the_model_says_what_it_is(self, synthesizer):
        info = synthesizer.info
        assert info.spec.name
        assert info.revision
        assert "en" in info.spec.languages
        assert info.resolve(SamplingParams(temperature=0.0)).keys() == set(PARAMETER_NAMES)
        assert synthesizer.conditionals_key


def convert(
    synthesizer: Synthesizer, recording: Waveform, voice: Conditionals, seed: int = 1
) -> list[AudioChunk]:
    return list(synthesizer.convert(recording, voice, seed, CancelToken()))


def spoken(duration_s: float) -> Waveform:
    """A recording to convert."""
    return Waveform(speech_like(duration_s, MODEL_SAMPLE_RATE_HZ, 3), MODEL_SAMPLE_RATE_HZ)


def recording(seed: int) -> Waveform:
    return Waveform(speech_like(6.0, MODEL_SAMPLE_RATE_HZ, seed), MODEL_SAMPLE_RATE_HZ)


def same_audio(one: Sequence[AudioChunk], other: Sequence[AudioChunk]) -> bool:
    return np.array_equal(samples_of(one), samples_of(other))


def assert_same_audio(one: Sequence[AudioChunk], other: Sequence[AudioChunk]) -> None:
    np.testing.assert_array_equal(samples_of(one), samples_of(other))
