import base64
from dataclasses import replace

import numpy as np
import pytest

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from cancel import CancelToken
from errors import (
    Cancelled,
    InvalidRequest,
    ReferenceInvalid,
    ReferenceTooShort,
    TextTooLong,
    VoiceNotFound,
)
from speech.contract import ModelInfo
from speech.models.spec import TURBO
from tests.fakes import FAKE_REVISION, PAUSE_S, WATERMARK, FakeSynthesizer, build_services
from tests.operations.conftest import run_operation, start_operation
from tests.recordings import silence, speech_like, wav_bytes

TEXT = "The ferry was late again. Nobody minded."
MODEL_PARAMETERS = {
    "exaggeration": 0.5,
    "cfg_weight": 0.5,
    "temperature": 0.8,
    "top_p": 1.0,
    "min_p": 0.05,
    "repetition_penalty": 1.2,
    "top_k": None,
}
OTHER_PARAMETERS = {
    "language": "en",
    "max_reference_duration_sec": 30.0,
    "audio_normalization": None,
    "speed": 1.0,
    "markup": "tags",
    "normalize_text": True,
    "even_level": False,
    "room_tone": False,
    "max_takes": 2,
    "short_text_context": False,
    "delivery": "auto",
}


def speak(services, **fields):
    return run_operation(services, "tts", **{"text": TEXT, **fields})


def clone(services, recording, name):
    return run_operation(services, "clone_voice", voice_name=name, reference_audio=recording, preview=False)


def same(*receipts):
    first, *others = (receipt["samples"] for receipt in receipts)
    return all(np.array_equal(first, other) for other in others)


def base64_wav(samples, rate_hz=MODEL_SAMPLE_RATE_HZ):
    return base64.b64encode(wav_bytes(samples, rate_hz)).decode()


def test_a_text_alone_is_spoken_in_the_built_in_voice_with_all_defaults(services, synthesizer):
    reply = speak(services, seed=11)
    assert reply["format"] == "wav"
    assert reply["sample_rate"] == 24_000
    assert reply["text"] == TEXT
    assert reply["mode"] == "basic"
    assert reply["voice"] is None
    assert reply["seed"] == 11
    assert reply["model"] == {"variant": "chatterbox", "revision": FAKE_REVISION}
    assert reply["parameters"] == MODEL_PARAMETERS | OTHER_PARAMETERS
    assert reply["warnings"] == []
    assert synthesizer.calls[0].voice.waveform_digest is None


def test_duration_and_segments_agree_with_the_audio(services):
    reply = speak(services)
    duration_s = len(reply["samples"]) / 24_000
    assert reply["duration"] == pytest.approx(duration_s, abs=1e-3)
    assert reply["metrics"]["audio_duration"] == reply["duration"]
    assert [part["text"] for part in reply["segments"]] == ["The ferry was late again", "Nobody minded"]
    assert reply["segments"][0]["start"] == 0
    assert reply["segments"][1]["start"] == pytest.approx(reply["segments"][0]["end"] + PAUSE_S, abs=1e-3)
    assert reply["segments"][-1]["end"] == reply["duration"]


def test_metrics_hold_every_stage(services):
    metrics = speak(services)["metrics"]
    stages = {"reference", "conditionals", "text", "t3", "s3gen", "watermark", "encode"}
    assert metrics["stages"].keys() == stages
    assert metrics["stages"]["t3"] == 0.25
    assert metrics["total_generation_time"] >= 0
    assert metrics["rtf"] >= 0


def test_the_parameters_reach_the_model(services, synthesizer):
    sent = {
        "exaggeration": 0.0,
        "cfg_weight": 0,
        "temperature": 0.0,
        "top_p": 0.9,
        "min_p": 0.0,
        "repetition_penalty": 1.5,
        "top_k": 40,
        "seed": 2**63 - 1,
    }
    reply = speak(services, **sent)
    (call,) = synthesizer.calls
    assert call.seed == reply["seed"] == 2**63 - 1
    for name in sent.keys() - {"seed"}:
        assert getattr(call.params, name) == sent[name]
    assert reply["warnings"] == ["top_k has no effect on the chatterbox model"]


