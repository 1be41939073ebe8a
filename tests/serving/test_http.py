"""The HTTP server, asked by real clients over loopback; the model is a fake."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from audio.decode import decode_audio
from audio.encode import FORMATS
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import OutOfMemory, StoreUnavailable
from serving.handover import Handover, Item
from serving.http import audio, guard, server
from speech.contract import ModelInfo
from speech.models.spec import CHATTERBOX
from tests.fakes import FAKE_REVISION, ROWS, FakeSynthesizer
from tests.recordings import speech_like, wav_bytes
from tests.serving.http_server import KEY, HttpServer, http_server

TEXT = "Good morning. The sun is up. Coffee is ready."
SPEECH = {"model": "tts-1", "input": TEXT, "voice": "alloy", "seed": 7}
_FIELD = b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nv\r\n'
MANY_FIELDS = b"".join(_FIELD % number for number in range(100)) + b"--x--"
RECORDING = wav_bytes(speech_like(6.0, 24_000, 1), 24_000)


@pytest.fixture
def served(tmp_path):
    with http_server(tmp_path) as found:
        yield found


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.address, timeout=60) as found:
        yield found


def until(condition) -> None:
    for _ in range(6_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def raw_post(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def speak(served: HttpServer, **fields):
    return httpx.post(f"{served.address}/v1/audio/speech", json={**SPEECH, **fields}, timeout=120)


def clone(client, name="Anna Müller", **fields):
    files = {"audio_sample": ("a.wav", RECORDING, "audio/wav")}
    return client.post("/v1/audio/voices", data={"name": name, **fields}, files=files)


class Waiting(FakeSynthesizer):
    """Makes its second chunk of text, and those after it, once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.made = 0

    def _chunks(self, utterances, cancel):
        for chunk in super()._chunks(utterances, cancel):
            if chunk.index == 1:
                self._wait_for(self.may_go_on, cancel)
            self.made += 1
            yield chunk


# --- speech


@pytest.mark.parametrize("format", FORMATS)
def test_speech_is_the_file_that_a_stream_of_tts_is(client, format):
    reply = client.post("/v1/audio/speech", json={**SPEECH, "response_format": format})
    assert reply.status_code == 200, reply.text
    job = {"text": TEXT, "seed": 7, "format": format, "mode": "streaming"}
    events = client.post("/jobs/tts", json=job)
    *pieces, receipt = [json.loads(line[6:]) for line in events.text.splitlines() if line]
    assert reply.content == b"".join(base64.b64decode(piece["audio"]) for piece in pieces)
    assert receipt["seed"] == 7
    assert reply.headers["content-type"].partition(";")[0].startswith("audio/")
    assert reply.headers["x-seed"] == "7"
    assert reply.headers["x-model"] == "chatterbox"
    assert "alloy" in reply.headers["x-warnings"]


def test_mp3_is_what_is_not_asked_for(client):
    reply = client.post("/v1/audio/speech", json={"input": "Hello."})
    assert reply.headers["content-type"] == "audio/mpeg"
    samples, rate_hz = soundfile.read(io.BytesIO(reply.content))
    assert rate_hz == 24_000
    assert len(samples) > 4_000


def test_the_first_audio_arrives_before_the_rest_is_made(tmp_path):
    synthesizer, asked = Waiting(), {**SPEECH, "response_format": "pcm"}
    with (
        http_server(tmp_path, synthesizer) as served,
        httpx.stream("POST", f"{served.address}/v1/audio/speech", json=asked) as reply,
    ):
        parts = reply.iter_raw()
        first = next(parts)
        assert len(first) > 1_000
        assert synthesizer.made == 1
        synthesizer.may_go_on.set()
        rest = b"".join(parts)
    assert synthesizer.made == 3
    assert len(rest) > len(first)


def test_events_hold_the_same_audio_and_end_with_usage_and_receipt(client):
    whole = client.post("/v1/audio/speech", json={**SPEECH, "response_format": "wav"}).content
    reply = client.post("/v1/audio/speech", json={**SPEECH, "response_format": "wav", "stream_format": "sse"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line]
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == whole
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]
    assert [segment["text"] for segment in done["receipt"]["segments"]] == [
        "Good morning",
        "The sun is up",
        "Coffee is ready",
    ]


def test_the_audio_itself_is_the_answer_for_who_accepts_audio(client):
    job = {"text": TEXT, "seed": 3, "format": "flac"}
    whole = client.post("/jobs/tts", json=job)
    reply = client.post("/jobs/tts", json=job, headers={"accept": "audio/*"})
    assert reply.headers["content-type"] == "audio/flac"
    expected = decode_audio(base64.b64decode(whole.json()["audio"]))
    assert np.array_equal(decode_audio(reply.content).samples, expected.samples)


def source_of(duration_s: float) -> str:
    return base64.b64encode(wav_bytes(speech_like(duration_s, 24_000, 5), 24_000)).decode()


