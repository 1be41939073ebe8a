"""The starter voices: what is shipped, how it is stored, and that it is an ordinary voice afterwards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import soundfile
from chatterbox_voice import Client

from audio.quality import check_reference
from audio.waveform import Waveform
from errors import InvalidRequest
from tests.client.conftest import ON_PLATFORM, QUICKLY, client_of
from tests.client.platform import platform_of
from tests.fakes import build_worker
from tests.serving.http_server import KEY, http_server
from tests.voice_store.conftest import make_waveform, names, snapshot
from tests.voice_store.terminal import run_cli
from voice_store.metadata import CONSENT_KEYS, given_details
from voice_store.starters import FOLDER, LIST, read_starters

ENTRIES = json.loads((FOLDER / LIST).read_text("utf-8"))
NAMES = [entry["name"] for entry in ENTRIES]
each_starter = pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)


# --- what is shipped


@each_starter
def test_a_starter_comes_with_licence_consent_and_origin(entry):
    recording = (FOLDER / entry["file"]).read_bytes()
    assert hashlib.sha256(recording).hexdigest() == entry["sha256"]
    for licence in entry["licences"]:
        assert "All Rights Reserved" in (FOLDER / "LICENSES" / licence).read_text("utf-8")
    assert tuple(entry["consent"]) == CONSENT_KEYS
    assert given_details(consent=entry["consent"], description=entry["description"]) == {
        "consent": entry["consent"],
        "description": entry["description"],
    }
    assert "icence" in entry["description"]
    assert "Copyright" in entry["description"]
    for source in entry["sources"]:
        assert len(source["sha256"]) == 64
        assert source["package"]
        assert source["path"]


@each_starter
def test_a_starter_is_a_recording_without_warnings(entry):
    samples, rate_hz = soundfile.read(FOLDER / entry["file"], dtype="float32")
    quality, warnings = check_reference(Waveform(samples, rate_hz))
    assert warnings == ()
    assert rate_hz >= 16_000
    assert quality.speech_s > 10
    assert quality.snr_db > 30


def test_the_readme_names_every_file():
    readme = (FOLDER / "README.md").read_text("utf-8")
    shipped = [path for path in FOLDER.rglob("*") if path.is_file() and path.name != "README.md"]
    assert {path.name for path in shipped if path.name not in readme} == set()
    assert sum(path.stat().st_size for path in shipped) < 3 * 2**20


# --- the command


def test_they_are_added_once(root, store, capsys):
    assert run_cli(root, "add-starters") == 0
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"added: {name}" for name in NAMES
    ]
    for entry in ENTRIES:
        metadata = store.metadata(name=entry["name"])
        assert {key: metadata[key] for key in ("description", "gender", "language", "consent")} == {
            key: entry[key] for key in ("description", "gender", "language", "consent")
        }
        assert metadata["tags"] == ["starter"]
        assert metadata["original_file"] == entry["file"]

    before = snapshot(root)
    assert run_cli(root, "add-starters") == 0
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"already there: {name}" for name in NAMES
    ]
    assert snapshot(root) == before


def test_what_people_change_stays(root, store):
    run_cli(root, "add-starters")
    store.update(name=NAMES[0], description="for the news", tags=["news"])
    store.delete(name=NAMES[1])
    assert run_cli(root, "add-starters") == 0
    assert names(store) == set(NAMES)
    metadata = store.metadata(name=NAMES[0])
    assert (metadata["description"], metadata["tags"]) == ("for the news", ["news"])


def test_another_voice_of_the_name_stays(root, store, capsys):
    other = store.put(make_waveform(1), NAMES[0].upper()).voice
    assert run_cli(root, "add-starters") == 1
    said = capsys.readouterr()
    assert f'another voice is named "{NAMES[0]}", and stays' in said.err
    assert [line.split(" (")[0] for line in said.out.splitlines()] == [f"added: {name}" for name in NAMES[1:]]
    assert store.get(name=NAMES[0]).digest == other.digest

    store.update(name=NAMES[0], new_name="Mine")
    assert run_cli(root, "add-starters") == 0
    assert names(store) == {"Mine", *NAMES}


@pytest.mark.parametrize("content", [None, "", "{", '[{"name": "Ada"}]', "[1]", "1"])
def test_a_missing_or_damaged_list_is_said(tmp_path, content):
    if content is not None:
        (tmp_path / LIST).write_text(content)
    with pytest.raises(InvalidRequest, match=r"samples/starters/starters\.json, is missing or damaged"):
        read_starters(tmp_path)


def test_the_command_says_what_is_missing(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("voice_store.starters.read_starters", lambda: read_starters(tmp_path))
    assert run_cli(root, "add-starters") == 1
    assert "run add-starters in a whole copy of the project" in capsys.readouterr().err
    assert not root.exists()


# --- ordinary voices afterwards


def test_they_speak_through_the_queue(tmp_path, synthesizer):
    worker = build_worker(tmp_path, synthesizer, ON_PLATFORM)
    with platform_of(worker) as platform, client_of(platform) as client:
        _use(client, tmp_path)


def test_they_speak_over_http(tmp_path, synthesizer):
    with (
        http_server(tmp_path, synthesizer, {"API_KEY": KEY, "REQUIRE_CONSENT": "true"}) as server,
        Client(url=server.address, api_key=KEY, **QUICKLY) as client,
    ):
        _use(client, tmp_path)


def _use(client: Client, folder: Path) -> None:
    """Has a worker's starter voices added beside it, and lists, looks up, speaks with and deletes them."""
    assert client.voices() == []  # the worker installs none
    assert run_cli(folder / "voice_embeddings", "add-starters") == 0
    voices = {voice.name: voice.id for voice in client.voices()}
    assert set(voices) == set(NAMES)
    for entry in ENTRIES:
        known = client.run("get_voice", voice_name=entry["name"])["voice"]
        assert known["consent"] == entry["consent"]
    speech = client.speak("Nobody knew.", voice=NAMES[0])
    assert speech.receipt["voice"]["voice_id"] == voices[NAMES[0]]
    assert client.delete(NAMES[0])
    assert NAMES[0] not in {voice.name for voice in client.voices()}