def test_same_seed_same_samples_and_another_seed_others(services):
    first, again, other = (speak(services, seed=seed) for seed in (5, 5, 6))
    assert same(first, again)
    assert not same(first, other)


def test_without_a_seed_each_job_draws_one_that_repeats_it(services):
    drawn = speak(services)
    assert speak(services)["seed"] != drawn["seed"]
    assert same(speak(services, seed=drawn["seed"]), drawn)
    assert 0 <= drawn["seed"] < 2**53  # whole in any JSON reader


def test_normalization_makes_the_peak_what_it_should_be(services):
    plain = speak(services, seed=1)
    loud = speak(services, seed=1, audio_normalization="peak")
    assert np.abs(loud["samples"]).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)
    assert np.abs(plain["samples"]).max() != pytest.approx(10 ** (-1 / 20), abs=0.01)
    assert loud["duration"] == plain["duration"]
    assert loud["segments"] == plain["segments"]


@pytest.mark.parametrize("normalization", [None, "peak", "lufs"])
def test_the_watermark_comes_last_and_is_in_every_chunk(services, normalization):
    result = start_operation(services, "tts", text=TEXT, seed=1, audio_normalization=normalization)
    unmarked = [
        replace(chunk, waveform=Waveform(chunk.waveform.samples - np.float32(WATERMARK), 24_000))
        for chunk in result.chunks
    ]
    loudest = max(np.abs(chunk.waveform.samples).max() for chunk in unmarked)
    if normalization == "peak":
        assert loudest == pytest.approx(10 ** (-1 / 20), abs=1e-5)
    assert len(unmarked) == 2
    assert all(abs(chunk.waveform.samples.mean()) < WATERMARK * 4 for chunk in unmarked)


def test_a_chunk_comes_before_the_next_one_is_made(services, synthesizer):
    result = start_operation(services, "tts", text=TEXT)
    assert synthesizer.speaking == 0
    assert next(result.chunks).text == "The ferry was late again"
    assert synthesizer.speaking == 1
    result.chunks.close()
    assert synthesizer.speaking == 0


def test_a_cancelled_job_ends_between_chunks(services, synthesizer):
    cancel = CancelToken()
    result = start_operation(services, "tts", text=TEXT, cancel=cancel)
    next(result.chunks)
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled, match="the job was cancelled"):
        next(result.chunks)
    assert synthesizer.speaking == 0


def test_a_stored_voice_by_name_and_by_id(services, synthesizer, recording):
    voice_id = clone(services, recording, "Ada")["voice_id"]
    for field, value in (("voice_name", "Ada"), ("voice_name", "ada"), ("voice_id", voice_id)):
        assert speak(services, **{field: value})["voice"] == {"voice_id": voice_id, "voice_name": "Ada"}
    assert len({call.voice for call in synthesizer.calls}) == 1
    assert len(synthesizer.encoded) == 1


def test_two_voices_in_turn_never_mix(services, recording, other_recording):
    clone(services, recording, "Ada")
    clone(services, other_recording, "Bob")
    choices = ({"voice_name": "Ada"}, {"voice_name": "Bob"}, {}, {"reference_audio": recording})
    first = [speak(services, seed=1, **choice) for choice in choices]
    again = [speak(services, seed=1, **choice) for choice in reversed(choices)]
    assert all(same(*pair) for pair in zip(first, again[::-1], strict=True))
    assert not same(first[0], first[1])
    assert not same(first[1], first[2])
    assert not same(first[0], first[2])


def test_a_sent_recording_sounds_like_the_voice_cloned_from_it(services, recording):
    clone(services, recording, "Ada")
    sent = speak(services, seed=1, reference_audio=recording)
    assert sent["voice"] == {"voice_id": None, "voice_name": None}
    assert same(sent, speak(services, seed=1, voice_name="Ada"))