def test_a_conversion_is_answered_as_json_or_with_its_audio(client):
    voice = clone(client).json()
    job = {"source_audio": source_of(33.0), "voice_id": voice["id"], "seed": 3, "format": "flac"}
    whole = client.post("/jobs/convert_voice", json=job)
    assert whole.status_code == 200, whole.text
    assert len(whole.json()["segments"]) == 2
    reply = client.post("/jobs/convert_voice", json=job, headers={"accept": "audio/*"})
    assert reply.headers["content-type"] == "audio/flac"
    assert reply.headers["x-voice-id"] == voice["id"]
    assert reply.headers["x-seed"] == "3"
    expected = decode_audio(base64.b64decode(whole.json()["audio"]))
    assert np.array_equal(decode_audio(reply.content).samples, expected.samples)
    metrics = client.get("/metrics").text
    assert 'voice_worker_jobs_total{operation="convert_voice",outcome="ok"} 2.0' in metrics


@pytest.mark.parametrize("accept", ["application/json", "audio/*"])
@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({}, "invalid_request", "source_audio is required"),
        ({"source_audio": "UklGRg==", "mode": "streaming"}, "invalid_request", "Accept: audio/*"),
        ({"source_audio": "UklGRg=="}, "reference_invalid", "source_audio is not audio"),
    ],
)
def test_a_conversion_that_is_not_possible_says_why(client, accept, fields, code, says):
    reply = client.post("/jobs/convert_voice", json=fields, headers={"accept": accept})
    assert reply.status_code == 400
    assert reply.json()["error_code"] == code
    assert says in reply.json()["error"]


def test_a_watermark_is_looked_for(client):
    reply = client.post("/jobs/check_watermark", json={"audio": source_of(6.0)})
    assert reply.status_code == 200, reply.text
    assert reply.json()["watermarked"] is True


def test_old_names_are_routes_too(client):
    warning = "the operation expressive_tts is called tts now"
    job = {"text": TEXT, "seed": 3}
    reply = client.post("/jobs/expressive_tts", json=job)
    assert reply.json()["warnings"] == [warning]
    audio = client.post("/jobs/expressive_tts", json=job, headers={"accept": "audio/wav"})
    assert json.loads(audio.headers["x-warnings"]) == [warning]
    listed = client.post("/jobs/list_local_voices", json={})
    assert listed.json()["total_voices"] == 0
    assert "/jobs/expressive_tts" not in client.get("/openapi.json").json()["paths"]
    metrics = client.get("/metrics").text
    assert 'operation="tts",outcome="ok"} 2.0' in metrics
    assert "expressive" not in metrics


def test_the_old_name_of_the_streaming_mode_streams(client):
    job = {"text": TEXT, "seed": 3, "mode": "streaming_voice_cloning"}
    events = client.post("/jobs/tts", json=job)
    assert events.headers["content-type"].startswith("text/event-stream")
    *pieces, receipt = [json.loads(line[6:]) for line in events.text.splitlines() if line]
    assert receipt["pieces"] == len(pieces) > 0
    assert receipt["mode"] == "streaming"
    assert receipt["warnings"] == ["the mode streaming_voice_cloning is called streaming now"]


def test_normalised_speech_is_answered_too(client):
    reply = client.post(
        "/v1/audio/speech", json={**SPEECH, "audio_normalization": "peak", "response_format": "wav"}
    )
    assert reply.status_code == 200, reply.text
    samples, _ = soundfile.read(io.BytesIO(reply.content))
    assert np.abs(samples).max() > 0.5


# --- voices and models


def test_a_voice_is_cloned_listed_spoken_previewed_and_deleted(client):
    made = clone(client)
    assert made.status_code == 200, made.text
    voice = made.json()
    assert voice["object"] == "audio.voice"
    assert abs(voice["created_at"] - time.time()) < 86_400
    listed = client.get("/v1/audio/voices").json()
    assert listed["voices"] == listed["data"] == [{"id": voice["id"], "name": "Anna Müller"}]
    spoken = [
        client.post("/v1/audio/speech", json={**SPEECH, "voice": one})
        for one in ("Anna Müller", "anna müller", voice["id"], {"id": voice["id"]})
    ]
    assert {reply.headers["x-voice-id"] for reply in spoken} == {voice["id"]}
    assert len({reply.content for reply in spoken}) == 1
    preview = client.get(f"/v1/audio/voices/{voice['id']}/preview")
    assert preview.headers["content-type"] == "audio/mpeg"
    deleted = client.delete(f"/v1/audio/voices/{voice['id']}")
    assert deleted.json() == {"object": "audio.voice.deleted", "id": voice["id"], "deleted": True}
    assert client.get("/v1/audio/voices").json()["data"] == []


def test_an_alias_is_a_voice_and_consent_is_kept(client):
    voice = clone(client, consent="I agree.").json()
    assert client.post("/jobs/update_voice", json={"voice_id": voice["id"], "aliases": ["alloy"]}).is_success
    reply = client.post("/v1/audio/speech", json=SPEECH)
    assert reply.headers["x-voice-id"] == voice["id"]
    kept = client.post("/jobs/get_voice", json={"voice_id": voice["id"]}).json()["voice"]["consent"]
    assert kept["statement"] == "I agree."


def test_pronunciations_are_kept_with_a_voice(client):
    voice = clone(client).json()
    entry = {"text": "Nguyen", "say": "win", "case_sensitive": True, "whole_word": False}
    changed = client.post("/jobs/update_voice", json={"voice_id": voice["id"], "pronunciations": [entry]})
    assert changed.json()["voice_info"]["pronunciations"] == [entry]
    got = client.post("/jobs/get_voice", json={"voice_id": voice["id"]}).json()
    assert got["voice"]["pronunciations"] == [entry]
    refused = client.post(
        "/jobs/update_voice", json={"voice_id": voice["id"], "pronunciations": [{"text": "a"}]}
    )
    assert refused.status_code == 400
    assert "pronunciations[0].say is required" in refused.json()["error"]


