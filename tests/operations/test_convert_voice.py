import base64

import numpy as np
import pytest

from audio.waveform import MODEL_SAMPLE_RATE_HZ
from cancel import CancelToken
from errors import Cancelled, FetchRefused, InvalidRequest, ReferenceInvalid, VoiceNotFound
from tests.fakes import FAKE_REVISION
from tests.operations.conftest import run_operation, start_operation
from tests.recordings import click, file_bytes, music, silence, speech_like, tone, wav_bytes, white_noise

NEITHER = "source_audio is required; send a recording in base64, or source_audio_url"


def base64_wav(samples, rate_hz=MODEL_SAMPLE_RATE_HZ):
    return base64.b64encode(wav_bytes(samples, rate_hz)).decode()


@pytest.fixture(scope="session")
def source():
    return base64_wav(speech_like(4.0, seed=5))


def convert(services, source, **fields):
    return run_operation(services, "convert_voice", source_audio=source, **fields)


def test_a_source_alone_is_converted_into_the_built_in_voice(services, synthesizer, source):
    reply = convert(services, source, seed=11)
    assert (reply["format"], reply["sample_rate"]) == ("wav", 24_000)
    assert reply["duration"] == reply["source_duration"] == 4.0
    assert reply["voice"] is None
    assert reply["seed"] == 11
    assert reply["model"] == {"variant": "chatterbox", "revision": FAKE_REVISION}
    assert reply["parameters"] == {"max_reference_duration_sec": 30.0, "delivery": "auto"}
    assert reply["segments"] == [{"start": 0.0, "end": 4.0}]
    assert reply["warnings"] == []
    assert reply["metrics"]["stages"].keys() == {
        *("source", "reference", "conditionals", "tokens", "s3gen", "watermark", "encode")
    }
    ((waveform, voice, seed),) = synthesizer.converted
    assert waveform.duration_s == 4.0
    assert (voice.waveform_digest, seed) == (None, 11)


def test_a_long_source_has_a_segment_for_each_piece(services):
    reply = convert(services, base64_wav(speech_like(70.0, seed=1)))
    assert len(reply["segments"]) > 2
    for before, after in zip(reply["segments"], reply["segments"][1:], strict=False):
        assert after["start"] == before["end"]
    assert reply["segments"][-1]["end"] == reply["duration"] == pytest.approx(70.0, abs=0.04)


def test_a_stored_voice_by_name_id_and_a_recording(services, synthesizer, source, recording):
    cloned = run_operation(
        services, "clone_voice", voice_name="Ada", reference_audio=recording, preview=False
    )
    by_name = convert(services, source, voice_name="ada", seed=1)
    by_id = convert(services, source, voice_id=cloned["voice_id"], seed=1)
    sent = convert(services, source, reference_audio=recording, seed=1)
    builtin = convert(services, source, seed=1)
    assert by_name["voice"] == by_id["voice"] == {"voice_id": cloned["voice_id"], "voice_name": "Ada"}
    assert sent["voice"] == {"voice_id": None, "voice_name": None}
    assert np.array_equal(by_name["samples"], by_id["samples"])
    assert not np.array_equal(by_name["samples"], builtin["samples"])
    assert synthesizer.calls == []


def test_without_a_seed_each_job_draws_one_that_repeats_it(services, source):
    drawn, other = convert(services, source), convert(services, source)
    assert drawn["seed"] != other["seed"]
    assert np.array_equal(convert(services, source, seed=drawn["seed"])["samples"], drawn["samples"])


