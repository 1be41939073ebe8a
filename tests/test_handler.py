"""The program itself: its start, and the one job of a laptop or of CI."""

import os
import subprocess
import sys
from pathlib import Path

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
    finished = run_program("handler.py", cwd=tmp_path, MODEL="turbo", MAX_TEXT_CHARS="many")
    assert finished.returncode == 1
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert "MODEL" in line
    assert "MAX_TEXT_CHARS" in line


def test_without_weights_the_start_fails_and_says_how_to_get_them(tmp_path):
    finished = run_program("handler.py", cwd=tmp_path, HF_HOME=str(tmp_path / "empty"), MODEL_REVISION="main")
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("cannot start: model_unavailable: ")
    assert "CHECKPOINT_DIR" in last
    assert "speech.smoke" in last


def test_the_test_job_runs_with_audio_in_its_result(tmp_path, smoke_checkpoint):
    (tmp_path / "test_input.json").write_bytes((REPOSITORY / "test_input.json").read_bytes())
    finished = run_program("handler.py", cwd=tmp_path, CHECKPOINT_DIR=str(smoke_checkpoint))
    assert finished.returncode == 0, finished.stderr
    assert "'audio': 'UklGR" in finished.stdout  # base64 of RIFF
    assert "UklGR" not in finished.stderr
    assert "outcome=ok" in finished.stderr


def test_a_failed_job_ends_with_1_and_names_the_field(tmp_path, smoke_checkpoint):
    job = '{"input": {"operation": "tts"}}'
    finished = run_program(
        "handler.py", "--test_input", job, cwd=tmp_path, CHECKPOINT_DIR=str(smoke_checkpoint)
    )
    assert finished.returncode == 1
    assert "invalid_request: text is required" in finished.stdout
