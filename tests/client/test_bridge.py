"""``voice-worker serve``: OpenAI's API on this machine in front of a queue endpoint."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from concurrent.futures import Future
from contextlib import contextmanager

import httpx2
import pytest
import uvicorn
from chatterbox_voice.bridge import build_app

from tests.client.conftest import ON_PLATFORM, async_client_of, client_of, until
from tests.client.platform import platform_of
from tests.fakes import FakeSynthesizer, build_worker
from tests.recordings import speech_like, wav_bytes

TEXT = "Nobody knew. The ship left at dawn. It was late."
SPEECH = {"model": "tts-1", "input": TEXT, "voice": "alloy", "seed": 7}
KEY = "a-key-of-the-bridge"


@contextmanager
def bridge_of(platform, api_key=None, **options):
    """Serves the bridge; yields its address."""
    started: Future = Future()

    async def serve():
        async with async_client_of(platform, **options) as client:
            config = uvicorn.Config(build_app(client, api_key), log_level="critical", lifespan="off")
            server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
            running = asyncio.create_task(server.serve([listening]))
            while not server.started:
                await asyncio.sleep(0.005)
            started.set_result((server, listening.getsockname()[1]))
            await running

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    server, port = started.result(60)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A queue endpoint that streams, and the address of a bridge in front of it."""
    worker = build_worker(
        tmp_path_factory.mktemp("endpoint"),
        synthesizer := FakeSynthesizer(),
        {**ON_PLATFORM, "ENDPOINT_MODE": "streaming"},
    )
    with platform_of(worker, is_streaming=True) as platform, bridge_of(platform) as address:
        yield synthesizer, platform, address


@pytest.fixture
def synthesizer(shared):
    return shared[0]


@pytest.fixture
def streaming_endpoint(shared):
    shared[1].jobs.clear()
    shared[1].asked.clear()
    return shared[1]


@pytest.fixture
def bridge(shared, streaming_endpoint):
    with httpx2.Client(base_url=shared[2], timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("format", "kind"),
    [(None, "audio/mpeg"), ("pcm", "audio/pcm; rate=24000"), ("opus", "audio/ogg; codecs=opus")],
)
def test_speech_is_the_audio_that_the_endpoint_gives(bridge, streaming_endpoint, format, kind):
    reply = bridge.post("/v1/audio/speech", json={**SPEECH, "response_format": format})
    assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
    with client_of(streaming_endpoint) as client:
        assert reply.content == b"".join(client.stream(TEXT, seed=7, format=format or "mp3"))


def test_speech_of_an_endpoint_that_does_not_stream(endpoint):
    with bridge_of(endpoint) as address, client_of(endpoint) as client:
        reply = httpx2.post(f"{address}/v1/audio/speech", json=SPEECH)
        assert reply.content == client.speak(TEXT, seed=7).audio


def test_the_first_audio_comes_before_the_rest_is_made(bridge, synthesizer, monkeypatch):
    may_go_on, chunks = threading.Event(), synthesizer._chunks

    def slowly(utterances, cancel):
        for chunk in chunks(utterances, cancel):
            yield chunk
            synthesizer._wait_for(may_go_on, cancel)

    monkeypatch.setattr(synthesizer, "_chunks", slowly)
    with bridge.stream("POST", "/v1/audio/speech", json={**SPEECH, "response_format": "pcm"}) as reply:
        parts = reply.iter_raw()
        first = next(parts)
        may_go_on.set()
        assert len(b"".join(parts)) > len(first) > 1_000


