"""Other people's clients, set up as docs/integrations.md says; `make test-clients`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks import ears
from tests.clients.openai_sdks import CLIENTS, MAJORS
from tests.integrations_page import ALIAS, VOICE, Example, example, examples
from tests.job_server import REPOSITORY
from tests.serving.http_server import KEY

pytestmark = pytest.mark.slow

TEXT = "The ferry was late again, and nobody minded."  # as on the page
HERE = Path(__file__).parent
WYOMING_PORT = "tcp://0.0.0.0:10300"
EVENTS = "text/event-stream; charset=utf-8"
# Models and formats; a model that is not one of OpenAI's first two makes the plugin ask for events.
LIVEKIT_SETUPS = [
    ("chatterbox", "pcm"),
    ("chatterbox", "mp3"),
    *(("tts-1", format) for format in ("mp3", "wav", "flac", "opus", "aac")),
]
# The clients for which the page has a `pip install`, by section.
ENVIRONMENTS = {
    "Python": "openai-3",
    "LiveKit": "livekit",
    "Pipecat": "pipecat",
    "Home Assistant: Wyoming": "wyoming",
}


@pytest.fixture(scope="module")
def voice_id(served, tmp_path_factory) -> str:
    """The page's voice, cloned and named by the page's own commands; returns its id."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "samples").mkdir()
    shutil.copy(REPOSITORY / "samples" / "reference.flac", folder / "samples")
    commands = example("Voices", "sh").at(served.address, KEY)
    bash = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(bash, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    headers = {"X-API-Key": KEY}
    return httpx.get(f"{served.address}/v1/audio/voices", headers=headers).json()["voices"][0]["id"]


def python_of(name: str) -> Path:
    python = CLIENTS / name / "bin" / "python"
    if not python.exists():
        pytest.skip("make test-clients installs it")
    return python


def run(command: list[object], folder: Path) -> str:
    """Runs a program in a folder, which must succeed; returns what it wrote to stdout."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def findings(program: str, python: Path, folder: Path, *arguments: object) -> dict:
    return json.loads(run([python, HERE / program, *arguments], folder).splitlines()[-1])


def written(one: Example, served, path: Path) -> Path:
    """Writes an example to a file, with the address and the key of the server; returns its path."""
    path.write_text(one.at(served.address, KEY))
    return path


def plain(served, seed: int | str, **fields) -> bytes:
    """What the server says to a plain request for the page's voice."""
    body = {"input": TEXT, "voice": VOICE, "seed": int(seed), "response_format": "pcm", **fields}
    headers = {"X-API-Key": KEY}
    reply = httpx.post(f"{served.address}/v1/audio/speech", json=body, headers=headers, timeout=120)
    assert reply.status_code == 200, reply.text
    return reply.content


def assert_understood(pcm: bytes, text: str = TEXT) -> None:
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    choices = [text, *ears.sentences()[-49:]]
    assert ears.Recogniser().choose(Waveform(samples, MODEL_SAMPLE_RATE_HZ), choices) == 0


# --- what the page says to install


@pytest.mark.parametrize("section", ENVIRONMENTS)
def test_the_page_names_the_package_that_is_tested(section):
    python = python_of(ENVIRONMENTS[section])
    (command,) = [
        shlex.split(line)
        for one in examples()
        if (one.section, one.language) == (section, "sh")
        for line in one.text.splitlines()
        if line.startswith("pip install ")
    ]
    (package,) = command[2:]
    name = package.partition("[")[0]
    run([python, "-c", f"import importlib.metadata; importlib.metadata.version({name!r})"], REPOSITORY)


def test_the_page_has_no_example_that_nobody_runs():
    run_here = {
        ("Python", "sh"), ("Python", "python"),
        ("JavaScript", "sh"), ("JavaScript", "js"),
        ("Home Assistant: Wyoming", "sh"), ("Home Assistant: Wyoming", "yaml"),
        ("LiveKit", "sh"), ("LiveKit", "python"),
        ("Pipecat", "sh"), ("Pipecat", "python"),
    }  # fmt: skip
    found = [
        (one.section, one.language) for one in examples() if one.section in {*ENVIRONMENTS, "JavaScript"}
    ]
    assert len(found) == len(set(found))
    assert set(found) == run_here


# --- OpenAI's packages


@pytest.mark.parametrize("major", MAJORS)
def test_the_python_example_writes_what_a_plain_request_gives(served, voice_id, major, tmp_path):
    program = written(example("Python", "python"), served, tmp_path / "page.py")
    run([python_of(f"openai-{major}"), program], tmp_path)
    audio = (tmp_path / "ferry.mp3").read_bytes()
    assert audio == plain(served, 7, exaggeration=0.5, response_format="mp3")


def test_the_javascript_example_writes_what_a_plain_request_gives(served, voice_id, tmp_path):
    packages = CLIENTS / "openai-js" / "node_modules"
    if shutil.which("node") is None or not packages.exists():
        pytest.skip("make test-clients installs it where node is")
    assert shlex.split(example("JavaScript", "sh").text) == ["npm", "install", "openai"]
    (tmp_path / "node_modules").symlink_to(packages)
    program = written(example("JavaScript", "js"), served, tmp_path / "page.mjs")
    run(["node", program], tmp_path)
    audio = (tmp_path / "ferry.mp3").read_bytes()
    assert audio == plain(served, 7, exaggeration=0.5, response_format="mp3")


# --- LiveKit


def same_audio(audio: bytes, expected: bytes) -> bool:
    """LiveKit fills the last frame with silence."""
    return audio[: len(expected)] == expected and not any(audio[len(expected) :])


def test_livekits_plugin_gets_what_a_plain_request_gives(served, voice_id, tmp_path):
    python = python_of("livekit")
    setup = written(example("LiveKit", "python"), served, tmp_path / "page.py")
    others = []
    for model, format in LIVEKIT_SETUPS:
        text = setup.read_text().replace('"tts-1"', f'"{model}"').replace('"pcm"', f'"{format}"')
        others.append(tmp_path / f"{model}-{format}.py")
        others[-1].write_text(text)
    found = findings("livekit_speech.py", python, tmp_path, setup, tmp_path, TEXT, *others)

    whole, *session, refused = found["replies"]
    assert whole[:2] == [200, "audio/pcm; rate=24000"]
    assert same_audio((tmp_path / "whole.pcm").read_bytes(), plain(served, whole[2]))
    assert len(session) == 2  # sentences
    first = plain(served, session[0][2])
    assert same_audio((tmp_path / "session.pcm").read_bytes()[: len(first)], first)
    assert refused[0] == 404
    assert found["refused"] == [404, False]  # it does not try again

    assert {reply[3] for reply in (whole, *session, *found["others"])} == {voice_id}
    for other, (_, content_type, seed, _) in zip(others, found["others"], strict=True):
        assert (content_type == EVENTS) == other.name.startswith("chatterbox-")
        audio, expected = other.with_suffix(".pcm").read_bytes(), plain(served, seed)
        if other.name.endswith("-pcm.py"):
            assert same_audio(audio, expected)
        assert len(audio) == pytest.approx(len(expected), abs=0.2 * 2 * MODEL_SAMPLE_RATE_HZ), other
        assert np.abs(np.frombuffer(audio, "<i2")).max() > 1_000, other


# --- Pipecat


def test_pipecats_service_reaches_a_cloned_voice_by_its_alias(served, voice_id, tmp_path):
    python = python_of("pipecat")
    setup = written(example("Pipecat", "python"), served, tmp_path / "page.py")
    found = findings("pipecat_speech.py", python, tmp_path, setup, tmp_path, TEXT)
    ((status, content_type, seed, voice),) = found["replies"]
    assert (status, content_type, voice) == (200, "audio/pcm; rate=24000", voice_id)
    audio = (tmp_path / "pipeline.pcm").read_bytes()
    assert audio == plain(served, seed)
    assert found["rates_hz"] == [[MODEL_SAMPLE_RATE_HZ, 1]]
    assert found["errors"] == []
    # Why there must be an alias.
    assert found["frames of a name that is not OpenAI's"] == 0
    assert "must be one of: alloy" in found["refused"][0]


# --- Home Assistant's Wyoming


@contextlib.contextmanager
def running(command: list[object], env: Mapping[str, str], log: Path) -> Iterator[None]:
    words = [str(word) for word in command]
    with (
        log.open("w") as output,
        subprocess.Popen(words, env={**os.environ, **env}, stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def wyoming_by_command(served, port: int) -> tuple[list[str], dict[str, str]]:
    text = example("Home Assistant: Wyoming", "sh").at(served.address, KEY).replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("python ")]
    assert WYOMING_PORT in line
    words = shlex.split(line.replace(WYOMING_PORT, f"tcp://127.0.0.1:{port}"))
    return [*words[1:], "--tts-extra-body", '{"exaggeration": 0.6, "seed": 7}'], {}


def wyoming_by_container(served, port: int) -> tuple[list[str], dict[str, str]]:
    compose = yaml.safe_load(example("Home Assistant: Wyoming", "yaml").at(served.address, KEY))
    env = compose["services"]["wyoming_openai"]["environment"]
    assert env["WYOMING_URI"] == WYOMING_PORT
    return ["-m", "wyoming_openai"], {**env, "WYOMING_URI": f"tcp://127.0.0.1:{port}"}


@pytest.mark.parametrize("start", [wyoming_by_command, wyoming_by_container])
def test_home_assistant_gets_speech_by_wyoming(served, voice_id, start, tmp_path):
    python, port = python_of("wyoming"), free_port()
    words, env = start(served, port)
    log = tmp_path / "wyoming.log"
    with running([python, *words], env, log):
        try:
            found = findings("wyoming_speech.py", python, tmp_path, port, tmp_path, TEXT, ALIAS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}") from None
    ((program),) = found["offered"]
    assert program["streams"]
    assert ALIAS in program["voices"]
    assert found["format"] == [MODEL_SAMPLE_RATE_HZ, 2, 1]
    expected = plain(served, 7, exaggeration=0.6)
    whole = (tmp_path / "whole.pcm").read_bytes()
    assert whole == expected
    assert_understood(whole)
    pieces = (tmp_path / "pieces.pcm").read_bytes()
    assert pieces == expected + plain(served, 7, exaggeration=0.6, input="It left at noon.")