@pytest.mark.parametrize("seconds", [5, 5.5, 60])
def test_whichever_reference_is_cut_to_the_duration_asked_for(services, synthesizer, recording, seconds):
    clone(services, recording, "Ada")
    for choice in ({"voice_name": "Ada"}, {"reference_audio": recording}):
        speak(services, max_reference_duration_sec=seconds, **choice)
        (used,) = {waveform.digest(): waveform for waveform in synthesizer.encoded}.values()
        assert used.sample_rate_hz == 24_000
        assert used.duration_s == pytest.approx(min(seconds, 12), abs=0.5)
        assert used.duration_s <= seconds


def test_silence_before_the_speech_does_not_use_up_the_reference(services, synthesizer):
    talk = speech_like(8.0, 24_000, 3)
    with_silence = np.concatenate([silence(10.0), talk])
    services.voices.put(Waveform(with_silence, 24_000), "Late")
    speak(services, max_reference_duration_sec=5, voice_name="Late")
    speak(services, max_reference_duration_sec=5, reference_audio=base64_wav(with_silence))
    for used in synthesizer.encoded:
        assert np.sqrt(np.mean(used.samples**2)) > 0.02


def test_a_poor_recording_is_spoken_with_and_warned_about(services):
    warnings = speak(services, reference_audio=base64_wav(speech_like(4.5, 24_000, 1)))["warnings"]
    assert any("reference_audio" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("recording", "error"),
    [
        (base64_wav(silence(6.0)), ReferenceInvalid),
        (base64_wav(speech_like(1.2, 24_000, 1)), ReferenceTooShort),
        ("not base64!", ReferenceInvalid),
        (base64.b64encode(b"plain text").decode(), ReferenceInvalid),
        ("", ReferenceInvalid),
    ],
)
def test_recordings_that_are_no_voice_are_refused_before_anything_is_spoken(
    services, synthesizer, recording, error
):
    with pytest.raises(error, match="reference_audio"):
        speak(services, reference_audio=recording)
    assert synthesizer.calls == []


def test_an_unknown_voice_is_never_replaced_by_another(services, synthesizer, recording):
    clone(services, recording, "Ada")
    with pytest.raises(VoiceNotFound, match="Ada"):
        speak(services, voice_name="Adah")
    with pytest.raises(VoiceNotFound):
        speak(services, voice_id="00000000")
    assert synthesizer.calls == []


def test_the_text_may_be_as_long_as_the_setting_says(tmp_path):
    services = build_services(tmp_path, max_text_chars=20)
    assert speak(services, text="x" * 20)["text"] == "x" * 20
    with pytest.raises(TextTooLong, match=r"21 characters .* 20"):
        speak(services, text="x" * 21)


def test_warnings_of_the_model_come_back(tmp_path):
    services = build_services(tmp_path, FakeSynthesizer(warnings=("segment 1 was spoken twice",)))
    assert speak(services)["warnings"] == ["segment 1 was spoken twice"]


def test_speech_is_spoken_at_a_speed_with_its_pauses(services):
    plain = speak(services, seed=1, text="Good morning. The sun is up.")
    fast = speak(services, seed=1, text="Good morning. The sun is up.", speed=2)
    assert fast["parameters"]["speed"] == 2.0
    assert fast["duration"] == pytest.approx(plain["duration"] / 2, abs=0.001)
    for one, other in zip(plain["segments"], fast["segments"], strict=True):
        assert other["text"] == one["text"]
        assert other["start"] == pytest.approx(one["start"] / 2, abs=0.002)
        assert other["end"] == pytest.approx(one["end"] / 2, abs=0.002)


def test_a_stream_at_a_speed_is_the_whole_at_that_speed(tmp_path):
    services = build_services(tmp_path, FakeSynthesizer(has_pieces=True))
    assert same(*(speak(services, seed=1, speed=0.8, mode=mode) for mode in ("basic", "streaming")))


