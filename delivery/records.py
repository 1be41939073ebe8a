"""Idempotency records: the replies of jobs whose audio lies outside of them.

The platform may hand a job out again, under the same id; with its record it is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from delivery.spill import Spill
from errors import StoreUnavailable
from voice_store.files import NotAPlainFileError

MAX_RECORD_BYTES = 2**20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """The reply of a finished job."""

    reply: dict[str, Any]  # as it was given, without where the audio is
    file: str | None  # name of the audio's file on the volume; None when it is in a bucket
    key: str | None  # key of the audio in the bucket; None when it is on the volume


class ResultRecords:
    """Records beside the audio on the volume. Without its record a job is done again."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill

    def write(self, job_id: str, job_input: Mapping[str, Any], record: Record) -> None:
        """Keeps the record; logs it when the volume does not take it."""
        content = {
            "input": _digest(job_input),
            "reply": record.reply,
            "file": record.file,
            "key": record.key,
        }
        try:
            self._spill.write(f"{self._spill.stem(job_id)}.json", json.dumps(content).encode())
        except (OSError, StoreUnavailable):
            log.warning("a repetition of this job would be done again: no record can be kept", exc_info=True)

    def find(self, job_id: str, job_input: Mapping[str, Any]) -> Record | None:
        """Returns the record; None for a job that is new, or has another input than it had then."""
        try:
            content = json.loads(self._spill.read(f"{self._spill.stem(job_id)}.json", MAX_RECORD_BYTES))
            if content["input"] != _digest(job_input):
                return None
            found = Record(dict(content["reply"]), content["file"], content["key"])
        except (OSError, NotAPlainFileError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if found.file is not None and not (isinstance(found.file, str) and self._spill.has(found.file)):
            return None
        return found if isinstance(found.file, str) or isinstance(found.key, str) else None


def _digest(job_input: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(job_input, sort_keys=True).encode()).hexdigest()
