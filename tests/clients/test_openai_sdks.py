"""OpenAI's own SDKs against a worker that speaks with the small model; `make test-clients`."""

from __future__ import annotations

import base64
import json

import httpx
import numpy as np
import pytest

from audio.decode import decode_audio
from audio.waveform import Waveform
from benchmarks import ears
from tests.clients.openai_sdks import MAJORS, TEXT, TYPES, check, run_javascript_sdk, run_python_sdk
from tests.serving.http_server import KEY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(served) -> dict[str, bytes]:
    """The same speech by the worker's own route, by format."""

    def spoken(format: str) -> bytes:
        job = {"text": TEXT, "seed": 7, "format": format, "mode": "streaming"}
        reply = httpx.post(f"{served.address}/jobs/tts", json=job, headers={"X-API-Key": KEY}, timeout=120)
        events = [json.loads(line[6:]) for line in reply.text.splitlines() if line]
        return b"".join(base64.b64decode(event["audio"]) for event in events[:-1])

    return {format: spoken(format) for format in TYPES}


@pytest.mark.parametrize("major", MAJORS)
def test_the_python_sdk_gets_what_tts_gives(served, expected, major, tmp_path):
    answers = run_python_sdk(major, served.address, tmp_path)
    check(answers, tmp_path, expected, ["chatterbox"])
    for name in ("created.mp3", "async.mp3", "dialogue.mp3"):
        assert (tmp_path / name).read_bytes() == expected["mp3"]
    assert answers["model"] == "tts-1"
    assert answers["no key"][:2] == ["AuthenticationError", 401]


def test_the_javascript_sdk_gets_what_tts_gives(served, expected, tmp_path):
    check(run_javascript_sdk(served.address, tmp_path), tmp_path, expected, ["chatterbox"])
    assert (tmp_path / "dialogue.mp3").read_bytes() == expected["mp3"]


def test_every_format_is_understood(expected):
    recogniser, choices = ears.Recogniser(), [TEXT, *ears.sentences()[-49:]]
    for format, audio in expected.items():
        if format == "pcm":
            samples = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
            speech = Waveform(samples, 24_000)
        else:
            speech = decode_audio(audio)
        assert recogniser.choose(speech, choices) == 0, format
