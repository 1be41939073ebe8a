"""JSON objects in files that any program may have written, and not all of them at once."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from voice_store.files import Folder, NotAPlainFileError, Stamp

log = logging.getLogger(__name__)

_REREAD_AFTER_S = 0.2
_SETTLED_AFTER_S = 2.0

JsonObject = dict[str, Any]


class DamagedJsonError(Exception):
    """The file is no JSON object, or not a plain file of a sensible size."""


def parse_object(folder: Folder, name: str, max_bytes: int, *, is_ours: bool = False) -> JsonObject | None:
    """The object in a JSON file; None when there is no file. Raises DamagedJsonError, OSError.

    is_ours: only programs like this one write such files. Older programs write theirs in place: what does not
    parse and is new is looked at again a moment later.
    """
    is_last_look = is_ours
    while True:
        try:
            # Not by orjson: it refuses NaN and halves of surrogates, and rounds large integers.
            content = json.loads(folder.read(name, max_bytes))
            if isinstance(content, dict):
                return content
            fault: Exception | None = None
        except FileNotFoundError:
            return None
        except (NotAPlainFileError, ValueError, RecursionError) as caught:
            fault = caught
        if is_last_look or not folder.is_fresh(name, _SETTLED_AFTER_S):
            raise DamagedJsonError(name) from fault
        time.sleep(_REREAD_AFTER_S)
        is_last_look = True


def read_object(folder: Folder, name: str, max_bytes: int, *, is_ours: bool = False) -> JsonObject:
    """As ``parse_object``, but empty for a file that is damaged or not there. Raises OSError."""
    try:
        return parse_object(folder, name, max_bytes, is_ours=is_ours) or {}
    except DamagedJsonError:
        log.warning("%s is damaged", name)
        return {}


def is_damaged(folder: Folder, name: str, max_bytes: int) -> bool:
    """Whether a file is there and holds no JSON object. Raises OSError."""
    try:
        parse_object(folder, name, max_bytes)
    except DamagedJsonError:
        return True
    return False


def to_json(content: Mapping[str, Any]) -> bytes:
    """ASCII, so that a reader's locale does not matter, with a member a line.

    Indented further, what other programs nest deeply would grow with every level. Raises RecursionError.
    """
    members = b",\n".join([_member(key, value) for key, value in content.items()])
    return b"{\n" + members + b"\n}\n" if members else b"{}\n"


def _member(key: str, value: object) -> bytes:
    # orjson is ten times as fast, but knows neither ASCII alone, nor large integers, nor NaN, which it would
    # write as null: then, and for a null, the standard library is asked.
    try:
        text = orjson.dumps({key: value})
    except TypeError:
        text = b"null"
    if not text.isascii() or b"null" in text:
        text = json.dumps({key: value}).encode()
    return text[1:-1]


class IndexFile:
    """An index of the store: a JSON file that other programs exchange too, and what was last seen in it.

    content: the object, as of the last ``read`` or ``write``; empty while there is none.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.content: JsonObject = {}
        self.name = name
        self._folder = folder
        self._stamp: Stamp | None = None  # as of the content
        self._is_known = False
        self._may_be_written = True
        self._max_bytes = 0  # as of the last ``read``

    def has_changed(self) -> bool:
        """Whether the file is another one than the one last read or written. Raises OSError.

        Not of one that could not be read: it is not written either, so that nothing is to be done about it.
        """
        is_other = not self._is_known or self._folder.stamp_of(self.name) != self._stamp
        return self._may_be_written and is_other

    def read(self, max_bytes: int) -> None:
        """Reads the file where it has changed. What is damaged, or larger, is set aside.

        The voices can be served without an index that cannot be read; but what was not read is not replaced.
        """
        self._max_bytes = max_bytes
        try:
            if self._may_be_written and not self.has_changed():
                return
            stamp = self._folder.stamp_of(self.name)
            content = parse_object(self._folder, self.name, max_bytes)
        except DamagedJsonError:
            self._set_aside()
            stamp, content = None, None
        except OSError as fault:
            log.warning("index %s not read: %r", self.name, fault)
            self.content, self._may_be_written = {}, False
            return
        self.content, self._stamp = content or {}, stamp
        self._is_known = self._may_be_written = True

    def write(self, content: JsonObject) -> bool:
        """Exchanges the file, and returns True; False where nothing was to be done or can be.

        More than ``read`` would take is not written, which is logged. Raises OSError, RecursionError.
        """
        if not self._may_be_written or (content == self.content and self._stamp is not None):
            return False
        data = to_json(content)
        if len(data) > self._max_bytes:
            log.warning(
                "index %s not written: with what other programs keep there it is too large", self.name
            )
            return False
        self._stamp = self._folder.replace(self.name, data)
        self.content = content
        return True

    def _set_aside(self) -> None:
        """Renames what is in the way, since keys of other programs may still be in it.

        On a volume that is read-only it stays.
        """
        aside = f"{self.name}.damaged-{uuid.uuid4().hex[:8]}"
        try:
            self._folder.move(self.name, self._folder, aside)
        except OSError as fault:
            log.warning("%s is damaged and cannot be set aside: %r", self.name, fault)
        else:
            log.warning("%s is damaged: set aside as %s", self.name, aside)
