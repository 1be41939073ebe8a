"""Fixtures that several rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smoke_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny untrained checkpoint."""
    from speech.smoke import write_smoke_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint")
    write_smoke_checkpoint(folder)
    return folder
