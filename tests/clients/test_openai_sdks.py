"""OpenAI's own SDKs against a worker that speaks with the small model; `make test-clients`."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest

from audio.decode import decode_audio
from audio.waveform import Waveform
from benchmarks import ears
from tests.job_server import REPOSITORY
from tests.serving.http_server import KEY

pytestmark = pytest.mark.slow

CLIENTS = REPOSITORY / ".venv" / "clients"
MAJORS = (1, 2, 3)
TEXT = "The ferry was late again, and nobody minded."
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm; rate=24000",
}


@pytest.fixture(scope="module")
def expected(served) -> dict[str, bytes]:
    """The same speech by the worker's own route, by format."""

    def spoken(format: str) -> bytes:
        job = {"text": TEXT, "seed": 7, "format": format, "mode": "streaming"}
        reply = httpx.post(f"{served.address}/jobs/tts", json=job, headers={"X-API-Key": KEY}, timeout=120)
        events = [json.loads(line[6:]) for line in reply.text.splitlines() if line]
        return b"".join(base64.b64decode(event["audio"]) for event in events[:-1])

    return {format: spoken(format) for format in TYPES}


def check(found: dict, folder: Path, expected: dict[str, bytes]) -> None:
    assert found["types"] == TYPES
    for format, audio in expected.items():
        assert (folder / f"streamed.{format}").read_bytes() == audio, format
    *deltas, done = found["events"]
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == expected["mp3"]
    assert done["type"] == "speech.audio.done"
    assert found["models"] == ["chatterbox", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    assert found["errors"] == [
        ["NotFoundError", 404, "voice_not_found", "voice"],
        ["BadRequestError", 400, "invalid_request", "input"],
    ]


@pytest.mark.parametrize("major", MAJORS)
def test_the_python_sdk_gets_what_tts_gives(served, expected, major, tmp_path):
    python = CLIENTS / f"openai-{major}" / "bin" / "python"
    if not python.exists():
        pytest.skip("make test-clients installs it")
    command = [python, Path(__file__).with_name("openai_speech.py"), served.address, tmp_path, "alloy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"].startswith(f"{major}.")
    check(found, tmp_path, expected)
    for name in ("created.mp3", "async.mp3"):
        assert (tmp_path / name).read_bytes() == expected["mp3"]
    assert found["model"] == "tts-1"
    assert found["no key"][:2] == ["AuthenticationError", 401]


def test_the_javascript_sdk_gets_what_tts_gives(served, expected, tmp_path):
    if shutil.which("node") is None or not (CLIENTS / "openai-js" / "node_modules").exists():
        pytest.skip("make test-clients installs it where node is")
    program = CLIENTS / "openai-js" / "openai_speech.mjs"  # where its imports are looked for
    shutil.copy(Path(__file__).with_name("openai_speech.mjs"), program)
    command = ["node", program, served.address, tmp_path, "alloy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), tmp_path, expected)


def test_every_format_is_understood(expected):
    recogniser, choices = ears.Recogniser(), [TEXT, *ears.sentences()[-49:]]
    for format, audio in expected.items():
        if format == "pcm":
            samples = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
            speech = Waveform(samples, 24_000)
        else:
            speech = decode_audio(audio)
        assert recogniser.choose(speech, choices) == 0, format
