"""OpenAI's own SDKs in front of a queue endpoint, by ``voice-worker serve``; `make test-clients`."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from handler import SMALL_MODEL
from tests.client.conftest import ON_PLATFORM, client_of
from tests.client.platform import platform_of
from tests.client.test_bridge import bridge_of
from tests.clients.test_openai_sdks import CLIENTS, MAJORS, TEXT, TYPES
from tests.fakes import build_services, build_worker
from tests.serving.http_server import KEY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["streaming", "basic"])
def endpoint(request, tmp_path_factory):
    """A queue endpoint that speaks with the small model."""
    from speech.pipeline import load_synthesizer

    root = tmp_path_factory.mktemp("endpoint")
    synthesizer = load_synthesizer("chatterbox", checkpoint_dir=SMALL_MODEL, device="cpu")
    services = build_services(root, synthesizer)
    worker = build_worker(
        root, synthesizer, {**ON_PLATFORM, "ENDPOINT_MODE": request.param}, services=services
    )
    with platform_of(worker, is_streaming=request.param == "streaming") as platform:
        yield platform
    synthesizer.close()


@pytest.fixture(scope="module")
def bridge(endpoint):
    with bridge_of(endpoint, KEY, timeout_s=600.0) as address:
        yield address


@pytest.fixture(scope="module")
def expected(endpoint) -> dict[str, bytes]:
    """The same speech by the client, by format."""
    with client_of(endpoint, timeout_s=600.0) as client:
        return {format: b"".join(client.stream(TEXT, seed=7, format=format)) for format in TYPES}


def check(found: dict, folder: Path, expected: dict[str, bytes]) -> None:
    assert found["types"] == TYPES
    for format, audio in expected.items():
        assert (folder / f"streamed.{format}").read_bytes() == audio, format
    *deltas, done = found["events"]
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == expected["mp3"]
    assert done["type"] == "speech.audio.done"
    assert found["models"] == ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    assert found["errors"] == [
        ["NotFoundError", 404, "voice_not_found", "voice"],
        ["BadRequestError", 400, "invalid_request", "input"],
    ]


@pytest.mark.parametrize("major", MAJORS)
def test_the_python_sdk_gets_what_the_client_gets(bridge, expected, major, tmp_path):
    python = CLIENTS / f"openai-{major}" / "bin" / "python"
    if not python.exists():
        pytest.skip("make test-clients installs it")
    program = Path(__file__).with_name("openai_speech.py")
    done = subprocess.run(
        [python, program, bridge, tmp_path, "alloy"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"].startswith(f"{major}.")
    check(found, tmp_path, expected)
    for name in ("created.mp3", "async.mp3"):
        assert (tmp_path / name).read_bytes() == expected["mp3"]
    assert found["voices"] == []
    assert found["no key"][:2] == ["AuthenticationError", 401]


def test_the_javascript_sdk_gets_what_the_client_gets(bridge, expected, tmp_path):
    if shutil.which("node") is None or not (CLIENTS / "openai-js" / "node_modules").exists():
        pytest.skip("make test-clients installs it where node is")
    program = CLIENTS / "openai-js" / "openai_speech.mjs"  # where its imports are looked for
    shutil.copy(Path(__file__).with_name("openai_speech.mjs"), program)
    done = subprocess.run(
        ["node", program, bridge, tmp_path, "alloy"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), tmp_path, expected)
