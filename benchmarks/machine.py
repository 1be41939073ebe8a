"""On what a figure was measured, and where figures are kept."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def describe(device: str = "cpu") -> str:
    """Processor or GPU, and the commit, in one line."""
    return f"{machine(device)}; commit {commit()}"


def machine(device: str = "cpu") -> str:
    """The GPU's name, or the processor's with its number of cores."""
    return _gpu() if device.startswith("cuda") else _cpu()


def results_file(value: str) -> Path:
    """Is argparse's type of a benchmark's ``--json``: a file, whose folder is made where it is missing."""
    file = Path(value)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{file} is a folder: name a file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return file


def keep(file: Path | None, device: str, **figures: object) -> None:
    """Writes figures as JSON, with what they were measured on and when; nothing without a file."""
    if file is not None:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"machine": machine(device), "commit": commit(), "date": date, **figures}
        file.write_text(json.dumps(content, indent=2) + "\n")


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name()


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{os.cpu_count()} cores of {model}"


def commit(checkout: Path | None = None) -> str:
    """The commit of this checkout or another; "unknown" outside of a repository and where there is no git."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"