def test_events_hold_the_same_audio_and_end_with_usage(bridge):
    whole = bridge.post("/v1/audio/speech", json=SPEECH).content
    reply = bridge.post("/v1/audio/speech", json={**SPEECH, "stream_format": "sse"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *deltas, done = [json.loads(line[6:]) for line in reply.text.splitlines() if line]
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == whole
    assert done["type"] == "speech.audio.done"
    assert done["receipt"]["seed"] == 7
    assert done["usage"]["input_tokens"] == len(TEXT)


def test_turns_are_spoken(bridge):
    turns = [{"text": "Is it late?"}, {"text": "It is."}]
    fields = {**SPEECH, "input": "", "turns": turns, "stream_format": "sse", "subtitles": "srt"}
    reply = bridge.post("/v1/audio/speech", json=fields)
    *_, done = [json.loads(line[6:]) for line in reply.text.splitlines() if line]
    assert [each["turn"] for each in done["receipt"]["segments"]] == [0, 1]
    assert "Is it late?" in done["receipt"]["subtitles"]
    assert done["usage"]["input_tokens"] == len("Is it late?It is.")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"voice": "nobody"}, 404, "voice_not_found", "voice"),
        ({"input": ""}, 400, "invalid_request", "input"),
        ({"input": "x" * 6000}, 400, "text_too_long", "input"),
        ({"input": "One [voice:nobody] two."}, 404, "voice_not_found", "input"),
        ({"input": "One [pause:99s] two."}, 400, "invalid_request", "input"),
        ({"stream_format": "tape"}, 400, "invalid_request", "stream_format"),
        ({"turns": [{"text": TEXT}]}, 400, "invalid_request", "input"),
        (
            {"input": "", "turns": [{"text": TEXT}, {"text": TEXT, "voice_name": "nobody"}]},
            404,
            "voice_not_found",
            "turns[1].voice_name",
        ),
    ],
)
def test_errors_have_openais_shape(bridge, fields, status, code, param):
    reply = bridge.post("/v1/audio/speech", json={**SPEECH, **fields})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["message"]
    assert error["type"] == "invalid_request_error"


def test_what_is_no_request_is_refused(bridge):
    for body in (b"{", b"[]", b'{"a": NaN}'):
        assert bridge.post("/v1/audio/speech", content=body).status_code == 400
    assert bridge.post("/v1/audio/speech", content=bytes(11_000_000)).status_code == 413
    assert bridge.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert bridge.get("/v1/models/gpt-9").status_code == 404


def test_a_failure_after_the_first_audio_cuts_the_reply(bridge, synthesizer, monkeypatch):
    chunks = synthesizer._chunks

    def failing(utterances, cancel):
        yield next(chunks(utterances, cancel))
        raise RuntimeError("it broke")

    monkeypatch.setattr(synthesizer, "_chunks", failing)
    with pytest.raises(httpx2.RemoteProtocolError):
        bridge.post("/v1/audio/speech", json={**SPEECH, "input": TEXT * 3, "response_format": "pcm"})


def test_voices_and_models_are_listed(bridge, streaming_endpoint):
    assert "tts-1" in [model["id"] for model in bridge.get("/v1/models").json()["data"]]
    assert bridge.get("/v1/models/tts-1").json()["object"] == "model"
    assert streaming_endpoint.jobs == {}  # no worker is started for that
    with client_of(streaming_endpoint) as client:
        recording = wav_bytes(speech_like(6.0, 24_000, 1), 24_000)
        voice = client.clone(recording, "Ada", preview=False, aliases=["alloy"])
        listed = bridge.get("/v1/audio/voices").json()
        assert listed["voices"] == listed["data"] == [{"id": voice.id, "name": "Ada"}]
        spoken = bridge.post("/v1/audio/speech", json=SPEECH).content
        assert spoken == b"".join(client.stream(TEXT, seed=7, voice="Ada"))
        client.delete(voice)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "example.com"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_no_foreign_page_uses_it(bridge, headers, status):
    assert bridge.get("/v1/models", headers=headers).status_code == status


def test_a_key_of_its_own_may_be_asked_for(streaming_endpoint):
    with bridge_of(streaming_endpoint, KEY) as address:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Bearer {KEY}"}, 200),
            ({"X-API-Key": KEY}, 200),
        ):
            assert httpx2.get(f"{address}/v1/models", headers=headers).status_code == status


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_client_that_leaves_ends_the_job(bridge, streaming_endpoint, synthesizer, monkeypatch, has_begun):
    chunks, hold = synthesizer._chunks, threading.Event()

    def slowly(utterances, cancel):
        for chunk in chunks(utterances, cancel):
            if has_begun:
                yield chunk
            synthesizer.entered.release()
            synthesizer._wait_for(hold, cancel)

    monkeypatch.setattr(synthesizer, "_chunks", slowly)
    port = bridge.base_url.port
    body = json.dumps({**SPEECH, "response_format": "pcm"}).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        synthesizer.entered.acquire()
        if has_begun:
            assert connection.recv(1000)
        until(lambda: "stream" in streaming_endpoint.routes_asked())
    until(lambda: "cancel" in streaming_endpoint.routes_asked())
    until(lambda: synthesizer.speaking == 0)


def test_an_endpoint_that_cannot_be_asked_is_a_bad_gateway(streaming_endpoint):
    streaming_endpoint.faults["run"] = [(401, "", {})]
    with bridge_of(streaming_endpoint) as address:
        reply = httpx2.post(f"{address}/v1/audio/speech", json=SPEECH)
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "unauthorized"
