"""What any ``Speaker`` owes its callers, as tests: subclass it as ``Test...`` and give the fixture."""

from __future__ import annotations

import numpy as np
import pytest

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from speech.contract import Listener, Reference, Speaker, Speech, SpeechParams, SpeechStopped
from tests.recordings import speech_like

TEXT = "Nobody knew. The ship left at dawn!"


class SpeakerContract:
    @pytest.fixture
    def speaker(self) -> Speaker:
        raise NotImplementedError

    @pytest.fixture
    def low_voice(self) -> Reference:
        return Reference.of(Waveform(speech_like(6.0, MODEL_SAMPLE_RATE_HZ, 1), MODEL_SAMPLE_RATE_HZ))

    @pytest.fixture
    def high_voice(self) -> Reference:
        return Reference.of(Waveform(speech_like(6.0, MODEL_SAMPLE_RATE_HZ, 2), MODEL_SAMPLE_RATE_HZ))

    def test_speech_is_finite_mono_at_the_models_rate(self, speaker, low_voice):
        speech = speaker.speak(TEXT, low_voice, SpeechParams(seed=1))
        assert speech.waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ
        assert np.isfinite(speech.waveform.samples).all()
        assert speech.waveform.duration_s > 0

    def test_segments_lie_in_order_within_the_audio(self, speaker):
        speech = speaker.speak(TEXT, None, SpeechParams(seed=1))
        times_s = [time_s for part in speech.segments for time_s in (part.start_s, part.end_s)]
        assert times_s
        assert times_s == sorted(times_s)
        assert times_s[0] >= 0
        assert times_s[-1] <= speech.waveform.duration_s + 1e-6

    def test_same_arguments_give_the_same_samples(self, speaker, low_voice):
        first = speaker.speak(TEXT, low_voice, SpeechParams(seed=1))
        again = speaker.speak(TEXT, low_voice, SpeechParams(seed=1))
        assert_same_audio(first, again)

    def test_another_seed_gives_other_samples(self, speaker, low_voice):
        first = speaker.speak(TEXT, low_voice, SpeechParams(seed=1))
        other = speaker.speak(TEXT, low_voice, SpeechParams(seed=2))
        assert not same_audio(first, other)

    def test_the_largest_seed_works(self, speaker):
        assert speaker.speak("Yes.", None, SpeechParams(seed=2**63 - 1)).waveform.duration_s > 0

    def test_voices_in_turn_do_not_mix(self, speaker, low_voice, high_voice):
        params = SpeechParams(seed=1)
        alone = {voice: speaker.speak(TEXT, voice, params) for voice in (low_voice, high_voice, None)}
        for voice in (high_voice, None, low_voice, None, high_voice, low_voice):
            assert_same_audio(speaker.speak(TEXT, voice, params), alone[voice])
        assert not same_audio(alone[low_voice], alone[high_voice])
        assert not same_audio(alone[low_voice], alone[None])

    def test_no_parameter_is_left_behind_for_the_next_job(self, speaker, low_voice):
        before = speaker.speak(TEXT, low_voice, SpeechParams(seed=1))
        speaker.speak(
            TEXT, low_voice, SpeechParams(seed=1, exaggeration=1.5, temperature=0.0, cfg_weight=0.0)
        )
        assert_same_audio(speaker.speak(TEXT, low_voice, SpeechParams(seed=1)), before)

    def test_every_parameter_comes_back_resolved(self, speaker):
        speech = speaker.speak("Yes.", None, SpeechParams(seed=1, exaggeration=0.7, cfg_weight=0.0))
        assert speech.parameters["exaggeration"] == 0.7
        assert speech.parameters["cfg_weight"] == 0.0
        assert {"temperature", "top_p", "min_p", "repetition_penalty", "top_k"} <= speech.parameters.keys()

    def test_the_pieces_are_the_speech(self, speaker, low_voice):
        pieces = []

        class Recorder(Listener):
            def hear(self, piece):
                pieces.append(piece)

        speech = speaker.speak(TEXT, low_voice, SpeechParams(seed=1), Recorder())
        heard = np.concatenate([piece.waveform.samples for piece in pieces])
        assert np.array_equal(heard, speech.waveform.samples)
        assert [piece.index for piece in pieces] == list(range(pieces[0].count))

    def test_nothing_is_said_to_nobody(self, speaker):
        class Gone(Listener):
            def is_gone(self):
                return True

        with pytest.raises(SpeechStopped):
            speaker.speak(TEXT, None, SpeechParams(seed=1), Gone())

    def test_a_sound_speaker_checks_well(self, speaker):
        speaker.check()

    def test_model_says_what_it_is(self, speaker):
        assert speaker.info.variant
        assert speaker.info.revision
        assert "en" in speaker.info.languages


def same_audio(one: Speech, other: Speech) -> bool:
    return np.array_equal(one.waveform.samples, other.waveform.samples)


def assert_same_audio(one: Speech, other: Speech) -> None:
    np.testing.assert_array_equal(one.waveform.samples, other.waveform.samples)
