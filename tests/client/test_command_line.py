"""The command voice-worker."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import httpx2
import pytest
import soundfile
from chatterbox_voice import players
from chatterbox_voice.cli import main

from tests.client.conftest import until
from tests.client.platform import KEY
from tests.job_server import REPOSITORY
from tests.recordings import speech_like, wav_bytes

TEXT = "Nobody knew. The ship left at dawn."


@pytest.fixture
def command(endpoint, monkeypatch):
    """Runs the command in front of a queue endpoint."""
    monkeypatch.setenv("VOICE_WORKER_ENDPOINT", endpoint.address)
    monkeypatch.setenv("VOICE_WORKER_API_KEY", KEY)
    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture
def recording(tmp_path):
    file = tmp_path / "recording.wav"
    file.write_bytes(wav_bytes(speech_like(6.0, 24_000, 1), 24_000))
    return file


@pytest.fixture
def only_programs(tmp_path, monkeypatch):
    """Lets the system have these programs alone, each of which writes what it got to a file."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def have(*names: str) -> None:
        for name in names:
            source = f"{name}.played"
            read = "sys.stdin.buffer.read()" if name != "afplay" else "open(sys.argv[-1], 'rb').read()"
            program = (
                f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / source)!r}, 'wb').write({read})\n"
            )
            (folder / name).write_text(program)
            (folder / name).chmod(0o755)

    return have


def test_speech_goes_into_a_file_in_its_names_format(command, tmp_path, capsys):
    file = tmp_path / "speech.flac"
    assert command("speak", TEXT, "-o", file, "--seed", 7, "--set", "sample_rate=48000") == 0
    assert soundfile.info(file).samplerate == 48_000
    assert capsys.readouterr().out == f"{file}: {soundfile.info(file).duration:.1f} s, seed 7\n"


@pytest.mark.parametrize("source", ["argument", "file", "stdin"])
def test_the_text_comes_from_where_it_is(command, endpoint, tmp_path, monkeypatch, source):
    (tmp_path / "text.txt").write_text("\ufeffGrüße.", "utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Grüße.".encode())))
    arguments = {"argument": ["Grüße."], "file": ["-f", tmp_path / "text.txt"], "stdin": []}[source]
    assert command("speak", *arguments, "-o", tmp_path / "speech.mp3") == 0
    (job,) = endpoint.jobs.values()
    assert job.input["text"] == "Grüße."


