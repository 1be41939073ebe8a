"""Recordings that become voices from a terminal."""

import os
import unicodedata

import av
import numpy as np
import pytest

from tests.recordings import speech_like
from tests.voice_store.conftest import names
from tests.voice_store.terminal import run_cli, run_program, write_recording


@pytest.fixture
def folder(tmp_path):
    """Three recordings of speech at different depths, and what a folder holds besides."""
    folder = tmp_path / "recordings"
    write_recording(folder / "Amy.WAV", 1)
    write_recording(folder / "sub" / unicodedata.normalize("NFD", "Zoë 🎤.flac"), 2)
    write_recording(folder / "sub" / "deeper" / "小明.ogg", 3)
    (folder / "notes.txt").write_text("no audio")
    (folder / "._Amy.wav").write_bytes(b"what macOS leaves")
    (folder / "folder.wav").mkdir()
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_of_recordings_becomes_voices_named_like_the_files(root, store, folder, capsys, jobs):
    assert run_cli(root, "add", folder, "--tag", "new", "--jobs", jobs) == 0
    assert names(store) == {"Amy", "Zoë 🎤", "小明"}
    assert all(voice["tags"] == ["new"] for voice in store.list())
    assert {voice["original_file"] for voice in store.list()} >= {"Amy.WAV", "小明.ogg"}
    assert capsys.readouterr().out.endswith("3 added, 0 already there, 0 left out, 1 passed over\n")
    assert run_cli(root, "add", folder) == 0
    assert capsys.readouterr().out.endswith("0 added, 3 already there, 0 left out, 1 passed over\n")


def test_a_bad_file_does_not_stop_the_rest(root, store, folder, capsys):
    (folder / "a broken.wav").write_bytes(b"RIFF")
    (folder / "zeros.wav").write_bytes(bytes(5_000_000))
    (folder / "a short.flac").write_bytes(b"")
    os.mkfifo(folder / "pipe.mp3")
    (folder / "device.wav").symlink_to("/dev/zero")
    assert run_cli(root, "add", folder, folder.parent / "nothing.wav") == 1
    assert names(store) == {"Amy", "Zoë 🎤", "小明"}
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("voice_store: ")]
    assert len(lines) == 6
    for file, reason in [
        ("a broken.wav", "is not audio"),
        ("zeros.wav", "is not audio"),
        ("a short.flac", "is not audio"),
        ("pipe.mp3", "is a pipe"),
        ("device.wav", "is a device"),
        ("nothing.wav", "no such file"),
    ]:
        assert sum(file in line and reason in line for line in lines) == 1, (file, lines)


def test_of_two_recordings_of_one_name_the_first_is_kept_and_the_other_told(root, store, tmp_path, capsys):
    write_recording(tmp_path / "in" / "a" / "Amy.wav", 1)
    write_recording(tmp_path / "in" / "b" / "AMY.flac", 2)
    assert run_cli(root, "add", tmp_path / "in", "--jobs", 2) == 1
    assert names(store) == {"Amy"}
    assert "b/AMY.flac: " in capsys.readouterr().err


def test_an_empty_folder_is_told(root, tmp_path, capsys):
    assert run_cli(root, "add", tmp_path) == 1
    assert "no recording is in it" in capsys.readouterr().err
    assert not root.exists()


def test_a_name_that_cannot_be_one_is_told_with_the_file(root, tmp_path, capsys):
    write_recording(tmp_path / f"{'n' * 65}.wav")
    assert run_cli(root, "add", tmp_path) == 1
    assert f"{'n' * 65}.wav: its name is too long; shorten the name" in capsys.readouterr().err


def test_names_of_files_cannot_control_the_terminal(root, tmp_path):
    (tmp_path / "a\x1b[31m\n.wav").write_bytes(b"x")
    done = run_program(root, "add", tmp_path)
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_link_to_a_recording_is_followed_and_one_to_a_folder_is_not_entered(root, store, tmp_path):
    recording = write_recording(tmp_path / "far" / "Amy.wav")
    folder = tmp_path / "near"
    folder.mkdir()
    (folder / "Ben.wav").symlink_to(recording)
    (folder / "loop").symlink_to(folder)
    assert run_cli(root, "add", folder) == 0
    assert names(store) == {"Ben"}


@pytest.mark.parametrize("command", [["add", ""], ["import", ""], ["export", "--to", ""]])
def test_an_empty_argument_is_not_the_current_folder(root, command, capsys, monkeypatch, folder):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as stopped:
        run_cli(root, *command)
    assert stopped.value.code == 2
    assert "give a file or a folder" in capsys.readouterr().err
    assert not root.exists()


@pytest.mark.parametrize("command", ["add", "import"])
def test_recordings_of_every_kind_that_can_be_decoded_are_taken_from_a_folder(
    root, store, tmp_path, capsys, command
):
    folder = tmp_path / "in"
    kinds = {"m4a": "mp4", "mp4": "mp4", "3gp": "3gp", "webm": "webm", "oga": "ogg", "aac": "adts"}
    for seed, (suffix, container) in enumerate(kinds.items()):
        write_with_ffmpeg(folder / f"{suffix} voice.{suffix.upper()}", container, seed)
    (folder / "notes.txt").write_text("no audio")
    (folder / "talk.pdf").write_text("no audio")
    (folder / "other.json").write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked.wav").symlink_to(tmp_path / "elsewhere")
    assert run_cli(root, command, folder) == 0
    assert names(store) == {f"{suffix} voice" for suffix in kinds}
    said = capsys.readouterr()
    assert said.out.endswith("6 added, 0 already there, 0 left out, 4 passed over\n")
    passed_over = [line for line in said.err.splitlines() if line.startswith("passed over: ")]
    expected = ("linked.wav", "notes.txt", "other.json", "talk.pdf")
    assert passed_over == [f"passed over: {folder / name}" for name in expected]


def write_with_ffmpeg(path, container, seed):
    path.parent.mkdir(exist_ok=True)
    samples = (speech_like(3.0, 24_000, seed) * 32_767).astype(np.int16)
    codec = {"ogg": "libopus", "webm": "libopus"}.get(container, "aac")
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=48_000 if codec == "libopus" else 24_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 24_000
        for resampled in av.AudioResampler(stream.format, "mono", stream.rate).resample(frame):
            file.mux(stream.encode(resampled))
        file.mux(stream.encode(None))