def test_a_stored_voice_with_a_name_of_openais_wins(client):
    voice = clone(client, "Alloy").json()
    reply = client.post("/v1/audio/speech", json=SPEECH)
    assert reply.headers["x-voice-id"] == voice["id"]
    assert "x-warnings" not in reply.headers


def test_an_unknown_voice_is_refused_with_the_nearest_names(client):
    clone(client, "Margarete")
    reply = client.post("/v1/audio/speech", json={**SPEECH, "voice": "Margarethe"})
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert error["code"] == "voice_not_found"
    assert error["param"] == "voice"
    assert "Margarete" in error["message"]
    turns = [{"text": "Hello."}, {"text": "Hello.", "voice_name": "nobody"}]
    error = client.post("/v1/audio/speech", json={"turns": turns}).json()["error"]
    assert (error["code"], error["param"]) == ("voice_not_found", "turns[1].voice_name")
    assert error["message"].startswith(
        "turns[1].voice_name names a voice that is not there: no voice is named"
    )


def test_models_are_the_workers_and_the_names_that_mean_them(client):
    listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["chatterbox", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    assert {tuple(model["languages"]) for model in listed["data"]} == {("en",)}
    assert client.get("/v1/models/tts-1").json()["object"] == "model"
    missing = client.get("/v1/models/whisper-1")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "not_found"


@pytest.fixture
def several(tmp_path):
    """A worker with two models."""
    many = replace(CHATTERBOX, name="multilingual", languages=("en", "fr"))
    models = [FakeSynthesizer(), FakeSynthesizer(info=ModelInfo(many, FAKE_REVISION))]
    with (
        http_server(tmp_path, models, env={"MODEL": "chatterbox,multilingual"}) as served,
        httpx.Client(base_url=served.address) as client,
    ):
        yield client


def test_several_models_are_listed_with_their_languages(several):
    listed = {model["id"]: model["languages"] for model in several.get("/v1/models").json()["data"]}
    assert listed["chatterbox"] == ["en"]
    assert listed["multilingual"] == listed["tts-1"] == ["en", "fr"]
    assert several.get("/v1/models/multilingual").json()["languages"] == ["en", "fr"]


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({}, "chatterbox"),
        ({"model": "chatterbox"}, "chatterbox"),
        ({"model": "multilingual"}, "multilingual"),
        ({"model": "tts-1", "language": "fr"}, "multilingual"),
        ({"model": "", "language": "fr"}, "multilingual"),
    ],
)
def test_speech_and_jobs_choose_their_model(several, fields, model):
    reply = several.post("/v1/audio/speech", json={"input": TEXT, **fields})
    assert reply.headers["X-Model"] == model
    if fields.get("model") not in ("tts-1", ""):
        job = several.post("/jobs/tts", json={"text": TEXT, **fields}).json()
        assert job["model"]["variant"] == model


def test_a_language_that_the_named_model_lacks_is_refused_with_the_model_that_has_it(several):
    reply = several.post("/v1/audio/speech", json={"input": TEXT, "model": "chatterbox", "language": "fr"})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_language", "language")
    assert "or multilingual as the model" in error["message"]


# --- turns, markup, words and subtitles

TURNS = [{"text": "Is it late?"}, {"text": "It is [pause:1.5s] 9:30.", "parameters": {"temperature": 0.5}}]


def events_of(reply):
    return [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line]


@pytest.mark.parametrize("more", [{}, {"input": ""}, {"input": None}])
def test_turns_take_the_place_of_the_input(client, more):
    job = {"turns": TURNS, "seed": 7}
    asked = {**job, **more, "model": "tts-1", "response_format": "wav"}
    reply = client.post("/v1/audio/speech", json=asked)
    assert reply.status_code == 200, reply.text
    stream = events_of(client.post("/jobs/tts", json={**job, "format": "wav", "mode": "streaming"}))
    assert reply.content == b"".join(base64.b64decode(piece["audio"]) for piece in stream[:-1])


def test_the_receipts_of_events_and_of_jobs_hold_segments_words_and_subtitles(client):
    clone(client)
    job = {
        "turns": [{"text": "Is it late?", "voice_name": "Anna Müller"}, *TURNS[1:]],
        "pronunciations": [{"text": "late", "say": "layt"}],
        "timestamps": "words",
        "subtitles": "vtt",
        "seed": 7,
    }
    *_, done = events_of(client.post("/v1/audio/speech", json={**job, "stream_format": "sse"}))
    *_, streamed = events_of(client.post("/jobs/tts", json={**job, "mode": "streaming"}))
    whole = client.post("/jobs/tts", json=job).json()
    for receipt in (done["receipt"], streamed, whole):
        segments = receipt["segments"]
        assert [(each["turn"], each["voice"]) for each in segments] == [
            (0, "Anna Müller"),
            (1, None),
            (1, None),
        ]
        assert segments[0]["replaced"] == [{"text": "late", "spoken": "layt"}]
        assert segments[2]["replaced"] == [{"text": "9:30", "spoken": "nine thirty"}]
        assert segments[2]["start"] - segments[1]["end"] == pytest.approx(1.5, abs=0.002)
        assert [word["text"] for word in receipt["words"]] == ["Is", "it", "late?", "It", "is", "9:30"]
        assert receipt["timing"] == "estimated"
        assert receipt["subtitles"].startswith("WEBVTT")
        assert "<v Anna Müller>" in receipt["subtitles"]
        assert receipt["warnings"] == []
    assert done["usage"]["input_tokens"] == len("Is it late?\nIt is [pause:1.5s] 9:30.")


