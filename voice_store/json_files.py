"""JSON objects in files that any program may have written, and not all of them at once."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from voice_store.files import Folder, NotAPlainFileError
from voice_store.json_by_line import JsonByLine

log = logging.getLogger(__name__)

_REREAD_AFTER_S = 0.2
_SETTLED_AFTER_S = 2.0

JsonObject = dict[str, Any]
Loads = Callable[[bytes], Any]  # raises ValueError, RecursionError


class DamagedJsonError(Exception):
    """The file is no JSON object, or not a plain file of a sensible size."""


def parse_object(folder: Folder, name: str, max_bytes: int, loads: Loads = json.loads) -> JsonObject | None:
    """The object in a JSON file; None when there is no file. Raises DamagedJsonError, OSError.

    Older programs write in place: what does not parse and is new is looked at again a moment later.
    """
    try:
        return _parse_once(folder, name, max_bytes, loads)
    except DamagedJsonError:
        if folder.is_older(name, _SETTLED_AFTER_S):
            raise
        time.sleep(_REREAD_AFTER_S)
        return _parse_once(folder, name, max_bytes, loads)


def read_object(folder: Folder, name: str, max_bytes: int, *, is_ours: bool = False) -> JsonObject:
    """As ``parse_object``, but empty for a file that is damaged or not there. Raises OSError.

    is_ours: only programs like this one write such files, and never in place.
    """
    try:
        return (_parse_once if is_ours else parse_object)(folder, name, max_bytes) or {}
    except DamagedJsonError:
        log.warning("%s is damaged", name)
        return {}


def _parse_once(folder: Folder, name: str, max_bytes: int, loads: Loads = json.loads) -> JsonObject | None:
    try:
        content = loads(folder.read(name, max_bytes))
    except FileNotFoundError:
        return None
    except (NotAPlainFileError, ValueError, RecursionError) as fault:
        raise DamagedJsonError(name) from fault
    if not isinstance(content, dict):
        raise DamagedJsonError(name)
    return content


def set_aside(folder: Folder, name: str) -> None:
    """Renames what is in the way of an index, since other programs' keys may still be in it.

    On a volume that is read-only it stays.
    """
    aside = f"{name}.damaged-{uuid.uuid4().hex[:8]}"
    try:
        folder.move(name, folder, aside)
    except OSError as fault:
        log.warning("%s is damaged and cannot be set aside: %r", name, fault)
    else:
        log.warning("%s is damaged: set aside as %s", name, aside)


def to_json(content: JsonObject) -> bytes:
    """A member a line, as ``JsonByLine`` writes it."""
    return JsonByLine().dumps(content)
