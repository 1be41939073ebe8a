"""The client against the worker's HTTP server, over a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from chatterbox_voice import AsyncClient, Client, errors

from tests.client.conftest import QUICKLY, until
from tests.recordings import speech_like, wav_bytes
from tests.serving.http_server import KEY, http_server

TEXT = "Nobody knew. The ship left at dawn. It was late."
RECORDING = wav_bytes(speech_like(6.0, 24_000, 1), 24_000)


@pytest.fixture
def served(tmp_path, synthesizer):
    with http_server(tmp_path, synthesizer, {"API_KEY": KEY, "MAX_QUEUED_JOBS": "1"}) as server:
        yield server


@pytest.fixture
def client(served):
    with Client(url=served.address, api_key=KEY, **QUICKLY) as found:
        yield found


def test_operations_are_those_of_the_queue(client):
    cloned = client.clone(RECORDING, "Ada")
    assert cloned.preview[:4] == b"RIFF"
    assert [voice.id for voice in client.voices()] == [cloned.id]
    assert client.speak(TEXT, voice="Ada").receipt["voice"]["voice_id"] == cloned.id
    converted = client.convert(RECORDING, voice="Ada", seed=3)
    assert converted.receipt["voice"]["voice_id"] == cloned.id
    assert converted.seed == 3
    check = client.check_watermark(RECORDING)
    assert (check.is_marked, check.confidence, check.warnings) == (True, 0.75, [])
    assert client.delete("Ada")
    with pytest.raises(errors.VoiceNotFound) as raised:
        client.speak(TEXT, voice="Ada")
    assert raised.value.status == 404
    with pytest.raises(errors.UnknownOperation):
        client.run("sing")


def test_a_voice_of_several_recordings_has_its_preview_kept(client, tmp_path):
    file = tmp_path / "other.wav"
    file.write_bytes(wav_bytes(speech_like(7.0, 24_000, 2), 24_000))
    cloned = client.clone([RECORDING, file], "Ada", keep_preview=True)
    assert [len(sample["parts"]) for sample in cloned.samples] == [1, 1]
    assert client.preview(cloned)[:4] == b"fLaC"
    assert not client.clone((RECORDING, file.read_bytes()), "Ada").is_new
    plain = client.clone(RECORDING, "Bob", preview=False)
    assert plain.samples == []
    assert client.preview(voice_id=plain.id) is None
    with pytest.raises(errors.InvalidRequest, match="there is no recording"):
        client.clone([], "Cat")
    with pytest.raises(errors.ReferenceInvalid, match=r"samples\[1\]\.audio is not audio"):
        client.clone([RECORDING, b"no recording"], "Cat")


def test_a_stream_ends_with_its_receipt(client, served, synthesizer):
    may_go_on, chunks = threading.Event(), synthesizer._chunks

    def slowly(utterances, cancel):
        for chunk in chunks(utterances, cancel):
            yield chunk
            synthesizer._wait_for(may_go_on, cancel)

    synthesizer._chunks = slowly
    with client.stream(TEXT, format="pcm", seed=7) as stream:
        first = next(stream)
        assert (stream.format, stream.sample_rate) == ("pcm", 24_000)
        may_go_on.set()
        parts = [first, *stream]
    assert len(parts) == stream.receipt["pieces"] == 3
    assert b"".join(parts) == client.speak(TEXT, format="pcm", seed=7).audio


async def test_the_asynchronous_client_gets_the_same(served, client):
    async with AsyncClient(url=served.address, api_key=KEY, **QUICKLY) as asynchronous:
        speech = await asynchronous.speak(TEXT, seed=7)
        async with asynchronous.stream(TEXT, seed=7) as stream:
            parts = [part async for part in stream]
    assert speech.audio == client.speak(TEXT, seed=7).audio
    assert len(parts) == stream.receipt["pieces"]


def test_a_stream_that_fails_before_its_audio_says_why(client):
    with pytest.raises(errors.TextTooLong):
        next(client.stream("x" * 6000))


def test_audio_that_is_cut_off_is_no_success(client, synthesizer):
    chunks = synthesizer._chunks

    def failing(utterances, cancel):
        yield next(chunks(utterances, cancel))
        raise RuntimeError("it broke")

    synthesizer._chunks = failing
    with pytest.raises(errors.Internal):
        list(client.stream(TEXT))


def test_closing_a_stream_ends_its_job(client, synthesizer):
    with client.stream("One two. " * 60) as stream:
        next(stream)
    assert client.speak("Hello.").audio  # one job at a time: the other has ended
    assert synthesizer.speaking == 0


def test_a_full_server_is_asked_again(served, client, synthesizer, monkeypatch):
    monkeypatch.setattr("chatterbox_voice.flow.MAX_RETRY_AFTER_S", 0.01)
    synthesizer.gate = threading.Event()
    with ThreadPoolExecutor(2) as others:
        first = others.submit(client.speak, "Hello.")
        synthesizer.entered.acquire()
        second = others.submit(client.speak, "Hello.")
        until(lambda: served.gate.device.jobs == 2)
        states = []

        def noted(progress):
            states.append(progress.state)
            if progress.state == "retrying":
                synthesizer.gate.set()

        with Client(url=served.address, api_key=KEY, on_progress=noted, **QUICKLY) as third:
            assert third.speak("Hello.").audio
        assert all(other.result().audio for other in (first, second))
    assert "retrying" in states


def test_a_server_that_starts_is_waited_for(served, monkeypatch):
    monkeypatch.setattr("chatterbox_voice.flow.MAX_RETRY_AFTER_S", 0.001)
    served.gate.is_ready = False
    states = []

    def noted(progress):
        states.append(progress.state)
        served.gate.is_ready = len(states) > 20  # more than a request is repeated for other reasons

    with Client(url=served.address, api_key=KEY, on_progress=noted, **QUICKLY) as client:
        assert client.speak(TEXT).audio
    assert states.count("waiting") > 15


def test_a_wrong_key_is_unauthorized(served):
    with Client(url=served.address, api_key="wrong") as client, pytest.raises(errors.Unauthorized):
        client.voices()


def test_a_request_beyond_the_limit_is_not_sent(client):
    with pytest.raises(errors.TooLarge, match="30,000,000"):
        client.clone(bytes(25 * 1024**2), "Ada")


@pytest.mark.parametrize("said", [b"", b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"audio":'])
def test_a_lost_connection_is_tried_again_and_then_said(said):
    """The server ends a job when its connection closes: another one does no harm."""
    asked = []
    listening = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(65_536))
                connection.sendall(said)

    thread = threading.Thread(target=answer)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with Client(url=url, **QUICKLY) as client, pytest.raises(errors.ConnectionFailed, match="lost"):
        client.speak(TEXT)
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()
    assert len(asked) > 3


async def test_cancelling_a_task_ends_its_job(served, client):
    served.synthesizer.gate = threading.Event()
    async with AsyncClient(url=served.address, api_key=KEY, **QUICKLY) as asynchronous:
        speaking = asyncio.create_task(asynchronous.speak(TEXT))
        await asyncio.to_thread(served.synthesizer.entered.acquire)
        speaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await speaking
    served.synthesizer.gate = None
    assert await asyncio.to_thread(client.speak, "Hello.")