def test_a_voice_may_have_a_speed_that_a_job_overrides(services):
    recording = base64_wav(speech_like(6.0))
    run_operation(
        services,
        "clone_voice",
        voice_name="Anna",
        reference_audio=recording,
        default_parameters={"speed": 1.5, "temperature": 0.5},
    )
    plain = speak(services, seed=1, voice_name="Anna", speed=1.0)
    own = speak(services, seed=1, voice_name="Anna")
    assert own["parameters"]["speed"] == 1.5
    assert own["duration"] == pytest.approx(plain["duration"] / 1.5, abs=0.001)
    assert own["parameters"]["temperature"] == 0.5


@pytest.mark.parametrize("speed", [0.2, 4.1, 0, -1])
def test_a_speed_out_of_range_is_refused(services, synthesizer, speed):
    with pytest.raises(InvalidRequest, match="speed must be a number from 0.25 to 4"):
        speak(services, speed=speed)
    assert synthesizer.calls == []


def test_values_that_change_nothing_are_taken(services):
    assert speak(services, mode="basic", speed=1, delivery="inline", language="en", audio_normalization=None)


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u2060", "\x00", "\u3000", "...", "🎈"])
def test_blank_text_is_an_error_and_never_a_placeholder(services, synthesizer, text):
    with pytest.raises(InvalidRequest, match="text has nothing in it to say"):
        speak(services, text=text)
    assert synthesizer.calls == []


def test_two_voices_in_one_job_exclude_each_other(services, recording):
    with pytest.raises(InvalidRequest, match="voice_name and reference_audio exclude each other"):
        speak(services, voice_name="Ada", reference_audio=recording)


@pytest.mark.parametrize("normalization", [None, "peak", "lufs"])
def test_nothing_is_marked_any_more_once_the_job_is_cancelled(services, monkeypatch, normalization):
    cancel, marked = CancelToken(), []
    watermark = services.models.first.watermark

    def mark_and_cancel(chunks):
        for chunk in watermark(chunks):
            marked.append(chunk)
            cancel.cancel(Cancelled("the test"))
            yield chunk

    monkeypatch.setattr(services.models.first, "watermark", mark_and_cancel)
    text = "One. Two. Three. Four."
    speech = start_operation(services, "tts", cancel=cancel, text=text, audio_normalization=normalization)
    with pytest.raises(Cancelled):
        list(speech.chunks)
    assert len(marked) == 1


def test_a_model_without_event_tags_does_not_read_them_aloud(services, synthesizer):
    reply = speak(services, text="[Sigh] The ferry was late [laugh] again. [sigh]")
    assert synthesizer.calls[-1].text == "The ferry was late again."
    assert reply["text"] == "[Sigh] The ferry was late [laugh] again. [sigh]"
    assert reply["warnings"] == [
        "the chatterbox model does not know event tags: left out [sigh], [laugh]",
    ]


@pytest.mark.parametrize("fields", [{"text": "[laugh] No.", "strict": True}, {"text": "[laugh]"}])
def test_event_tags_that_nobody_can_say_are_refused(services, fields):
    with pytest.raises(InvalidRequest) as refused:
        speak(services, **fields)
    assert str(refused.value).startswith(
        "text has event tags that the chatterbox model does not know: [laugh]"
    )


def test_a_model_with_event_tags_gets_them_in_small_letters(tmp_path):
    synthesizer = FakeSynthesizer(info=ModelInfo(TURBO, FAKE_REVISION))
    services = build_services(tmp_path, synthesizer)
    reply = speak(services, text="Well [LAUGH] that was fun.", strict=True, exaggeration=0.7)
    assert synthesizer.calls[-1].text == "Well [laugh] that was fun."
    assert reply["model"]["variant"] == "turbo"
    assert reply["warnings"] == ["exaggeration has no effect on the turbo model"]
    assert (reply["parameters"]["top_k"], reply["parameters"]["cfg_weight"]) == (1000, None)
