"""Fixtures that several rooms share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.base import Services
from tests.fakes import FakeSynthesizer, build_services

# What the person who runs the tests has set for a worker of their own is none of the tests' business.
for name in list(os.environ):
    if name.startswith(("RUNPOD_", "BUCKET_", "MODEL", "MAX_", "HF_")) or name in (
        "VOICE_STORE_DIR",
        "CHECKPOINT_DIR",
        "DEVICE",
        "PRECISION",
        "ENGINE",
        "LOG_LEVEL",
    ):
        del os.environ[name]


@pytest.fixture(scope="session")
def smoke_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny untrained checkpoint."""
    from speech.smoke import write_smoke_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint")
    write_smoke_checkpoint(folder)
    return folder


@pytest.fixture
def synthesizer() -> FakeSynthesizer:
    return FakeSynthesizer()


@pytest.fixture
def services(tmp_path: Path, synthesizer: FakeSynthesizer) -> Services:
    """A worker's services around a fake synthesizer, with a store of their own."""
    return build_services(tmp_path, synthesizer)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """An empty tmpfs of 1 MiB."""
    folder = tmp_path / "volume"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here: needs root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)  # a test may have done so
