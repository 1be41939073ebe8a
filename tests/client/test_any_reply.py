"""Whatever a platform or a server answers, a call ends with a result or with an error of the client."""

from __future__ import annotations

import json

import pytest
from chatterbox_voice.errors import VoiceWorkerError
from chatterbox_voice.flow import Call, Lost, Open, Read, Reply, Send
from chatterbox_voice.http_server import HttpServer
from chatterbox_voice.operations import Operations, job
from chatterbox_voice.queue_endpoint import QueueEndpoint
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = (
    *(
        "id",
        "status",
        "output",
        "error",
        "error_code",
        "stream",
        "audio",
        "audio_url",
        "audio_path",
        "pieces",
    ),
    *("index", "start", "duration", "format", "sample_rate", "voices", "total_voices", "voice_id"),
    *("speaker_name", "sample_audio", "chunk", "chunks", "audio_seconds", "deleted", "code", "message"),
)
WORDS = (
    *("IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "UklGRg==", "mp3", "x: y"),
    *(
        "https://bucket.example/a",
        "file:///etc/passwd",
        "/runpod-volume/a",
        "internal: broken",
        "",
        "http://[",
    ),
)
LEAVES = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(WORDS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
OUTPUTS = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, VALUES))
RESULTS = VALUES | OUTPUTS | st.lists(OUTPUTS | st.fixed_dictionaries({"output": OUTPUTS}), max_size=3)
JOBS = st.fixed_dictionaries(
    {"id": st.just("job-1"), "status": st.sampled_from(WORDS[:6])},
    optional={"output": RESULTS, "error": VALUES, "stream": RESULTS},
)
STATUSES = st.sampled_from([200] * 12 + [302, 400, 401, 404, 413, 429, 500, 503])
BODIES = st.one_of(
    JOBS.map(lambda said: json.dumps(said).encode()),
    RESULTS.map(lambda said: json.dumps(said).encode()),
    RESULTS.map(lambda said: b"data: " + json.dumps(said).encode() + b"\n\n"),
    st.binary(max_size=20),
)
ANSWERS = st.lists(st.tuples(STATUSES, BODIES) | st.none(), min_size=1, max_size=12)
CALLS = {
    "speak": lambda ours, call: ours.speak(call, job("tts", {"text": "Hello."})),
    "stream": lambda ours, call: ours.stream(call, job("tts", {"text": "Hello."})),
    "clone": lambda ours, call: ours.clone(call, job("clone_voice", {"voice_name": "Ada"})),
    "voices": lambda ours, call: ours.voices(call, {}),
    "delete": lambda ours, call: ours.delete(call, job("delete_voice", {"voice_name": "Ada"})),
}
WORKERS = {
    "queue": lambda: QueueEndpoint("https://api.runpod.ai/v2/abc", "key"),
    "http": lambda: HttpServer("http://127.0.0.1:8000", None, None),
}


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=150, deadline=None)
@given(answers=ANSWERS)
def test_a_call_raises_errors_of_the_client_alone(worker, name, answers):
    call = Call(60.0, 0.0, 0.0)
    flow = CALLS[name](Operations(WORKERS[worker](), is_streaming=None), call)
    waiting, answer = list(answers), None
    try:
        while True:
            step = flow.throw(answer) if isinstance(answer, Lost) else flow.send(answer)
            answer = None
            if isinstance(step, Send | Open | Read):
                if not waiting:
                    flow.close()
                    return
                said = waiting.pop(0)
                if said is None:
                    answer = Lost("gone", was_sent=True)
                elif isinstance(step, Read):
                    answer = said[1]
                else:
                    answer = Reply(said[0], {}, said[1])
    except (StopIteration, VoiceWorkerError):
        return