@pytest.mark.parametrize(
    ("path", "accept", "text", "instead"),
    [
        ("/v1/audio/speech", "*/*", "input", 'stream_format "sse"'),
        ("/jobs/tts", "audio/*", "text", "Accept: application/json"),
    ],
)
def test_audio_alone_warns_that_it_has_no_subtitles(client, path, accept, text, instead):
    asked = {text: "It is late.", "subtitles": "srt", "timestamps": "words"}
    reply = client.post(path, json=asked, headers={"Accept": accept})
    warnings = json.loads(reply.headers["x-warnings"])
    assert [warning.split()[0] for warning in warnings] == ["timestamps", "subtitles"]
    assert instead in warnings[0]


def test_warnings_about_markup_come_in_the_header(client):
    reply = client.post("/v1/audio/speech", json={"input": "One [pause:2] two."})
    assert "[pause:2]" in reply.headers["x-warnings"]
    refused = client.post("/v1/audio/speech", json={"input": "One [pause:2] two.", "strict": True})
    assert refused.json()["error"]["param"] == "input"


def test_ssml_is_spoken(client):
    ssml = '<speak>One <break time="2s"/> two.</speak>'
    receipt = client.post("/jobs/tts", json={"text": ssml, "markup": "ssml"}).json()
    first, second = receipt["segments"]
    assert second["start"] - first["end"] == pytest.approx(2.0, abs=0.002)


def test_the_log_counts_what_turns_say(client, caplog):
    caplog.set_level("INFO")
    count = sum(len(turn["text"]) for turn in TURNS)
    client.post("/jobs/tts", json={"turns": TURNS})
    client.post("/jobs/tts", json={"turns": TURNS}, headers={"Accept": "audio/*"})
    client.post("/jobs/tts", json={"turns": [7, {"text": 7}]})
    done = [record.getMessage() for record in caplog.records if record.getMessage().startswith("done ")]
    counts = [int(re.search(r"characters=(\d+)", line)[1]) for line in done]
    assert counts == [count, count + 1, 0]  # joined by a line break where the audio is the answer


# --- errors


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({}, "input", "input is required"),
        ({"input": "..."}, "input", "input has nothing in it to say"),
        ({"input": "Hello.", "response_format": "m4a"}, "response_format", "response_format must be one of"),
        ({"input": "Hello.", "temprature": 0.5}, "temprature", "did you mean 'temperature'?"),
        ({"input": "Hello.", "model": "whisper-1"}, "model", "send one of chatterbox, tts-1"),
        ({"input": "Hello.", "stream_format": "ws"}, "stream_format", "audio, sse"),
        ({"input": "Hello.", "voice": ["a"]}, "voice", '{"id": ...}'),
        (
            {"input": "Hello.", "voice": "a", "voice_id": "12345678"},
            None,
            "voice and voice_id exclude each other",
        ),
        ({"input": "Hello.", "text": "Hello."}, None, "send input"),
        ({"input": "Hello.", "turns": [{"text": "Hello."}]}, None, "input and turns exclude each other"),
        ({"turns": [{"text": "Hello."}, {"input": "Hello."}]}, "turns[1].text", "turns[1].text is required"),
        ({"turns": [{"text": "Hello."}, {"text": "..."}]}, "turns[1].text", "nothing in it to say"),
        ({"turns": []}, "turns", "turns is empty; send at least 1"),
        ({"input": "One [pause:99s] two."}, "input", "60"),
        ({"input": "<speak>One</speak", "markup": "ssml"}, "input", "line 1"),
    ],
)
def test_a_bad_request_names_the_field_as_openai_does(client, fields, param, says):
    reply = client.post("/v1/audio/speech", json=fields)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert says in error["message"]


def test_other_routes_have_the_shape_of_the_queue(client):
    reply = client.post("/jobs/tts", json={"text": 5})
    assert reply.status_code == 400
    assert reply.json()["error_code"] == "invalid_request"
    assert client.post("/jobs/sing", json={}).json()["error_code"] == "unknown_operation"
    assert client.post("/jobs/get_voice", json={"voice_id": "01234567"}).status_code == 404
    assert client.get("/nothing").json()["error_code"] == "not_found"
    assert client.get("/jobs/tts").status_code == 405


def test_a_failure_before_the_first_audio_has_a_status(tmp_path):
    with http_server(tmp_path, FakeSynthesizer(failure=OutOfMemory("too little memory"))) as served:
        reply = httpx.post(f"{served.address}/v1/audio/speech", json=SPEECH)
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "out_of_memory"
    assert reply.headers["retry-after"]


class Breaking(FakeSynthesizer):
    def _chunks(self, utterances, cancel):
        yield next(super()._chunks(utterances, cancel))
        raise OutOfMemory("too little memory")


