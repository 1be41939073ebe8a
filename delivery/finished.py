"""What became of jobs whose audio lies outside of their reply: the platform may hand a job out again."""

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
class Finished:
    """reply: as it was given, without where the audio is. file, key: where it is; one of them is None."""

    reply: dict[str, Any]
    file: str | None
    key: str | None


class FinishedJobs:
    """Records beside the audio on the volume; one that is lost or damaged costs no more than doing the job
    again."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill

    def remember(self, job_id: str, job_input: Mapping[str, Any], finished: Finished) -> None:
        record = {
            "input": _digest(job_input),
            "reply": finished.reply,
            "file": finished.file,
            "key": finished.key,
        }
        try:
            self._spill.write(f"{self._spill.stem(job_id)}.json", json.dumps(record).encode())
        except (OSError, StoreUnavailable):
            log.warning("a repetition of this job would be done again: no record can be kept", exc_info=True)

    def find(self, job_id: str, job_input: Mapping[str, Any]) -> Finished | None:
        """None for a job that is new, or has another input than it had then."""
        try:
            record = json.loads(self._spill.read(f"{self._spill.stem(job_id)}.json", MAX_RECORD_BYTES))
            if record["input"] != _digest(job_input):
                return None
            found = Finished(dict(record["reply"]), record["file"], record["key"])
        except (OSError, NotAPlainFileError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if found.file is not None and not (isinstance(found.file, str) and self._spill.has(found.file)):
            return None
        return found if isinstance(found.file, str) or isinstance(found.key, str) else None


def _digest(job_input: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(job_input, sort_keys=True).encode()).hexdigest()
