"""A voice of several recordings."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from audio.samples import MAX_SAMPLES
from cancel import CancelToken
from errors import Cancelled, FetchFailed, InvalidRequest, ReferenceInvalid, ReferenceTooShort, VoiceExists
from tests.operations.conftest import run_operation
from tests.recordings import silence, speech_like, tone, wav_bytes, white_noise

CONSENT = {"by": "Anna Müller", "date": "2026-11-27", "statement": "I agree."}


def encoded(samples):
    return base64.b64encode(wav_bytes(samples, 24_000)).decode()


GOOD = encoded(speech_like(9.0, 24_000, 1))
OTHER = encoded(speech_like(8.0, 24_000, 2))
NOISY = encoded(np.clip(speech_like(10.0, 24_000, 1) + white_noise(10.0, 24_000, 0.05), -1, 1))


def clone(services, *recordings, **fields):
    samples = [{"audio": recording} for recording in recordings]
    fields = {"voice_name": "Ada", "samples": samples, "preview": False, **fields}
    return run_operation(services, "clone_voice", **fields)


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_voice_is_made_of_several_recordings_and_the_receipt_says_what_was_taken(services):
    reply = clone(services, GOOD, OTHER)
    assert reply["created"] is True
    first, second = reply["samples"]
    assert (first["duration"], second["duration"]) == (9.0, 8.0)
    assert first["quality"]["speech_s"] > 5
    (one,), (two,) = first["parts"], second["parts"]
    assert one["at"] == 0
    assert two["at"] == pytest.approx(one["end"] - one["start"] + 0.15, abs=0.01)
    stored = services.voices.get(name="Ada").waveform
    assert stored.duration_s == pytest.approx(two["at"] + two["end"] - two["start"], abs=0.01)
    assert reply["quality"]["duration_s"] == pytest.approx(stored.duration_s, abs=0.001)
    json.dumps(reply["samples"], allow_nan=False)


def test_the_same_samples_again_are_the_same_voice(services):
    first = clone(services, GOOD, NOISY, OTHER)
    again = clone(services, GOOD, NOISY, OTHER)
    assert (first["created"], again["created"]) == (True, False)
    assert again["voice_id"] == first["voice_id"]
    assert again["warnings"] == first["warnings"]
    with pytest.raises(VoiceExists):
        clone(services, OTHER, GOOD)


def test_one_sample_is_the_voice_of_that_recording(services):
    recording = run_operation(services, "clone_voice", voice_name="Ada", reference_audio=GOOD, preview=False)
    sample = clone(services, GOOD)
    assert sample["voice_id"] == recording["voice_id"]
    assert sample["created"] is False
    assert sample["quality"] == recording["quality"]


@pytest.mark.parametrize("max_s", [5, 5.5, 6, 8])
def test_a_short_limit_is_filled(services, max_s):
    recording = encoded(speech_like(12.0, 24_000, 3))
    reply = clone(services, recording, max_reference_duration_sec=max_s)
    assert max_s - 1.2 <= reply["quality"]["duration_s"] <= max_s


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("samples", r"^samples have too little speech in the best 5 s, which max_reference_duration_sec"),
        ("reference_audio", r"^reference_audio has too little speech in the first 5 s, which max_ref"),
    ],
)
def test_a_limit_that_leaves_too_little_speech_is_named(services, field, said):
    sparse = encoded(np.concatenate([speech_like(0.7, 24_000, 1), silence(4.2)] * 6))
    value = [{"audio": sparse}] if field == "samples" else sparse
    job = {"voice_name": "Ada", "preview": False, "max_reference_duration_sec": 5, field: value}
    with pytest.raises(ReferenceTooShort, match=said):
        run_operation(services, "clone_voice", **job)


def test_little_speech_of_samples_is_warned_about(services):
    reply = clone(services, encoded(speech_like(3.5, 24_000, 1)))
    assert reply["warnings"][0].startswith("samples have only")


def test_a_sample_of_which_nothing_is_used_is_said(services):
    reply = clone(services, NOISY, encoded(speech_like(14.0, 24_000, 1)))
    assert reply["samples"][0]["parts"] == []
    (warning,) = reply["warnings"]
    assert warning.startswith("nothing of samples[0] is used")


def test_what_is_wrong_with_a_sample_that_is_used_is_said_of_that_sample(services):
    reply = clone(services, encoded(speech_like(5.0, 24_000, 1)), NOISY)
    (warning,) = reply["warnings"]
    assert warning.startswith("samples[1].audio is noisy")
    assert reply["quality"]["warnings"] == reply["warnings"]


def test_samples_are_fetched(services):
    asked = []

    def fetch(url, field, cancel):
        asked.append((url, field))
        if "missing" in url:
            raise FetchFailed("was answered with status 404", field=field)
        return base64.b64decode(OTHER)

    services = replace(services, fetch=fetch)
    samples = [{"audio": GOOD}, {"audio_url": "https://x.example/a.wav"}]
    reply = run_operation(services, "clone_voice", voice_name="Ada", samples=samples, preview=False)
    assert asked == [("https://x.example/a.wav", "samples[1].audio_url")]
    assert len(reply["samples"][1]["parts"]) == 1
    samples[1]["audio_url"] = "https://x.example/missing.wav"
    with pytest.raises(FetchFailed, match=r"samples\[1\]\.audio_url was answered"):
        run_operation(services, "clone_voice", voice_name="Bob", samples=samples)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (encoded(silence(6.0)), ReferenceInvalid),
        (encoded(tone(6.0)), ReferenceInvalid),
        (encoded(speech_like(1.2, 24_000, 1)), ReferenceTooShort),
        (base64.b64encode(b"no recording").decode(), ReferenceInvalid),
        ("no base64!", ReferenceInvalid),
        (encoded(speech_like(121.0, 24_000, 1)), ReferenceInvalid),
    ],
)
def test_a_bad_sample_is_named_and_nothing_is_stored(services, tmp_path, bad, error):
    with pytest.raises(error, match=r"^samples\[2\]\.audio "):
        clone(services, GOOD, OTHER, bad)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"samples": []}, "samples is empty; send at least 1"),
        ({"samples": [{"audio": GOOD}] * (MAX_SAMPLES + 1)}, "samples has 6 members; send at most 5"),
        ({"samples": [{"audio": GOOD}, {}]}, r"samples\[1\] holds no recording; send audio"),
        ({"samples": [{"audio": None}]}, r"samples\[0\] holds no recording"),
        ({"samples": [{"audio": GOOD, "audio_url": "https://x.example/a"}]}, r"samples\[0\] holds both"),
        ({"samples": [{"url": "https://x.example/a"}]}, r"samples\[0\]\.url is not a field of samples"),
        ({"samples": [{"audio": 3}]}, r"samples\[0\]\.audio must be a recording in base64"),
        ({"samples": [GOOD]}, r"samples\[0\] is '"),
        ({"samples": GOOD}, "samples must be a list of at most 5 objects"),
        ({"reference_audio": GOOD}, "reference_audio and samples exclude each other; send one of them"),
        ({"samples": None}, "reference_audio is required; send a recording in base64, .* or samples"),
    ],
)
def test_samples_that_are_sent_wrong_are_an_error_that_says_what_to_send(services, tmp_path, fields, said):
    with pytest.raises(InvalidRequest, match=said) as caught:
        clone(services, GOOD, **fields)
    assert len(caught.value.message) < 500
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    "source",
    [{"reference_audio": GOOD}, {"samples": [{"audio": GOOD}, {"audio": OTHER}]}],
    ids=["recording", "samples"],
)
@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("consent", CONSENT, CONSENT),
        ("aliases", ["alloy", "Änne"], ["alloy", "Änne"]),
        ("default_parameters", {"speed": 1.25}, {"speed": 1.25}),
        (
            "pronunciations",
            [{"text": "Nguyen", "say": "win"}],
            [{"text": "Nguyen", "say": "win", "case_sensitive": False, "whole_word": True}],
        ),
    ],
)
def test_what_is_said_of_a_voice_is_kept_whatever_it_is_made_of(services, source, field, value, stored):
    job = {"voice_name": "Ada", "preview": False, **source}
    reply = run_operation(services, "clone_voice", **job, **{field: value})
    assert reply["voice_info"][field] == stored
    assert run_operation(services, "get_voice", voice_name="Ada")["voice"][field] == stored
    assert run_operation(services, "clone_voice", **job, **{field: value})["warnings"] == []


def test_consent_is_required_of_samples_too(services):
    services = replace(services, require_consent=True)
    with pytest.raises(InvalidRequest, match="consent is required"):
        clone(services, GOOD, OTHER)
    assert clone(services, GOOD, OTHER, consent=CONSENT)["saved_to_library"]


def test_a_cancelled_job_stores_nothing(services, tmp_path):
    asked = []
    cancel = CancelToken()

    def fetch(url, field, cancel):
        asked.append(url)
        cancel.cancel(Cancelled("the job was cancelled"))
        return base64.b64decode(OTHER)

    services = replace(services, fetch=fetch)
    samples = [{"audio_url": "https://x.example/a.wav"}, {"audio_url": "https://x.example/b.wav"}]
    with pytest.raises(Cancelled):
        run_operation(services, "clone_voice", cancel=cancel, voice_name="Ada", samples=samples)
    assert asked == ["https://x.example/a.wav"]
    assert files_below(tmp_path) == []