def test_a_failure_after_it_cuts_the_reply_and_ends_events_with_an_error(tmp_path):
    with http_server(tmp_path, Breaking()) as served:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{served.address}/v1/audio/speech", json=SPEECH)
        events = httpx.post(f"{served.address}/v1/audio/speech", json={**SPEECH, "stream_format": "sse"})
    last = json.loads(events.text.strip().splitlines()[-1].removeprefix("data: "))
    assert last["type"] == "error"
    assert last["error"]["code"] == "out_of_memory"


# --- who waits, and who goes away


def test_a_client_that_goes_away_frees_its_place(tmp_path):
    synthesizer = Waiting()
    with http_server(tmp_path, synthesizer) as served:
        with httpx.stream("POST", f"{served.address}/v1/audio/speech", json=SPEECH) as reply:
            next(reply.iter_raw())
            assert served.gate.device.jobs == 1
        until(lambda: served.gate.device.jobs == 0)
        assert synthesizer.speaking == 0


def test_a_client_that_goes_away_before_the_first_audio_frees_its_place(tmp_path):
    synthesizer = FakeSynthesizer(gate=threading.Event())
    with http_server(tmp_path, synthesizer) as served:
        for path, body in (("/v1/audio/speech", SPEECH), ("/jobs/tts", {"text": TEXT})):
            with socket.create_connection(("127.0.0.1", served.port)) as connection:
                connection.sendall(raw_post(path, body))
                assert synthesizer.entered.acquire(timeout=60)
            until(lambda: served.gate.device.jobs == 0)
        assert synthesizer.speaking == 0


def test_more_clients_than_may_wait_are_sent_away_and_the_others_answered(tmp_path):
    synthesizer = FakeSynthesizer(gate=threading.Event())
    with (
        http_server(tmp_path, synthesizer, {"MAX_CONCURRENCY": "2", "MAX_QUEUED_JOBS": "3"}) as served,
        ThreadPoolExecutor(8) as clients,
    ):
        waiting = [clients.submit(speak, served) for _ in range(5)]
        until(lambda: served.gate.device.jobs == 5)
        refused = speak(served)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) > 0
        # Voices are listed meanwhile.
        assert httpx.get(f"{served.address}/v1/audio/voices").status_code == 200
        synthesizer.gate.set()
        assert [each.result().status_code for each in waiting] == [200] * 5
    assert synthesizer.most_at_once == 2


def test_sixty_four_clients_at_once_are_answered_by_eight_places(tmp_path):
    synthesizer = FakeSynthesizer()
    with (
        http_server(tmp_path, synthesizer, {"MAX_CONCURRENCY": "8"}) as served,
        ThreadPoolExecutor(64) as clients,
    ):
        replies = list(clients.map(lambda seed: speak(served, seed=seed), range(64)))
    assert {reply.status_code for reply in replies} == {200}
    assert [reply.headers["x-seed"] for reply in replies] == [str(number) for number in range(64)]
    assert synthesizer.most_at_once <= 8


def test_a_slow_reader_stops_the_work(tmp_path, monkeypatch):
    is_waiting = threading.Event()

    class Watched(Handover[Item]):
        def put(self, item, cancel):
            if self._slots.acquire(blocking=False):
                self._slots.release()
            else:
                is_waiting.set()
            super().put(item, cancel)

    monkeypatch.setattr(audio, "Handover", Watched)
    synthesizer = Waiting()
    synthesizer.may_go_on.set()
    long = {**SPEECH, "input": "Seconds of speech in a sentence. " * 150, "response_format": "pcm"}
    with http_server(tmp_path, synthesizer) as served, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(raw_post("/v1/audio/speech", long))
        assert is_waiting.wait(60)
        assert synthesizer.made < 150
        while not connection.recv(1 << 20).endswith(b"0\r\n\r\n"):
            pass
        assert synthesizer.made == 150


# --- health


def test_a_worker_that_starts_has_no_content_and_answers_nobody(tmp_path):
    with http_server(tmp_path) as served:
        served.gate.is_ready = False
        assert httpx.get(f"{served.address}/ping").status_code == 204
        reply = httpx.post(f"{served.address}/v1/audio/speech", json=SPEECH)
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "starting"
        served.gate.is_ready = True
        assert httpx.get(f"{served.address}/ping").status_code == 200
        served.worker.health.mark_unhealthy("a test")
        assert httpx.get(f"{served.address}/ping").status_code == 503
        assert httpx.post(f"{served.address}/v1/audio/speech", json=SPEECH).status_code == 503


def test_metrics_count_what_was_done(client):
    client.post("/v1/audio/speech", json=SPEECH)
    client.post("/v1/audio/speech", json={**SPEECH, "voice": {"id": "01234567"}})
    client.post("/jobs/list_voices", json={})
    text = client.get("/metrics").text
    assert 'voice_worker_jobs_total{operation="tts",outcome="ok"} 1.0' in text
    assert 'voice_worker_jobs_total{operation="tts",outcome="voice_not_found"} 1.0' in text
    assert 'voice_worker_jobs_total{operation="list_voices",outcome="ok"} 1.0' in text
    client.delete("/v1/audio/voices/01234567")
    client.post("/v1/audio/speech", json={})
    refusals = re.findall(r"(?m)^voice_worker_refused_total(.*)$", client.get("/metrics").text)
    assert refusals == ['{code="invalid_request"} 1.0']
    assert "voice_worker_first_audio_seconds_count 1.0" in text
    audio_s = float(re.search(r"(?m)^voice_worker_audio_seconds_total (\S+)$", text)[1])
    assert audio_s == pytest.approx(3.1, abs=0.5)


