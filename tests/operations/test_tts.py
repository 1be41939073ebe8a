import base64
import io

import numpy as np
import pytest
import soundfile

from audio.encode import FORMATS, SAMPLE_RATES_HZ
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import (
    InvalidRequest,
    OutputTooLarge,
    ReferenceInvalid,
    ReferenceTooShort,
    TextTooLong,
    UnsupportedLanguage,
    VoiceNotFound,
)
from operations import dispatch
from operations.base import Job
from speech.contract import UNTRAINED_WARNING, ModelInfo
from tests.fakes import FAKE_REVISION, FakeSpeaker, build_services
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
    "delivery": "auto",
}


def speak(services, *, limit_bytes=None, **fields):
    return dispatch({"operation": "tts", "text": TEXT, **fields}, services, Job("job-1", limit_bytes))


def clone(services, recording, name):
    fields = {"voice_name": name, "reference_audio": recording, "preview": False}
    return dispatch({"operation": "clone_voice", **fields}, services, Job("job-0", None))


def samples_of(reply):
    data, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(reply["audio"])), dtype="float32")
    assert rate_hz == reply["sample_rate"]
    return data


def base64_wav(samples, rate_hz=MODEL_SAMPLE_RATE_HZ):
    return base64.b64encode(wav_bytes(samples, rate_hz)).decode()


def test_a_text_alone_is_spoken_in_the_built_in_voice_with_all_defaults(services, speaker):
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
    assert "audio_path" not in reply
    assert speaker.calls[0].reference is None


def test_duration_and_segments_agree_with_the_audio(services):
    reply = speak(services)
    duration_s = len(samples_of(reply)) / reply["sample_rate"]
    assert reply["duration"] == pytest.approx(duration_s, abs=1e-3)
    assert reply["metrics"]["audio_duration"] == reply["duration"]
    assert [part["text"] for part in reply["segments"]] == ["The ferry was late again", "Nobody minded"]
    assert reply["segments"][0]["start"] == 0
    assert reply["segments"][-1]["end"] == reply["duration"]


def test_metrics_hold_every_stage(services):
    metrics = speak(services)["metrics"]
    assert metrics["stages"].keys() == {"reference", "t3", "s3gen", "encode"}
    assert metrics["stages"]["t3"] == 0.25
    assert metrics["total_generation_time"] >= 0
    assert metrics["rtf"] >= 0


def test_the_parameters_reach_the_model(services, speaker):
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
    params = speaker.calls[0].params
    for name, value in sent.items():
        assert getattr(params, name) == value
    assert reply["seed"] == 2**63 - 1


def test_same_seed_same_bytes_and_another_seed_others(services):
    first, again, other = (speak(services, seed=seed)["audio"] for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_without_a_seed_each_job_draws_one_that_repeats_it(services):
    drawn = speak(services)
    assert speak(services)["seed"] != drawn["seed"]
    assert speak(services, seed=drawn["seed"])["audio"] == drawn["audio"]
    assert 0 <= drawn["seed"] < 2**53  # whole in any JSON reader


@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("rate_hz", SAMPLE_RATES_HZ)
def test_every_format_at_every_rate(services, audio_format, rate_hz):
    reply = speak(services, format=audio_format, sample_rate=rate_hz)
    assert reply["format"] == audio_format
    assert reply["sample_rate"] == rate_hz
    assert len(base64.b64decode(reply["audio"])) > 100


def test_normalization_makes_the_peak_what_it_should_be(services):
    plain = samples_of(speak(services, seed=1))
    loud = samples_of(speak(services, seed=1, audio_normalization="peak"))
    assert np.abs(loud).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)
    assert np.abs(plain).max() != pytest.approx(10 ** (-1 / 20), abs=0.01)


def test_a_stored_voice_by_name_and_by_id(services, speaker, recording):
    voice_id = clone(services, recording, "Ada")["voice_id"]
    for field, value in (("voice_name", "Ada"), ("voice_name", "ada"), ("voice_id", voice_id)):
        assert speak(services, **{field: value})["voice"] == {"voice_id": voice_id, "voice_name": "Ada"}
    digests = {call.reference.digest for call in speaker.calls}
    assert len(digests) == 1


def test_two_voices_in_turn_never_mix(services, recording, other_recording):
    clone(services, recording, "Ada")
    clone(services, other_recording, "Bob")
    choices = ({"voice_name": "Ada"}, {"voice_name": "Bob"}, {}, {"reference_audio": recording})
    first = [speak(services, seed=1, **choice)["audio"] for choice in choices]
    again = [speak(services, seed=1, **choice)["audio"] for choice in reversed(choices)]
    assert first == again[::-1]
    assert len({first[0], first[1], first[2]}) == 3


def test_a_sent_recording_sounds_like_the_voice_cloned_from_it(services, recording):
    clone(services, recording, "Ada")
    sent = speak(services, seed=1, reference_audio=recording)
    assert sent["voice"] == {"voice_id": None, "voice_name": None}
    assert sent["audio"] == speak(services, seed=1, voice_name="Ada")["audio"]


