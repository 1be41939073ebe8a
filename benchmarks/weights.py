"""Weights to measure with, where a machine has none."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speech.models.spec import CHATTERBOX, MODELS


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which model is measured, and with which weights."""
    parser.add_argument("--checkpoint", type=Path, help="its weights; without it untrained ones are written")
    parser.add_argument("--model", choices=tuple(MODELS), default=CHATTERBOX.name, help="%(default)s without")


@contextmanager
def temporary_weights(given: Path | None, size: str = "full", model: str = CHATTERBOX.name) -> Iterator[Path]:
    """Gives ``given``, or a temporary folder with an untrained checkpoint; "full" is up to 3.2 GB."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "speech.smoke", temporary, "--size", size, "--model", model]
        subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603
        yield Path(temporary)
