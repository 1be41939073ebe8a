"""How OpenAI's own SDKs are run against a server, and what they must have got."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.job_server import REPOSITORY

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


def run_python_sdk(major: int, address: str, folder: Path) -> dict[str, Any]:
    """Returns what the program says that a major version of the Python SDK got, with audio in the folder."""
    python = CLIENTS / f"openai-{major}" / "bin" / "python"
    if not python.exists():
        pytest.skip("make test-clients installs it")
    answers = _run(python, Path(__file__).with_name("openai_speech.py"), address, folder)
    assert answers["version"].startswith(f"{major}.")
    return answers


def run_javascript_sdk(address: str, folder: Path) -> dict[str, Any]:
    """Returns what the program says that the JavaScript SDK got, with audio in the folder."""
    if shutil.which("node") is None or not (CLIENTS / "openai-js" / "node_modules").exists():
        pytest.skip("make test-clients installs it where node is")
    program = CLIENTS / "openai-js" / "openai_speech.mjs"  # where its imports are looked for
    shutil.copy(Path(__file__).with_name("openai_speech.mjs"), program)
    return _run("node", program, address, folder)


def _run(interpreter: str | Path, program: Path, address: str, folder: Path) -> dict[str, Any]:
    command = [interpreter, program, address, folder, "alloy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def check(
    answers: Mapping[str, Any], folder: Path, expected: Mapping[str, bytes], models: Sequence[str]
) -> None:
    """Asserts that an SDK got the expected audio of each format, events, models and errors."""
    assert answers["types"] == TYPES
    for format, audio in expected.items():
        assert (folder / f"streamed.{format}").read_bytes() == audio, format
    *deltas, done = answers["events"]
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == expected["mp3"]
    assert done["type"] == "speech.audio.done"
    assert answers["models"] == [*models, "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    assert answers["errors"] == [
        ["NotFoundError", 404, "voice_not_found", "voice"],
        ["BadRequestError", 400, "invalid_request", "input"],
    ]
