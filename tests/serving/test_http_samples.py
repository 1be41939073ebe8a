"""Voices of several recordings, and their previews, over a real socket."""

from __future__ import annotations

import base64
import io

import httpx
import pytest
import soundfile

from tests.fakes import FakeSynthesizer
from tests.recordings import silence, speech_like, wav_bytes
from tests.serving.http_server import http_server

GOOD = wav_bytes(speech_like(8.0, 24_000, 1), 24_000)
OTHER = wav_bytes(speech_like(7.0, 24_000, 2), 24_000)
SILENT = wav_bytes(silence(6.0), 24_000)


@pytest.fixture
def synthesizer():
    return FakeSynthesizer()


@pytest.fixture
def client(tmp_path, synthesizer):
    with (
        http_server(tmp_path, synthesizer) as served,
        httpx.Client(base_url=served.address, timeout=60) as client,
    ):
        yield client


def post_form(client, *recordings, **fields):
    files = [("audio_sample", (f"{index}.wav", each)) for index, each in enumerate(recordings)]
    return client.post("/v1/audio/voices", data={"name": "Ada", **fields}, files=files)


def post_job(client, *recordings, **fields):
    samples = [{"audio": base64.b64encode(each).decode()} for each in recordings]
    job = {"voice_name": "Ada", "samples": samples, "preview": False, **fields}
    return client.post("/jobs/clone_voice", json=job)


def test_a_form_with_several_files_is_the_job_with_several_samples(client):
    made = post_form(client, GOOD, OTHER, consent="I agree.")
    assert made.status_code == 200, made.text
    assert [len(sample["parts"]) for sample in made.json()["samples"]] == [1, 1]
    job = post_job(client, GOOD, OTHER).json()
    assert job["voice_id"] == made.json()["id"]
    assert job["created"] is False
    assert job["samples"] == made.json()["samples"]
    assert job["voice_info"]["consent"]["statement"] == "I agree."


def test_one_file_is_one_recording(client):
    made = post_form(client, GOOD).json()
    assert "samples" not in made
    job = {"voice_name": "Ada", "reference_audio": base64.b64encode(GOOD).decode(), "preview": False}
    assert client.post("/jobs/clone_voice", json=job).json()["voice_id"] == made["id"]


def test_a_bad_sample_is_named_in_the_callers_words(client):
    form = post_form(client, GOOD, OTHER, SILENT)
    assert form.status_code == 400
    assert form.json()["error"]["code"] == "reference_invalid"
    assert form.json()["error"]["message"].startswith("audio_sample[2] is silent")
    job = post_job(client, GOOD, OTHER, SILENT)
    assert job.status_code == 400
    assert job.json()["error"].startswith("reference_invalid: samples[2].audio is silent")
    assert client.get("/v1/audio/voices").json()["data"] == []


def test_what_is_said_of_a_sample_is_in_the_forms_words(client):
    made = post_form(client, GOOD, wav_bytes(0.005 * speech_like(7.0, 24_000, 2), 24_000, "PCM_24"))
    (warning,) = made.json()["warnings"]
    assert warning.startswith("audio_sample[1] is very quiet")
    short = post_form(client, wav_bytes(speech_like(4.0, 24_000, 3), 24_000), name="Bob").json()
    assert short["quality"]["warnings"] == short["warnings"]
    assert short["warnings"][0].startswith("audio_sample has only")


@pytest.mark.parametrize("count", [6, 11])
def test_too_many_files_are_refused(client, count):
    reply = post_form(client, *[GOOD] * count)
    assert reply.status_code == 400
    said = "audio_sample has 6 members; send at most 5" if count == 6 else "the form cannot be read: Too many"
    assert reply.json()["error"]["message"].startswith(said)


def test_text_in_the_place_of_a_file_is_refused(client):
    files = [("audio_sample", ("a.wav", GOOD)), ("audio_sample", (None, b"text"))]
    reply = client.post("/v1/audio/voices", data={"name": "Ada"}, files=files)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "audio_sample is required; send a recording as a file"


def test_a_kept_preview_is_served_instead_of_speaking_again(client, synthesizer):
    voice = post_form(client, GOOD, keep_preview="true").json()
    assert voice["preview_kept"] is True
    synthesizer.calls.clear()
    served = client.get(f"/v1/audio/voices/{voice['id']}/preview")
    assert served.status_code == 200
    assert served.headers["content-type"] == "audio/flac"
    assert served.headers["x-voice-id"] == voice["id"]
    assert soundfile.info(io.BytesIO(served.content)).duration > 1
    assert synthesizer.calls == []
    stored = client.post("/jobs/get_voice", json={"voice_id": voice["id"], "include_preview": True}).json()
    assert base64.b64decode(stored["preview"]) == served.content
    client.delete(f"/v1/audio/voices/{voice['id']}")
    gone = client.get(f"/v1/audio/voices/{voice['id']}/preview")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "voice_not_found")


def test_a_voice_without_a_kept_preview_speaks(client, synthesizer):
    voice = post_form(client, GOOD, keep_preview="false").json()
    assert "preview_kept" not in voice
    served = client.get(f"/v1/audio/voices/{voice['id']}/preview")
    assert served.headers["content-type"] == "audio/mpeg"
    assert len(synthesizer.calls) == 1


def test_keep_preview_is_true_or_false(client):
    reply = post_form(client, GOOD, keep_preview="yes")
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "keep_preview must be true or false"


def test_the_schema_has_samples(client):
    schema = client.get("/openapi.json").json()
    clone = schema["components"]["schemas"]["CloneVoiceRequest"]["properties"]
    assert {"samples", "keep_preview"} <= clone.keys()
    assert schema["components"]["schemas"]["Sample"]["properties"].keys() == {"audio", "audio_url"}
    form = schema["paths"]["/v1/audio/voices"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"]["audio_sample"]["maxItems"] == 5
