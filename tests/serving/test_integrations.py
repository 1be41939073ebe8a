"""Requests in the shapes that other tools send, and docs/integrations.md; the model is a fake.

The shapes are those of the sources of Open WebUI 0.12.4, SillyTavern 1.19.0, sfortis/openai_tts 3.7 and
n8n-nodes-base 2.41.2. The tools whose clients can be installed are in tests/clients.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import numpy as np
import pytest
import yaml

from audio.decode import decode_audio
from tests.integrations_page import ALIAS, CLIENT_SECTIONS, PAGE, VOICE, Example, example, examples
from tests.job_server import REPOSITORY
from tests.serving.http_server import KEY, HttpServer, http_server

TEXT = "The washing machine has finished."
LONG_TEXT = "The washing machine has finished. The dryer is still busy. There is half an hour left."
HEADERS = {"Authorization": f"Bearer {KEY}"}
OPENAI_TTS_BLOCK_BYTES = 8192
N8N_ACCEPTS = (
    "application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7"
)
OPEN_WEBUI_VOICES = ("alloy", "echo", "fable", "onyx", "nova", "shimmer")


@dataclass(frozen=True)
class Place:
    """A worker with a key and the page's voice, the platform's ``/runsync`` for it, and a folder."""

    served: HttpServer
    runpod: str
    folder: Path
    voice_id: str

    def run(self, command: str) -> None:
        """Runs a shell's commands in the folder; they must succeed."""
        bash = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(bash, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr + done.stdout

    def at(self, one: Example) -> str:
        return one.at(self.served.address, KEY, self.runpod)


@contextlib.contextmanager
def runsync(served: HttpServer) -> Iterator[str]:
    """Stands in for the platform, whose ``/runsync`` gives the job to the worker; yields its address."""

    class Platform(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_known = self.path.startswith("/v2/ENDPOINT_ID/runsync?wait=")
            if not is_known or self.headers["Authorization"] != HEADERS["Authorization"]:
                self.send_error(401)
                return
            work = served.worker.handle({"id": "sync-1", **job})
            output = asyncio.run_coroutine_threadsafe(work, served.loop).result(60)
            reply = {"id": "sync-1", "status": "COMPLETED", "output": output}
            if "error" in output:
                reply |= {"status": "FAILED", "error": output.pop("error")}
            content = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    platform = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    thread = threading.Thread(target=platform.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{platform.server_address[1]}"
    finally:
        platform.shutdown()
        thread.join()
        platform.server_close()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    root, folder = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("folder")
    (folder / "samples").mkdir()
    shutil.copy(REPOSITORY / "samples" / "reference.flac", folder / "samples")
    with http_server(root, env={"API_KEY": KEY}) as served, runsync(served) as runpod:
        empty = Place(served, runpod, folder, "")
        for one in examples():
            if one.section == "Voices":
                empty.run(empty.at(one))
        voices = httpx.get(f"{served.address}/v1/audio/voices", headers=HEADERS).json()["voices"]
        assert [voice["name"] for voice in voices] == [VOICE]
        yield Place(served, runpod, folder, voices[0]["id"])


def samples(audio: bytes) -> np.ndarray:
    """The samples of a file, which must not be silent."""
    found = decode_audio(audio).samples
    assert np.abs(found).max() > 0.05
    return found


def plain(place: Place, **fields) -> bytes:
    """The audio of a plain request for the page's voice."""
    body = {"voice": VOICE, **fields}
    reply = httpx.post(f"{place.served.address}/v1/audio/speech", json=body, headers=HEADERS, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.content


# --- examples of the page


def run_commands(place: Place, one: Example) -> None:
    """Every audio file that the commands write can be decoded."""
    before = set(place.folder.iterdir())
    place.run(place.at(one))
    written = set(place.folder.iterdir()) - before
    assert len(written) == place.at(one).count(" -o ")
    for file in written:
        samples(file.read_bytes())


def run_in_open_webui(place: Place, one: Example) -> None:
    parameters = json.loads(one.text)
    reply, audio = asyncio.run(open_webui_speaks(place, VOICE, parameters))
    assert reply.status == 200
    samples(audio)
    sent = place.served.synthesizer.calls[-1].params
    assert (sent.exaggeration, sent.temperature) == (parameters["exaggeration"], parameters["temperature"])


def run_as_extra_payload(place: Place, one: Example) -> None:
    audio = openai_tts_speaks(place, VOICE, one.text)
    assert place.served.synthesizer.calls[-1].params.exaggeration == json.loads(one.text)["exaggeration"]
    assert audio == plain(place, input=TEXT, speed=1.0, **json.loads(one.text))


def run_as_action(place: Place, one: Example) -> None:
    action = yaml.safe_load(one.text)
    assert action["action"] == "openai_tts.say"
    data = action["data"]
    samples(openai_tts_speaks(place, data["voice"], data["extra_payload"], data["message"]))
    assert place.served.synthesizer.calls[-1].params.exaggeration == 0.3


def run_in_n8n(place: Place, one: Example) -> None:
    workflow = json.loads(place.at(one))
    first, *following = workflow["nodes"]
    reply = n8n_requests(first["parameters"])
    assert reply.status_code == 200, reply.text
    if not following:  # the file of the node
        assert reply.headers["content-type"] == "audio/mpeg"
        assert reply.headers["x-voice-id"] == place.voice_id
        samples(reply.content)
        return
    assert reply.headers["content-type"] == "application/json"
    (to_file,) = following
    ((link,),) = workflow["connections"][first["name"]]["main"]
    assert link == {"node": to_file["name"], "type": "main", "index": 0}
    assert to_file["parameters"]["operation"] == "toBinary"
    value = reply.json()
    for name in to_file["parameters"]["sourceProperty"].split("."):
        value = value[name]
    samples(base64.b64decode(value, validate=True))


RUNNERS = {
    ("curl", "sh"): run_commands,
    ("Open WebUI", "json"): run_in_open_webui,
    ("Home Assistant: OpenAI TTS", "json"): run_as_extra_payload,
    ("Home Assistant: OpenAI TTS", "yaml"): run_as_action,
    ("n8n", "json"): run_in_n8n,
}
HERE = [one for one in examples() if one.section not in (*CLIENT_SECTIONS, "Voices")]  # the place ran those


@pytest.mark.parametrize("one", HERE, ids=str)
def test_an_example_of_the_page_runs(place, one):
    RUNNERS[one.section, one.language](place, one)


# --- aliases


@pytest.mark.parametrize("voice", [VOICE, ALIAS, "harbour", "HARBOUR MASTER", " Harbour Master"])
def test_a_cloned_voice_speaks_under_its_name_and_its_aliases(place, voice):
    body = {"model": "tts-1", "input": TEXT, "voice": voice}
    reply = httpx.post(f"{place.served.address}/v1/audio/speech", json=body, headers=HEADERS)
    assert reply.headers["x-voice-id"] == place.voice_id
    assert "x-warnings" not in reply.headers


def test_a_name_of_openais_that_no_voice_has_means_the_builtin_voice(place):
    body = {"model": "tts-1", "input": TEXT, "voice": "echo"}
    reply = httpx.post(f"{place.served.address}/v1/audio/speech", json=body, headers=HEADERS)
    assert reply.status_code == 200
    assert "x-voice-id" not in reply.headers
    assert "built-in voice" in reply.headers["x-warnings"]


# --- Open WebUI


async def open_webui_speaks(place: Place, voice: str, parameters=None):
    payload = {"input": TEXT, "voice": voice, "model": "tts-1", **(parameters or {})}
    headers = {"Content-Type": "application/json", **HEADERS}
    async with aiohttp.ClientSession() as session:
        url = f"{place.served.address}/v1/audio/speech"
        async with session.post(url, json=payload, headers=headers) as reply:
            return reply, await reply.read()


async def test_open_webui_keeps_the_reply_as_mp3(place):
    reply, audio = await open_webui_speaks(place, VOICE)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "audio/mpeg"  # any other would be encoded again
    assert reply.headers["X-Voice-Id"] == place.voice_id
    samples(audio)


async def test_open_webui_shows_what_is_wrong(place):
    reply, content = await open_webui_speaks(place, "nobody")
    assert reply.status == 404
    assert "nobody" in json.loads(content)["error"]["message"]


async def test_open_webui_may_leave_voice_and_model_empty(place):
    reply, audio = await open_webui_speaks(place, "", {"model": ""})
    assert reply.status == 200
    assert "X-Voice-Id" not in reply.headers
    samples(audio)


async def test_open_webui_lists_voices_and_models_of_a_worker_without_a_key(tmp_path):
    with http_server(tmp_path) as served:
        with (REPOSITORY / "samples" / "reference.flac").open("rb") as recording:
            files, form = {"audio_sample": recording}, {"name": VOICE}
            made = httpx.post(f"{served.address}/v1/audio/voices", data=form, files=files).json()
        async with aiohttp.ClientSession(f"{served.address}/v1/", raise_for_status=True) as session:
            async with session.get("audio/voices") as reply:
                voices = {voice["id"]: voice["name"] for voice in (await reply.json())["voices"]}
            with pytest.raises(aiohttp.ClientResponseError, match="404"):
                await session.get("audio/models")
            async with session.get("models") as reply:  # what it asks for instead
                models = [model["id"] for model in (await reply.json())["data"]]
            body = {"input": TEXT, "voice": made["id"], "model": models[0]}
            async with session.post("audio/speech", json=body) as reply:
                assert reply.headers["X-Voice-Id"] == made["id"]
    assert voices == {made["id"]: VOICE}
    assert models[:2] == ["chatterbox", "tts-1"]


async def test_open_webui_falls_back_to_openais_voices_where_a_key_is_asked_for(place):
    async with aiohttp.ClientSession(f"{place.served.address}/v1/") as session:
        for path in ("audio/voices", "audio/models", "models"):
            async with session.get(path) as reply:  # it sends no key with these
                assert reply.status == 401
    replies = [(await open_webui_speaks(place, voice))[0] for voice in OPEN_WEBUI_VOICES]
    assert {reply.status for reply in replies} == {200}
    assert replies[0].headers["X-Voice-Id"] == place.voice_id  # by its alias


# --- SillyTavern


@pytest.mark.parametrize("speed", [1, 0.25, 1.35, 4])
def test_sillytavern_gets_mp3_at_its_speed(place, speed):
    (typed,) = re.findall(r"^\| Available Voices .*\| `(.+)` \|$", PAGE.read_text(), re.M)
    for voice in typed.split(","):
        body = {"input": TEXT, "response_format": "mp3", "voice": voice, "speed": speed, "model": "tts-1"}
        reply = httpx.post(f"{place.served.address}/v1/audio/speech", json=body, headers=HEADERS)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "audio/mpeg"
        assert reply.headers["x-voice-id"] == place.voice_id
        normal_s = decode_audio(plain(place, input=TEXT)).duration_s
        assert decode_audio(reply.content).duration_s == pytest.approx(normal_s / speed, rel=0.1, abs=0.1)


def test_sillytavern_without_a_key_sends_an_empty_one(tmp_path, place):
    body = {"input": TEXT, "response_format": "mp3", "voice": "alloy", "speed": 1, "model": "tts-1"}
    headers = {"Authorization": "Bearer"}  # what fetch makes of "Bearer "
    with http_server(tmp_path) as served:
        reply = httpx.post(f"{served.address}/v1/audio/speech", json=body, headers=headers)
        assert reply.status_code == 200
        samples(reply.content)
    refused = httpx.post(f"{place.served.address}/v1/audio/speech", json=body, headers=headers)
    assert refused.status_code == 401


# --- Home Assistant's openai_tts


def openai_tts_fields(voice: str, extra_payload: str, text: str) -> dict:
    fields = {"model": "tts-1", "input": text, "voice": voice, "response_format": "mp3", "speed": 1.0}
    return {**fields, "instructions": "Speak calmly.", **json.loads(extra_payload)}


def openai_tts_speaks(place: Place, voice: str, extra_payload: str = "{}", text: str = TEXT) -> bytes:
    """As its engine does for a short text: by urllib, in blocks, each of which may take 30 s."""
    headers = {**HEADERS, "Content-Type": "application/json", "User-Agent": "HomeAssistant-OpenAI-TTS"}
    request = urllib.request.Request(
        f"{place.served.address}/v1/audio/speech",
        data=json.dumps(openai_tts_fields(voice, extra_payload, text)).encode(),
        headers=headers,
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "audio/mpeg"
        return b"".join(iter(lambda: reply.read(OPENAI_TTS_BLOCK_BYTES), b""))


async def test_openai_tts_streams_a_long_text(place):
    fields = openai_tts_fields(ALIAS, '{"seed": 7}', LONG_TEXT)
    async with aiohttp.ClientSession() as session:
        url = f"{place.served.address}/v1/audio/speech"
        async with session.post(url, json=fields, headers=HEADERS) as reply:
            reply.raise_for_status()
            blocks = [block async for block in reply.content.iter_chunked(OPENAI_TTS_BLOCK_BYTES)]
    assert reply.headers["X-Voice-Id"] == place.voice_id
    assert "instructions" in reply.headers["X-Warnings"]
    assert len(blocks) > 1
    assert b"".join(blocks) == plain(place, input=LONG_TEXT, seed=7)


def test_openai_tts_sees_a_status_for_a_field_that_is_wrong(place):
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        openai_tts_speaks(place, VOICE, '{"exageration": 0.6}')
    assert "exaggeration" in json.load(refused.value)["error"]["message"]


# --- n8n


def n8n_requests(parameters: dict) -> httpx.Response:
    """Sends what n8n's HTTP Request node sends with these parameters and a credential that has the key."""
    assert (parameters["authentication"], parameters["genericAuthType"]) == (
        "genericCredentialType",
        "httpBearerAuth",
    )
    assert parameters["sendBody"]
    assert parameters["specifyBody"] == "json"
    return httpx.request(
        parameters["method"],
        parameters["url"],
        json=json.loads(parameters["jsonBody"]),
        headers={"Accept": N8N_ACCEPTS, **HEADERS},
        timeout=60,
    )


def test_n8n_sees_why_a_job_of_the_queue_failed(place):
    parameters = json.loads(place.at(example("n8n", "json", 1)))["nodes"][0]["parameters"]
    job = json.loads(parameters["jsonBody"])
    job["input"]["voice_name"] = "nobody"
    reply = n8n_requests({**parameters, "jsonBody": json.dumps(job)}).json()
    assert reply["status"] == "FAILED"
    assert reply["error"].startswith("voice_not_found: ")


# --- tools in containers


def test_a_tool_in_a_container_reaches_a_worker_with_a_key_by_its_hosts_name(tmp_path):
    named = {"Host": "host.docker.internal:8000"}
    body = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
    with http_server(tmp_path, env={"HOST": "0.0.0.0", "API_KEY": KEY}) as served:
        reply = httpx.post(f"{served.address}/v1/audio/speech", json=body, headers={**HEADERS, **named})
        assert reply.status_code == 200
    with http_server(tmp_path, env={"HOST": "0.0.0.0", "ALLOW_ANONYMOUS": "true"}) as served:
        reply = httpx.post(f"{served.address}/v1/audio/speech", json=body, headers=named)
        assert reply.status_code == 403
        assert "API_KEY" in reply.json()["error"]["message"]
        assert httpx.post(f"{served.address}/v1/audio/speech", json=body).status_code == 200