@pytest.mark.parametrize("seconds", [5, 5.5, 60])
def test_whichever_reference_is_cut_to_the_duration_asked_for(services, speaker, recording, seconds):
    clone(services, recording, "Ada")
    for choice in ({"voice_name": "Ada"}, {"reference_audio": recording}):
        speak(services, max_reference_duration_sec=seconds, **choice)
        used = speaker.calls[-1].reference.waveform
        assert used.sample_rate_hz == 24_000
        assert used.duration_s == pytest.approx(min(seconds, 12), abs=0.5)
        assert used.duration_s <= seconds


def test_silence_before_the_speech_does_not_use_up_the_reference(services, speaker):
    talk = speech_like(8.0, 24_000, 3)
    with_silence = np.concatenate([silence(10.0), talk])
    services.voices.put(Waveform(with_silence, 24_000), "Late")
    speak(services, max_reference_duration_sec=5, voice_name="Late")
    speak(services, max_reference_duration_sec=5, reference_audio=base64_wav(with_silence))
    for call in speaker.calls:
        assert np.sqrt(np.mean(call.reference.waveform.samples**2)) > 0.02


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
    services, speaker, recording, error
):
    with pytest.raises(error, match="reference_audio"):
        speak(services, reference_audio=recording)
    assert speaker.calls == []


def test_an_unknown_voice_is_never_replaced_by_another(services, speaker, recording):
    clone(services, recording, "Ada")
    with pytest.raises(VoiceNotFound, match="Ada"):
        speak(services, voice_name="Adah")
    with pytest.raises(VoiceNotFound):
        speak(services, voice_id="00000000")
    assert speaker.calls == []


def test_the_text_may_be_as_long_as_the_setting_says(tmp_path):
    services = build_services(tmp_path, max_text_chars=20)
    assert speak(services, text="x" * 20)["text"] == "x" * 20
    with pytest.raises(TextTooLong, match=r"21 characters .* 20"):
        speak(services, text="x" * 21)


def test_a_language_that_the_model_does_not_speak_is_refused_with_the_list(tmp_path):
    info = ModelInfo("chatterbox", FAKE_REVISION, languages=("en", "fr"))
    services = build_services(tmp_path, FakeSpeaker(info=info))
    assert speak(services, language="fr")["parameters"]["language"] == "fr"
    with pytest.raises(UnsupportedLanguage, match=r"'de'.*en, fr"):
        speak(services, language="de")


def test_warnings_of_the_model_come_back(tmp_path):
    services = build_services(tmp_path, FakeSpeaker(warnings=("top_k has no effect on this model",)))
    assert speak(services, top_k=5)["warnings"] == ["top_k has no effect on this model"]


def test_untrained_weights_are_never_passed_off_as_speech(tmp_path, recording):
    info = ModelInfo("chatterbox", FAKE_REVISION, untrained=True)
    services = build_services(tmp_path, FakeSpeaker(info=info))
    assert UNTRAINED_WARNING in speak(services)["warnings"]
    assert UNTRAINED_WARNING in clone(services, recording, "Ada")["warnings"]


def test_audio_too_large_for_the_reply_is_kept_on_the_volume(services, tmp_path):
    reply = speak(services, seed=1, limit_bytes=50_000)
    assert "audio" not in reply
    kept = (tmp_path / "audio_out" / "job-1.wav").read_bytes()
    assert reply["audio_path"].endswith("audio_out/job-1.wav")
    assert kept == base64.b64decode(speak(services, seed=1)["audio"])
    assert "audio_path" in reply["warnings"][0]


def test_a_smaller_format_fits_where_wav_does_not(services):
    assert "audio" in speak(services, limit_bytes=50_000, format="opus")


def test_inline_or_nothing_is_an_error_that_keeps_the_audio(services, tmp_path):
    with pytest.raises(OutputTooLarge, match=r"audio_out/job-1\.wav"):
        speak(services, limit_bytes=50_000, delivery="inline")
    assert (tmp_path / "audio_out" / "job-1.wav").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speed", 1.5),
        ("speed", 0.25),
    ],
)
def test_what_comes_in_a_later_version_is_refused_by_name(services, speaker, field, value):
    with pytest.raises(InvalidRequest, match=f"{field} .*not available in this version"):
        speak(services, **{field: value})
    assert speaker.calls == []


def test_values_that_change_nothing_are_taken(services):
    assert speak(services, mode="basic", speed=1, delivery="inline", language="en", audio_normalization=None)


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u2060", "\x00", "\u3000"])
def test_blank_text_is_an_error_and_never_a_placeholder(services, speaker, text):
    with pytest.raises(InvalidRequest, match="text is blank"):
        speak(services, text=text)
    assert speaker.calls == []


def test_two_voices_in_one_job_exclude_each_other(services, recording):
    with pytest.raises(InvalidRequest, match="voice_name and reference_audio exclude each other"):
        speak(services, voice_name="Ada", reference_audio=recording)