def test_metrics_show_the_batch_and_the_store_as_they_are_now(tmp_path):
    synthesizer = FakeSynthesizer(gate=threading.Event())
    with http_server(tmp_path, synthesizer) as served, ThreadPoolExecutor(1) as clients:

        def figure(name: str) -> str:
            text = httpx.get(f"{served.address}/metrics").text
            return re.search(rf"(?m)^voice_worker_{name} (\S+)$", text)[1]

        assert (figure("batch_rows_in_use"), figure("batch_rows")) == ("0.0", f"{ROWS:.1f}")
        assert figure("stored_voices") == "0.0"
        speech = clients.submit(httpx.post, f"{served.address}/v1/audio/speech", json=SPEECH, timeout=60)
        assert synthesizer.entered.acquire(timeout=60)
        assert figure("batch_rows_in_use") == "1.0"
        synthesizer.gate.set()
        assert speech.result().status_code == 200
        served.worker.services().voices.put(Waveform(speech_like(6.0), MODEL_SAMPLE_RATE_HZ), "Ann")
        assert figure("stored_voices") == "1.0"


def test_metrics_are_shown_though_the_store_cannot_be_read(tmp_path):
    with http_server(tmp_path) as served:

        def fail() -> None:
            raise StoreUnavailable("the volume with the voices is not mounted")

        served.worker.services().voices.stats = fail
        reply = httpx.get(f"{served.address}/metrics")
    assert reply.status_code == 200
    assert "voice_worker_stored_voices NaN" in reply.text


def test_streams_of_jobs_are_counted_and_wait_like_others(tmp_path):
    synthesizer = FakeSynthesizer(gate=threading.Event())
    job = {"text": TEXT, "mode": "streaming"}
    with (
        http_server(tmp_path, synthesizer, {"MAX_QUEUED_JOBS": "0"}) as served,
        ThreadPoolExecutor(1) as clients,
    ):
        stream = clients.submit(httpx.post, f"{served.address}/jobs/tts", json=job, timeout=60)
        assert synthesizer.entered.acquire(timeout=60)
        refused = httpx.post(f"{served.address}/jobs/tts", json=job)
        assert refused.status_code == 503
        assert refused.json()["error_code"] == "queue_full"
        synthesizer.gate.set()
        assert stream.result().status_code == 200
        bad = httpx.post(f"{served.address}/jobs/tts", json={**job, "voice_id": "01234567"})
        assert bad.status_code == 404
        text = httpx.get(f"{served.address}/metrics").text
    assert 'voice_worker_jobs_total{operation="tts",outcome="ok"} 1.0' in text
    assert 'voice_worker_jobs_total{operation="tts",outcome="voice_not_found"} 1.0' in text


def test_a_request_keeps_its_id(client):
    reply = client.post("/jobs/list_voices", json={}, headers={"X-Request-Id": "my-request"})
    assert reply.headers["x-request-id"] == "my-request"
    odd = client.get("/ping", headers={"X-Request-Id": b"a b\x01"})
    assert re.fullmatch(r"[0-9a-f]{32}", odd.headers["x-request-id"])


def test_the_schema_names_every_operation_and_its_viewer_loads_nothing_from_elsewhere(client):
    schema = client.get("/openapi.json").json()
    assert "/jobs/clone_voice" in schema["paths"]
    fields = schema["paths"]["/jobs/tts"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert fields["$ref"] == "#/components/schemas/TtsRequest"
    assert "exaggeration" in schema["components"]["schemas"]["TtsRequest"]["properties"]
    tts = schema["components"]["schemas"]["TtsRequest"]
    assert tts["anyOf"] == [{"required": ["text"]}, {"required": ["turns"]}]
    assert schema["components"]["schemas"]["Turn"]["required"] == ["text"]
    body = schema["paths"]["/v1/audio/speech"]["post"]["requestBody"]["content"]["application/json"]
    assert {"input", "turns", "response_format", "voice", "subtitles"} <= body["schema"]["properties"].keys()
    assert not {"text", "format", "delivery"} & body["schema"]["properties"].keys()
    referred = re.findall(r"#/components/schemas/(\w+)", json.dumps(schema))
    assert set(referred) <= schema["components"]["schemas"].keys()
    page = client.get("/docs").text
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", page)
    for address in re.findall(r"(?:src|href)=[\"'](/[^\"']+)", page):
        assert client.get(address).status_code == 200, address


# --- keys, hosts, origins


@pytest.fixture
def locked(tmp_path):
    with http_server(tmp_path, env={"API_KEY": KEY}) as found:
        yield found


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": KEY}, 401),
        ({"X-API-Key": KEY + "x"}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"X-API-Key": KEY}, 200),
        ({"Authorization": "Bearer of-the-platform", "X-API-Key": KEY}, 200),
    ],
)
def test_a_key_is_asked_for(locked, headers, status):
    for path in ("/v1/models", "/v1/audio/voices", "/metrics"):
        reply = httpx.get(f"{locked.address}{path}", headers=headers)
        assert reply.status_code == status, path
        assert KEY not in reply.text
    if status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
        assert (
            httpx.post(f"{locked.address}/v1/audio/speech", json=SPEECH, headers=headers).status_code == 401
        )
        assert httpx.post(f"{locked.address}/jobs/sing", json={}, headers=headers).status_code == 401


