"""Whatever a platform or a server answers, a call ends with a result or with an error of the client."""

from __future__ import annotations

import copy
import json

import pytest
from chatterbox_voice.errors import VoiceWorkerError
from chatterbox_voice.flow import Call, Lost, Open, Read, Reply, Send
from chatterbox_voice.http_server import HttpServer
from chatterbox_voice.operations import Operations, Speech, job
from chatterbox_voice.queue_endpoint import QueueEndpoint

PIECE = {
    "index": 0,
    "format": "mp3",
    "sample_rate": 24_000,
    "start": 0.0,
    "duration": 1.0,
    "audio": "UklGRg==",
}
RECEIPT = {"pieces": 1, "format": "mp3", "sample_rate": 24_000, "duration": 1.0, "warnings": []}
WHOLE = {"format": "mp3", "sample_rate": 24_000, "duration": 1.0, "warnings": []}
SPEECH = {**WHOLE, "audio": "UklGRg=="}
LINKED = {**WHOLE, "audio_url": "https://bucket.example/a"}
VOICE = {
    "voice_id": "039e49e1",
    "voice_name": "Ada",
    "created": True,
    "sample_audio": "UklGRg==",
    "warnings": [],
}
VOICES = {"voices": [{"voice_id": "039e49e1", "speaker_name": "Ada"}], "total_voices": 1}
PROGRESS = {"chunk": 1, "chunks": 2, "audio_seconds": 1.5}
FAILURE = {"error": "voice_not_found: no voice", "error_code": "voice_not_found"}


def done(output):
    return {"id": "job-1", "status": "COMPLETED", "output": output}


def running(output=None):
    return {"id": "job-1", "status": "IN_PROGRESS", "output": output}


def streamed(status, *outputs):
    return {"status": status, "stream": [{"output": output} for output in outputs]}


SPEAK = "speak", job("tts", {"text": "Hello."})
STREAM = "stream", job("tts", {"text": "Hello."})
CLONE = "clone", job("clone_voice", {"voice_name": "Ada"})
CHECK = "check_watermark", job("check_watermark", {"audio": "UklGRg=="})
DELETE = "delete", job("delete_voice", {"voice_name": "Ada"})
LIST = "voices", {}
CONVERSATIONS = {
    "queue-speak": (SPEAK, [running(), running(PROGRESS), done(SPEECH)]),
    "queue-speak-linked": (SPEAK, [done(LINKED), {}]),
    "queue-speak-list": (SPEAK, [done([SPEECH])]),
    "queue-speak-failed": (SPEAK, [running(), {"id": "job-1", "status": "FAILED", **FAILURE}]),
    "queue-stream": (STREAM, [running(), streamed("IN_PROGRESS", PIECE), streamed("COMPLETED", RECEIPT)]),
    "queue-stream-list": (STREAM, [running(), [{"output": PIECE}], [], done([PIECE, RECEIPT])]),
    "queue-stream-lost": (STREAM, [running(), streamed("COMPLETED"), done([PIECE, RECEIPT])]),
    "queue-stream-whole": (STREAM, [running(), streamed("COMPLETED"), done(SPEECH)]),
    "queue-clone": (CLONE, [done(VOICE)]),
    "queue-check": (CHECK, [done({"watermarked": False, "confidence": 0.1, "warnings": []})]),
    "queue-delete": (DELETE, [done({"deleted": True})]),
    "queue-voices": (LIST, [done(VOICES)]),
    "http-speak": (SPEAK, [SPEECH]),
    "http-stream": (STREAM, [{}, PIECE, RECEIPT, None]),
    "http-stream-failed": (STREAM, [{}, PIECE, FAILURE, None]),
    "http-clone": (CLONE, [VOICE]),
    "http-voices": (LIST, [VOICES]),
}
WRONG = (None, True, -1, 1e999, 10**400, "", "x", [], {}, [1], {"a": 1})


def mutations(value):
    """Yields the value with each of its parts replaced by each wrong thing, or left out."""
    yield from WRONG
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        for wrong in mutations(inner):
            changed = copy.copy(value)
            changed[key] = wrong
            yield changed
        changed = copy.copy(value)
        del changed[key]
        yield changed


def run(worker, what, replies):
    """Runs a call; its requests get the replies, one after the other, and then nothing."""
    name, argument = what
    call = Call(60.0, 0.0, 0.0)
    flow = getattr(Operations(worker, is_streaming=None), name)(call, argument)
    waiting, answer = list(replies), None
    try:
        while True:
            step = flow.throw(answer) if isinstance(answer, Lost) else flow.send(answer)
            answer = None
            if isinstance(step, Send | Open | Read):
                said = waiting.pop(0) if waiting else Lost("gone", was_sent=True)
                if isinstance(said, Lost):
                    answer = said
                elif isinstance(step, Read):
                    answer = b"" if said is None else b"data: " + json.dumps(said).encode() + b"\n\n"
                elif isinstance(said, Reply):
                    answer = said
                else:
                    answer = Reply(200, {}, json.dumps(said).encode())
    except StopIteration as done:
        return done.value


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_call_raises_errors_of_the_client_alone(name):
    what, replies = CONVERSATIONS[name]

    def worker():
        if name.startswith("queue"):
            return QueueEndpoint("https://api.runpod.ai/v2/abc", "key")
        return HttpServer("http://127.0.0.1:8000", None, None)

    if "failed" in name:
        with pytest.raises(VoiceWorkerError):
            run(worker(), what, replies)
    else:
        run(worker(), what, replies)
    for number, reply in enumerate(replies):
        for wrong in mutations(reply):
            changed = [*replies[:number], wrong, *replies[number + 1 :]]
            try:
                run(worker(), what, changed)
            except VoiceWorkerError:
                continue
            except Exception as error:
                raise AssertionError(f"{number}: {json.dumps(wrong)[:300]}") from error


@pytest.mark.parametrize("status", [400, 502, 503])
def test_an_endpoint_without_workers_is_waited_for(status):
    """The load balancer's answer while a worker starts, whatever status it has."""
    none_yet = Reply(status, {}, b'{"error":"no workers available"}')
    worker = HttpServer("https://abc.api.runpod.ai", None, "key")
    assert run(worker, SPEAK, [none_yet] * 30 + [SPEECH]).audio == b"RIFF"


@pytest.mark.parametrize("wrong", WRONG)
def test_what_a_receipt_holds_is_of_its_kind_or_is_not_there(wrong):
    speech = Speech(b"", {"segments": wrong, "words": wrong, "subtitles": wrong})
    assert (speech.segments, speech.words) == ([], [])
    assert speech.subtitles in (None, wrong)
