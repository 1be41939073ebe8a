"""What each file of a training folder was made from, so that no stage goes on from something else.

FOLDER/origins.json has, for each file that a stage writes, the SHA-256 of the files that the stage read, and
its settings. FOLDER/finished.json has the stages that came to their end, with the steps that they trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "origins.json"
FINISHED = "finished.json"


class StaleOutput(Exception):
    """A file was made from something other than what lies in the folder now."""


def check_origins(
    folder: Path, reads: Sequence[str], writes: Sequence[str], settings: Mapping[str, int | str]
) -> None:
    """Compares what a stage wrote before with what it would read now, and notes the latter.

    reads, writes: files and folders below ``folder``. What is read must be there; of a folder the content is
    not looked at. Raises StaleOutput.
    """
    known = _read(folder / FILE)
    now = {name: _digest(folder / name) for name in reads} | dict(settings)
    for name in writes:
        if not (folder / name).exists():
            continue
        before = known.get(name, {})
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            raise StaleOutput(f"{name} was made with another {' and '.join(changed)}: remove it or undo that")
    known.update(dict.fromkeys(writes, now))
    _write(folder / FILE, known)


def read_finished(folder: Path) -> dict[str, dict[str, int]]:
    """Returns the stages that came to their end, and the steps that each of their networks had."""
    return _read(folder / FINISHED)


def note_finished(folder: Path, stage: str, steps: Mapping[str, int]) -> None:
    """Notes that a stage came to its end."""
    _write(folder / FINISHED, read_finished(folder) | {stage: dict(steps)})


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise StaleOutput(f"{file} is damaged: remove it with everything else in its folder") from error
    return content


def _write(file: Path, content: Mapping[str, Any]) -> None:
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(file)


def _digest(path: Path) -> str:
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