def test_health_schema_and_page_need_no_key(locked):
    for path in ("/ping", "/openapi.json", "/docs"):
        assert httpx.get(f"{locked.address}{path}").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80"])
def test_a_foreign_name_that_points_here_is_refused(client, host):
    reply = client.post("/v1/audio/speech", json=SPEECH, headers={"Host": host})
    assert reply.status_code == 403, reply.text


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_served(client, host):
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_a_page_of_another_origin_is_refused(client, headers):
    """A form's multipart POST needs no leave of the browser's."""
    files = {"audio_sample": ("a.wav", RECORDING, "audio/wav")}
    reply = client.post("/v1/audio/voices", data={"name": "Eve"}, files=files, headers=headers)
    assert reply.status_code == 403
    assert client.get("/v1/audio/voices").json()["data"] == []


def test_its_own_page_and_links_to_it_are_served(served, client):
    own = {"Origin": served.address, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/audio/speech", json=SPEECH, headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/docs", headers=link).status_code == 200


def test_an_origin_that_was_let_in_may_ask(tmp_path):
    with http_server(tmp_path, env={"CORS_ORIGINS": "https://app.example.com", "API_KEY": KEY}) as served:
        asked = {
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        preflight = httpx.options(f"{served.address}/v1/audio/speech", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"
        with_key = {"Origin": "https://app.example.com", "Authorization": f"Bearer {KEY}"}
        reply = httpx.post(f"{served.address}/v1/audio/speech", json=SPEECH, headers=with_key)
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == "https://app.example.com"
        foreign = {**with_key, "Origin": "https://evil.example"}
        assert (
            httpx.post(f"{served.address}/v1/audio/speech", json=SPEECH, headers=foreign).status_code == 403
        )


# --- garbage


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"input": NaN}',
        b'{"input": "\\ud800"}',
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b'{"a": ' * 5_000 + b"1" + b"}" * 5_000,
        b"\x00" * 5_000_000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/audio/speech", "/jobs/tts", "/jobs/clone_voice"])
def test_garbage_is_a_bad_request(client, path, body):
    reply = client.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400, reply.text[:500]
    assert len(reply.text) < 5_000


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        (b"name=Anna", "application/x-www-form-urlencoded"),
        (b'{"name": "Anna"}', "application/json"),
        (MANY_FIELDS, "multipart/form-data; boundary=x"),
    ],
)
def test_a_bad_form_is_a_bad_request(client, content, kind):
    reply = client.post("/v1/audio/voices", content=content, headers={"content-type": kind})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_field_that_a_voice_does_not_have_is_named(client):
    reply = clone(client, discription="calm")
    assert reply.status_code == 400
    assert "did you mean 'description'?" in reply.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(client, monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", 100_000)
    whole = client.post("/jobs/tts", content=b" " * 200_000)
    in_parts = client.post("/jobs/tts", content=iter([b" " * 60_000] * 4))
    for reply in (whole, in_parts):
        assert reply.status_code == 413
        assert reply.json()["error_code"] == "request_too_large"
    assert clone(client).status_code == 413


def test_a_head_that_does_not_come_ends_the_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "HEADER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 1)  # it counts after a first request
    with http_server(tmp_path) as served:
        for sent in (
            b"",
            b"GET /ping HTTP/1.1\r\nHost: localh",
            b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\nGET /pi",
        ):
            with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
                connection.sendall(sent)
                while connection.recv(4096):
                    pass  # until it is closed


def test_a_body_that_does_not_come_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "BODY_TIMEOUT_S", 0.2)
    with (
        http_server(tmp_path) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection,
    ):
        connection.sendall(b"POST /jobs/tts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_body_that_comes_byte_by_byte_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "WHOLE_BODY_TIMEOUT_S", 0.5)
    with (
        http_server(tmp_path) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=0.05) as connection,
    ):
        connection.sendall(b"POST /jobs/tts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{")
        for _ in range(10_000):
            connection.sendall(b" ")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
            break
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_client_that_reads_nothing_is_cut_off_and_its_job_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "SEND_TIMEOUT_S", 0.2)
    with http_server(tmp_path) as served, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        long_speech = {**SPEECH, "input": TEXT * 90, "response_format": "pcm", "sample_rate": 48_000}
        connection.sendall(raw_post("/v1/audio/speech", long_speech))
        until(lambda: served.gate.device.jobs == 1)
        until(lambda: served.gate.device.jobs == 0)
        assert speak(served).status_code == 200


@pytest.mark.parametrize("value", ["y", "v" * 20])
def test_ten_thousand_headers_are_refused(client, value):
    many = {f"X-{number}": value for number in range(10_000)}
    with contextlib.suppress(httpx.TransportError):  # cut off while it sends them
        assert client.get("/ping", headers=many).status_code in (400, 413)
    assert client.get("/ping").status_code == 200
    assert client.get("/ping", headers={f"X-{number}": "y" for number in range(120)}).status_code == 413


