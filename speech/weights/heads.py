"""The file in which alignment heads are kept beside the weights in which they were found."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech.weights.files import fingerprint

log = logging.getLogger(__name__)

FORMAT = "chatterbox-voice-worker alignment/1"


@dataclass(frozen=True)
class AlignmentHeads:
    """The heads of T3 that follow the text, and the speech tokens that have no sound."""

    heads: tuple[tuple[int, int], ...]  # layer and head, the best first; empty where none is good enough
    silence: frozenset[int]


def heads_path(t3_file: Path) -> Path:
    """Returns where the heads of a T3's weights are kept."""
    return t3_file.with_name(f"alignment-{t3_file.stem}.json")


def read_heads(t3_file: Path, layers: int, heads: int) -> AlignmentHeads | None:
    """Returns what was found in these weights; None where nothing was, or where the file is of no use."""
    try:
        content = json.loads(heads_path(t3_file).read_text("utf-8"))
        if content["format"] != FORMAT or content["made_of"] != fingerprint([t3_file]):
            return None
        found = tuple((_number(layer, layers), _number(head, heads)) for layer, head in content["heads"])
        return AlignmentHeads(found, frozenset(_number(token, 1 << 16) for token in content["silence"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be used, and is made again (%s)", heads_path(t3_file).name, error)
        return None


def write_heads(t3_file: Path, found: AlignmentHeads) -> None:
    """Keeps what was found. A folder that cannot be written to is not an error."""
    file = heads_path(t3_file)
    content = {
        "format": FORMAT,
        "made_of": fingerprint([t3_file]),
        "heads": found.heads,
        "silence": sorted(found.silence),
    }
    unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        unfinished.write_text(json.dumps(content) + "\n", "utf-8")
        unfinished.replace(file)
    except OSError as error:
        log.info("%s cannot be written: heads are looked for at each start (%s)", file.name, error)
        unfinished.unlink(missing_ok=True)


def _number(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError(f"{value!r} is no number below {limit}")
    return value
