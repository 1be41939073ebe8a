"""The program itself: its start, and the one job of a laptop or of CI."""

import dataclasses
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from settings import Settings
from speech.contract import NOTICES
from version import VERSION

REPOSITORY = Path(__file__).parent.parent


def run_program(program, *arguments, cwd, **settings):
    return subprocess.run(
        [sys.executable, str(REPOSITORY / program), *arguments],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_bad_setting_stops_the_start_with_one_line(tmp_path):
    finished = run_program("handler.py", cwd=tmp_path, MODEL="flash", MAX_TEXT_CHARS="many")
    assert finished.returncode == 1
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert "MODEL" in line
    assert "MAX_TEXT_CHARS" in line


def without_weights(tmp_path):
    return {"HF_HOME": str(tmp_path / "empty"), "MODEL_REVISION": "main", "CHECKPOINT_DIR": ""}


def test_without_weights_a_start_on_the_platform_fails_and_says_how_to_get_them(tmp_path):
    finished = run_program(
        "handler.py", cwd=tmp_path, RUNPOD_WEBHOOK_GET_JOB="http://127.0.0.1:9/", **without_weights(tmp_path)
    )
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    (last,) = [line for line in finished.stdout.splitlines() if "cannot start" in line]
    assert "model_unavailable: no weights of ResembleAI/chatterbox" in last
    assert "CHECKPOINT_DIR" in last


def test_a_laptop_without_the_revision_that_was_asked_for_says_how_to_get_weights(tmp_path):
    environment = without_weights(tmp_path) | {"MODEL_REVISION": "0" * 40}
    job = '{"input": {"operation": "tts", "text": "Hello there."}}'
    finished = run_program("handler.py", "--test_input", job, cwd=tmp_path, **environment)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("cannot start: model_unavailable: ")
    assert "CHECKPOINT_DIR" in last


def test_without_weights_a_laptop_speaks_with_the_small_model(tmp_path):
    job = '{"input": {"operation": "tts", "text": "Hello there."}}'
    finished = run_program("handler.py", "--test_input", job, cwd=tmp_path, **without_weights(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert "'audio': 'UklGR" in finished.stdout
    assert NOTICES["demonstration"] in finished.stdout
    assert NOTICES["demonstration"] in finished.stderr


def test_the_test_job_runs_with_audio_in_its_result(tmp_path, smoke_checkpoint):
    (tmp_path / "test_input.json").write_bytes((REPOSITORY / "test_input.json").read_bytes())
    finished = run_program("handler.py", cwd=tmp_path, CHECKPOINT_DIR=str(smoke_checkpoint))
    assert finished.returncode == 0, finished.stderr
    assert "'audio': 'UklGR" in finished.stdout  # base64 of RIFF
    assert "UklGR" not in finished.stderr
    assert "outcome=ok" in finished.stderr
    assert f"starting chatterbox-voice-worker/{VERSION} with " in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--test_input", '{"input": {"operation": "tts"}}'], "invalid_request: text is required"),
        (["--test_input", '{"input": {"operation": "sing"}}'], "unknown_operation: 'sing'"),
        (["--test_input", '{"operation": "tts"}'], "input is required"),
        (["--test_input", "{"], "--test_input cannot be read as JSON"),
        (["--test_input", "test_input.json"], "--test_input cannot be read as JSON"),
        ([], "test_input.json is not in this folder"),
    ],
)
def test_a_local_job_that_cannot_run_is_refused_before_the_model_is_loaded(tmp_path, arguments, said):
    """Nothing is where the weights should be, and nobody looks."""
    finished = run_program("handler.py", *arguments, cwd=tmp_path, HF_HOME=str(tmp_path / "empty"))
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert said in line
    assert finished.stdout == ""


def test_help_and_version_are_printed_without_a_model(tmp_path):
    asked = run_program("handler.py", "--help", cwd=tmp_path, HF_HOME=str(tmp_path / "empty"))
    assert asked.returncode == 0
    assert "--test_input" in asked.stdout
    asked = run_program("handler.py", "--version", cwd=tmp_path, MODEL="no such model")
    assert (asked.returncode, asked.stdout.strip()) == (0, VERSION)


def test_an_option_without_its_value_is_refused_before_the_model_is_loaded(tmp_path):
    finished = run_program("handler.py", "--test_input", cwd=tmp_path, HF_HOME=str(tmp_path / "empty"))
    assert finished.returncode == 2
    assert "expected one argument" in finished.stderr


def test_a_job_that_fails_ends_with_1(tmp_path):
    job = '{"input": {"operation": "tts", "text": "Hello.", "voice_name": "Nobody"}}'
    finished = run_program("tests/faulty_worker.py", "--test_input", job, cwd=tmp_path)
    assert finished.returncode == 1
    assert "voice_not_found" in finished.stdout


def test_the_version_is_the_packages():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


@pytest.mark.parametrize(
    ("path", "is_on_volume"),
    [
        ("volume/voices", True),
        ("volume/../elsewhere/voices", False),
        ("link/voices", True),
        ("elsewhere", False),
    ],
)
def test_neither_dots_nor_links_decide_what_lies_on_the_volume(tmp_path, monkeypatch, path, is_on_volume):
    import handler

    (tmp_path / "volume").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "volume")
    monkeypatch.setattr(handler, "VOLUME", tmp_path / "volume")
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    on_platform = Settings.from_env({"RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1/"})
    settings = dataclasses.replace(on_platform, voice_store_dir=tmp_path / path)
    assert handler.outlives_worker(settings) is is_on_volume