def test_ten_minutes_are_taken_and_more_are_not(services, synthesizer):
    minute = speech_like(60.0, 8_000, seed=1)
    ten = base64.b64encode(file_bytes(np.tile(minute, 10), 8_000, "FLAC")).decode()
    start_operation(services, "convert_voice", source_audio=ten)
    eleven = base64.b64encode(file_bytes(np.tile(minute, 11), 8_000, "FLAC")).decode()
    with pytest.raises(ReferenceInvalid) as refusal:
        convert(services, eleven)
    assert refusal.value.message == ("source_audio is longer than 600 s; cut it, and send it in several jobs")


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (silence(5.0), "source_audio is silent; check the microphone and send a recording of speech"),
        (silence(130.0), "source_audio is silent"),
        (click(5.0), "source_audio is silent but for a short sound"),
        (white_noise(5.0), "source_audio holds a steady sound such as hum or noise, not speech"),
        (white_noise(130.0), "source_audio holds a steady sound such as hum or noise, not speech"),
        (
            np.concatenate([tone(0.5, hz) for hz in (262, 330, 392, 523, 392, 330)]),
            "source_audio holds tones, not speech; send a recording of speech",
        ),
        (
            np.concatenate([silence(65.0), tone(65.0)]),
            "source_audio holds tones, not speech",
        ),
        (music(8.0), "source_audio holds music or other sounds, not speech; send a recording of speech"),
        (np.concatenate([silence(65.0), music(65.0)]), "source_audio holds music or other sounds"),
    ],
    ids=[
        "silence",
        "minutes of silence",
        "a click",
        "noise",
        "minutes of noise",
        "a melody",
        "a late tone",
        "music",
        "late music",
    ],
)
def test_what_certainly_is_no_speech_is_refused(services, samples, says):
    with pytest.raises(ReferenceInvalid) as refusal:
        convert(services, base64_wav(samples))
    assert refusal.value.message.startswith(says)


@pytest.mark.parametrize(
    "samples",
    [
        speech_like(0.6, seed=2),
        np.concatenate([silence(100.0), speech_like(2.0, seed=2), silence(100.0)]),
        speech_like(6.0, seed=2) * 0.01,
        speech_like(6.0, seed=2) + white_noise(6.0, rms=0.1),
        speech_like(6.0, seed=2) + music(6.0),
        np.concatenate([music(40.0), speech_like(6.0, seed=2)]),
        np.concatenate([music(70.0), speech_like(60.0, seed=2)]),
    ],
    ids=["a word", "little in silence", "quiet", "noisy", "over music", "little after music", "after music"],
)
def test_speech_is_not_refused(services, samples):
    convert(services, base64_wav(np.clip(samples, -1, 1)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, NEITHER),
        ({"source_audio": None}, NEITHER),
        ({"text": "Hello."}, f"{NEITHER}; text is not a field of convert_voice"),
        (
            {"source_audio": "UklGRg==", "source_audio_url": "https://a.example/a.wav"},
            "source_audio and source_audio_url exclude each other; send one of them",
        ),
        (
            {"source_audio": "UklGRg==", "voice_name": "Ada", "reference_audio": "UklGRg=="},
            "voice_name and reference_audio exclude each other; send one of them",
        ),
        (
            {"source_audio": "UklGRg==", "mode": "streaming"},
            "mode must be 'basic', not 'streaming'; a conversion is answered whole; over HTTP, Accept: "
            "audio/* gives the audio while it is made",
        ),
        ({"source_audio": 7}, "source_audio must be a recording in base64"),
    ],
)
def test_bad_fields_are_named(services, fields, says):
    with pytest.raises(InvalidRequest) as refusal:
        run_operation(services, "convert_voice", **fields)
    assert refusal.value.message.startswith(says)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("not base64!", "source_audio is not base64"),
        ("UklGRg==", "source_audio is not audio that can be read"),
        ("A" * (40 * 2**20), "source_audio is larger than 25 MiB; send a shorter or compressed recording"),
    ],
)
def test_a_source_that_cannot_be_decoded_is_refused(services, source, says):
    with pytest.raises(ReferenceInvalid) as refusal:
        convert(services, source)
    assert refusal.value.message.startswith(says)


def test_a_url_is_fetched_under_the_rules_of_references(services):
    with pytest.raises(FetchRefused, match="source_audio_url"):
        run_operation(services, "convert_voice", source_audio_url="http://127.0.0.1/a.wav")


def test_an_unknown_voice_is_refused(services, source):
    with pytest.raises(VoiceNotFound):
        convert(services, source, voice_name="Nobody")


def test_a_cancelled_job_converts_nothing(services, synthesizer, source):
    cancel = CancelToken()
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        convert(services, source, cancel=cancel)
    assert synthesizer.converted == []