def test_a_terminal_shows_what_is_waited_for(command, endpoint, monkeypatch, tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    endpoint.max_wait_s = 0
    endpoint.hold()
    releasing = threading.Thread(
        target=lambda: (until(lambda: "waiting" in terminal.getvalue()), endpoint.release())
    )
    releasing.start()
    assert command("speak", TEXT, "-o", tmp_path / "a.mp3") == 0
    releasing.join()


def test_json_is_the_receipt(command, tmp_path, capsys):
    assert command("speak", TEXT, "-o", tmp_path / "a.wav", "--json") == 0
    receipt = json.loads(capsys.readouterr().out)
    assert receipt["file"] == str(tmp_path / "a.wav")
    assert receipt["format"] == "wav"
    assert "audio" not in receipt


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_a_dialogue_with_subtitles_beside_it(command, tmp_path, capsys, kind):
    turns = tmp_path / "turns.json"
    turns.write_text(json.dumps([{"text": "Is it late?"}, {"text": "It is 9:30."}]), "utf-8")
    file = tmp_path / "talk.mp3"
    assert command("speak", "--turns", turns, "-o", file, "--subtitles", kind, "--json") == 0
    receipt = json.loads(capsys.readouterr().out)
    assert [each["turn"] for each in receipt["segments"]] == [0, 1]
    assert (tmp_path / f"talk.{kind}").read_text("utf-8") == receipt["subtitles"]
    assert "It is 9:30" in receipt["subtitles"]


def test_a_text_is_read_as_it_is_asked_for(command, endpoint, tmp_path):
    entries = {"pronunciations": [{"text": "Nguyen", "say": "win"}]}
    (tmp_path / "names.json").write_text(json.dumps(entries), "utf-8")
    arguments = ("--pronunciations", tmp_path / "names.json", "--no-normalize", "--markup", "plain")
    assert command("speak", "Nguyen at [pause:1s]", *arguments, "-o", tmp_path / "a.mp3") == 0
    (job,) = endpoint.jobs.values()
    asked = {name: job.input[name] for name in ("pronunciations", "normalize_text", "markup")}
    assert asked == {**entries, "normalize_text": False, "markup": "plain"}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[", "is not JSON"), (b'{"lines": []}', "must hold a list of objects"), (b"\xff", "UTF-8")],
)
def test_a_file_that_holds_no_turns_is_wrong_usage(command, tmp_path, capsys, content, said):
    (tmp_path / "turns.json").write_bytes(content)
    assert command("speak", "--turns", tmp_path / "turns.json", "-o", tmp_path / "a.mp3") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Hello.", "--subtitles", "srt"), "set -o FILE"),
        (("Hello.", "--subtitles", "srt", "-o", "-"), "set -o FILE"),
        (("Hello.", "--turns", "turns.json", "-o", "a.mp3"), "both a text and --turns"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(command, capsys, arguments, said):
    assert command("speak", *arguments) == 2
    assert said in capsys.readouterr().err


def test_audio_goes_to_stdout(command, monkeypatch):
    out = SimpleNamespace(buffer=io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert command("speak", TEXT, "-o", "-", "--format", "wav") == 0
    assert out.buffer.getvalue()[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("player", "magic"), [("ffplay", b"\xff\xf3"), ("aplay", b"RIFF"), ("afplay", b"\xff\xf3")]
)
def test_without_a_file_the_systems_player_plays(command, only_programs, tmp_path, player, magic):
    only_programs(player)
    assert command("speak", TEXT) == 0
    assert (tmp_path / f"{player}.played").read_bytes()[: len(magic)] == magic


def test_without_a_player_a_sentence_says_what_to_do(command, only_programs, capsys):
    assert command("speak", TEXT) == 2
    assert "write a file with -o FILE" in capsys.readouterr().err


def test_a_player_that_is_closed_ends_the_speech(only_programs, tmp_path):
    only_programs()
    program = tmp_path / "programs" / "mpv"
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    parts = (bytes(100_000) for _ in range(100))
    assert players.find_player().play(parts) == 0


def test_voices_are_cloned_listed_and_deleted(command, recording, tmp_path, capsys):
    preview = tmp_path / "preview.wav"
    assert command("clone", recording, "Ada", "--tag", "test", "--preview", preview) == 0
    assert "Ada  (stored)" in capsys.readouterr().out
    assert soundfile.info(preview).duration > 1
    assert command("clone", recording, "Ada") == 0
    assert "was there already" in capsys.readouterr().out
    assert command("voices", "--json") == 0
    (voice,) = json.loads(capsys.readouterr().out)
    assert voice["tags"] == ["test"]
    assert command("voices") == 0
    assert capsys.readouterr().out.startswith(f"{voice['voice_id']}  Ada")
    assert command("speak", TEXT, "--voice", "ada", "-o", tmp_path / "a.mp3") == 0
    assert command("voices", "--delete", "Ada") == 0
    assert command("voices") == 0
    assert capsys.readouterr().out.endswith("Ada: deleted\n")


def test_a_voice_is_cloned_from_several_recordings(command, recording, tmp_path, capsys):
    other = tmp_path / "other.wav"
    other.write_bytes(wav_bytes(speech_like(7.0, 24_000, 2), 24_000))
    said = {"aliases": ["alloy"], "consent": {"by": "Ada", "date": "2026-11-27", "statement": "I agree."}}
    fields = [f"--set={name}={json.dumps(value)}" for name, value in said.items()]
    assert command("clone", recording, "Ada", "--sample", other, "--keep-preview", "--json", *fields) == 0
    reply = json.loads(capsys.readouterr().out)
    assert len(reply["samples"]) == 2
    assert reply["preview_kept"] is True
    assert {name: reply["voice_info"][name] for name in said} == said
    other.write_bytes(b"no recording")
    assert command("clone", recording, "Bob", "--sample", other) == 1
    assert "samples[1].audio is not audio" in capsys.readouterr().err


def test_a_recording_is_said_in_another_voice(command, recording, tmp_path, capsys):
    assert command("clone", recording, "Ada") == 0
    assert command("convert", recording, "--voice", "Ada", "-o", tmp_path / "a.flac") == 0
    assert (tmp_path / "a.flac").read_bytes().startswith(b"fLaC")
    assert command("convert", recording, "-o", tmp_path / "a.xyz") == 2
    assert "ends with .xyz" in capsys.readouterr().err
    assert not (tmp_path / "a.xyz").exists()


def test_a_recording_is_looked_at_for_the_watermark(command, recording, capsys):
    assert command("check", recording) == 0
    assert capsys.readouterr().out == "watermarked  (confidence 0.75)\n"
    assert command("check", recording, "--json") == 0
    assert json.loads(capsys.readouterr().out)["watermarked"] is True


def test_what_the_worker_refuses_is_a_sentence_and_a_status(command, recording, tmp_path, capsys):
    assert command("convert", recording, "--voice", "Ada", "-o", tmp_path / "a.mp3", "--json") == 1
    said = capsys.readouterr()
    assert said.err.startswith("voice-worker: voice_not_found: no voice is named")
    assert said.err.count("\n") == 1
    assert json.loads(said.out)["error_code"] == "voice_not_found"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["voices"], 2, "neither an endpoint nor a URL"),
        (["voices", "--url", "http://127.0.0.1:9", "--timeout", "0.3"], 3, "there is no connection"),
        (["speak", "x", "-f", "y", "--url", "http://127.0.0.1:9"], 2, "set one"),
        (
            ["clone", "no-such.wav", "Ada", "--url", "http://127.0.0.1:9"],
            2,
            ": there is no file no-such.wav\n",
        ),
        (["speak", "-f", "no-such.txt", "-o", "a.mp3"], 2, ": there is no file no-such.txt\n"),
        (["clone", "/", "Ada", "--url", "http://127.0.0.1:9"], 2, ": / cannot be opened: is a directory\n"),
        (["clone", "", "Ada", "--url", "http://127.0.0.1:9"], 1, "the recording is an empty string"),
        (["speak", "x", "-o", "no/folder/a.mp3", "--url", "http://127.0.0.1:9"], 2, "no/folder is no folder"),
        (["serve", "--url", "http://127.0.0.1:9"], 2, "queue endpoint"),
    ],
)
def test_wrong_usage_is_a_sentence_and_a_status(capsys, arguments, status, said):
    assert main(arguments) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_wrong_key_is_not_shown(command, endpoint, monkeypatch, capsys):
    monkeypatch.setenv("VOICE_WORKER_API_KEY", "a-wrong-secret")
    assert command("voices") == 3
    assert "unauthorized" in (said := capsys.readouterr().err)
    assert "a-wrong-secret" not in said


