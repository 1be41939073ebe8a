"""One of the store's indexes: a JSON file that others exchange too, and the object last seen in it."""

from __future__ import annotations

import logging

from voice_store.files import Folder, Stamp
from voice_store.json_by_line import JsonByLine
from voice_store.json_files import DamagedJsonError, JsonObject, parse_object, set_aside

log = logging.getLogger(__name__)


class IndexFile:
    """content: what is in the file, as of the last ``read`` or ``write``; empty while there is none.

    It is written with a member a line: indented, what other programs nest deeply would grow with every level.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.content: JsonObject = {}
        self.name = name
        self._folder = folder
        self._stamp: Stamp | None = None  # as of the content
        self._is_known = False
        self._may_be_written = True
        self._max_bytes = 0  # as of the last ``read``
        self._json = JsonByLine()

    def has_changed(self) -> bool:
        """Whether the file is another one than the one last read or written. Raises OSError."""
        return not self._is_known or self._folder.stamp_of(self.name) != self._stamp

    def read(self, max_bytes: int) -> None:
        """Reads the file where it has changed. What is damaged, or larger, is set aside.

        The voices can be served without an index that cannot be read; but what was not read is not replaced.
        """
        self._max_bytes = max_bytes
        try:
            if not self.has_changed():
                return
            stamp = self._folder.stamp_of(self.name)
            content = parse_object(self._folder, self.name, max_bytes, self._json.loads)
        except DamagedJsonError:
            set_aside(self._folder, self.name)
            stamp, content = None, None
        except OSError as fault:
            log.warning("index %s not read: %r", self.name, fault)
            self.content, self._is_known, self._may_be_written = {}, False, False
            return
        self.content, self._stamp = content or {}, stamp
        self._is_known = self._may_be_written = True

    def write(self, content: JsonObject) -> bool:
        """Exchanges the file, and returns True; False where nothing was to be done or can be.

        More than ``read`` would take is not written, which is logged. Raises OSError.
        """
        if not self._may_be_written or (content == self.content and self._stamp is not None):
            return False
        data = self._json.dumps(content)
        if len(data) > self._max_bytes:
            log.warning(
                "index %s not written: with what other programs keep there it is too large", self.name
            )
            return False
        self._stamp = self._folder.replace(self.name, data)
        self.content = content
        return True