def test_a_body_with_very_many_fields_is_refused_before_it_is_looked_at(client):
    body = dict.fromkeys(map(str, range(200_000)), 1)
    reply = client.post("/v1/audio/speech", json=body)
    assert reply.status_code == 400
    assert "has 200000 fields" in reply.json()["error"]["message"]


def test_an_id_that_is_used_again_does_not_replace_the_audio_of_another_job(client):
    def spoken(text: str) -> dict:
        job = {"text": text, "seed": 1, "delivery": "volume"}
        return client.post("/jobs/tts", json=job, headers={"X-Request-Id": "trace-1"}).json()

    first, other, again = spoken("One."), spoken("Another one."), spoken("One.")
    assert first["audio_path"] == again["audio_path"] != other["audio_path"]
    assert Path(first["audio_path"]).read_bytes() != Path(other["audio_path"]).read_bytes()


def test_a_forms_errors_are_in_its_own_words(client):
    files = {"audio_sample": ("a.wav", b"no recording", "audio/wav")}
    unreadable = client.post("/v1/audio/voices", data={"name": "Ann"}, files=files).json()["error"]
    assert unreadable["code"] == "reference_invalid"
    assert unreadable["message"].startswith("audio_sample is not audio")
    nameless = clone(client, name="").json()["error"]
    assert (nameless["code"], nameless["param"]) == ("invalid_request", "name")
    files = {"audio_sample": ("a.wav", RECORDING), "consent": ("c.txt", b"I agree.")}
    as_file = client.post("/v1/audio/voices", data={"name": "Ann"}, files=files).json()["error"]
    assert (as_file["param"], as_file["message"]) == ("consent", "consent must be a text, not a file")


def test_an_empty_consent_is_none(tmp_path):
    with (
        http_server(tmp_path, env={"REQUIRE_CONSENT": "true"}) as served,
        httpx.Client(base_url=served.address, timeout=60) as client,
    ):
        for fields in ({}, {"consent": " "}):
            error = clone(client, **fields).json()["error"]
            assert error["param"] == "consent"
            assert "send the words of whoever agreed" in error["message"]
        assert clone(client, consent="I agree.").status_code == 200


def test_names_of_the_operations_fields_are_put_right(client):
    def refused(**fields) -> str:
        reply = client.post("/v1/audio/speech", json={"input": TEXT, **fields})
        assert reply.status_code == 400
        return reply.json()["error"]["message"]

    assert "did you mean 'voice'?" in refused(voicee="alloy")
    assert "send input" in refused(text="Hello.")
    assert "the audio is the reply" in refused(delivery="volume")


def test_heads_can_be_asked_for(client):
    for path in ("/", "/ping"):
        reply = client.head(path)
        assert (reply.status_code, reply.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/static-offline-docs/../settings.py",
        "/static-offline-docs/%2e%2e/settings.py",
        "/..%2fsettings.py",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_other_files(served: HttpServer, path):
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 401"))
    assert b"import" not in answer


# --- a bad day


class Endless(FakeSynthesizer):
    """Speaks until its job is cancelled."""

    def _chunks(self, utterances, cancel):
        (chunk,) = super()._chunks([replace(utterances[0], text="On and on.")], cancel)
        while True:
            cancel.raise_if_cancelled()
            yield replace(chunk, count=1_000_000)


@pytest.mark.parametrize("clients", [60, pytest.param(1_000, marks=pytest.mark.slow)])
def test_clients_that_go_away_in_the_middle_leave_nothing_behind(tmp_path, clients):
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs Linux's /proc")
    synthesizer = Endless()
    settings = {"MAX_CONCURRENCY": "8", "MAX_QUEUED_JOBS": "200"}
    connections = httpx.Limits(max_keepalive_connections=0)
    with (
        http_server(tmp_path, synthesizer, settings) as served,
        httpx.Client(timeout=120, limits=connections) as client,
        ThreadPoolExecutor(64) as pool,
    ):

        def leave(_: int) -> int:
            with client.stream("POST", f"{served.address}/v1/audio/speech", json=SPEECH) as reply:
                next(reply.iter_raw())
                return reply.status_code

        assert set(pool.map(leave, range(64))) == {200}  # what is kept from the first ones on
        until(lambda: served.gate.device.jobs == 0)
        before, resident = len(list(descriptors.iterdir())), resident_bytes()
        assert set(pool.map(leave, range(clients))) == {200}
        until(lambda: served.gate.device.jobs == 0)
        assert synthesizer.speaking == 0
        until(lambda: len(list(descriptors.iterdir())) <= before + 2)
        assert resident_bytes() - resident < 50_000_000
        assert httpx.get(f"{served.address}/ping").status_code == 200


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
def test_an_hour_of_audio_is_streamed_with_the_memory_of_a_minute(tmp_path):
    synthesizer = FakeSynthesizer()
    long = {**SPEECH, "input": "Seconds of speech in a sentence. " * 1_900, "response_format": "pcm"}
    with http_server(tmp_path, synthesizer, {"MAX_TEXT_CHARS": "100000"}) as served:
        sent_bytes, resident = 0, 0
        with httpx.stream("POST", f"{served.address}/v1/audio/speech", json=long, timeout=600) as reply:
            for part in reply.iter_raw():
                sent_bytes += len(part)
                if resident == 0 and sent_bytes > 60 * 48_000:
                    resident = resident_bytes()
        assert sent_bytes > 3_600 * 48_000
        assert resident_bytes() - resident < 50_000_000