def test_ctrl_c_cancels_the_job(endpoint, synthesizer, tmp_path):
    endpoint.max_wait_s = 0
    synthesizer.gate = threading.Event()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "client"), *sys.path]),
        "VOICE_WORKER_ENDPOINT": endpoint.address,
        "VOICE_WORKER_API_KEY": KEY,
    }
    command = [sys.executable, "-m", "chatterbox_voice.cli", "speak", TEXT, "-o", str(tmp_path / "a.mp3")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: "status" in endpoint.routes_asked())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "voice-worker: interrupted\n"
    (job,) = endpoint.jobs.values()
    assert job.status == "CANCELLED"


def test_serve_says_its_address_and_ends_when_it_is_interrupted(endpoint, monkeypatch):
    monkeypatch.setenv("VOICE_WORKER_API_KEY", KEY)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "client"), *sys.path]),
        "VOICE_WORKER_ENDPOINT": endpoint.address,
        "VOICE_WORKER_API_KEY": KEY,
        "VOICE_WORKER_SERVE_KEY": "a-key-of-the-bridge",
    }
    command = [sys.executable, "-m", "chatterbox_voice.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert httpx2.get(f"{address}/models").status_code == 401
        speech = {"model": "tts-1", "voice": "alloy", "input": TEXT}
        headers = {"Authorization": "Bearer a-key-of-the-bridge"}
        reply = httpx2.post(f"{address}/audio/speech", json=speech, headers=headers, timeout=60)
        assert reply.headers["content-type"] == "audio/mpeg"
        taken = main(["serve", "--endpoint", endpoint.address, "--port", address.split(":")[2].split("/")[0]])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert taken == 2
