"""The command line as tests use it, and recordings to give it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import soundfile

from tests.recordings import speech_like
from voice_store.__main__ import main

REPOSITORY = Path(__file__).parents[2]


def run_cli(root: Path, *arguments: object) -> int:
    """In this process; the exit status."""
    return main(["--dir", str(root), *map(str, arguments)])


def run_program(
    root: Path, *arguments: object, wrapper: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, started by another command if one is given."""
    command = [*wrapper, sys.executable, "-m", "voice_store", "--dir", str(root), *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def write_recording(path: Path, seed: int = 0, duration_s: float = 3.0) -> Path:
    """Speech-like audio in the format that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech_like(duration_s, 24_000, seed), 24_000)
    return path
