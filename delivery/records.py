"""Idempotency records: what is known of jobs whose audio lies outside of their replies.

The platform may hand a job out again, under the same id; with its record it is not done again. A record
holds a digest of the job's input, where the audio is, and numbers of the receipt: no text.
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


# What a record has of a receipt: nothing that the caller wrote, and nothing that people are called.
_FACTS = (
    *("format", "sample_rate", "duration", "source_duration", "mode", "seed", "model", "parameters"),
    *("metrics", "worker"),
)
_FACTS_OF_SEGMENTS = ("language", "turn", "takes", "start", "end")
# What was asked for and is made of words: a reply without it is none.
_WORDED = ("words", "subtitles")
NOT_KEPT = (
    "this job was done before, and its audio was not made again: what the first reply said in words, in "
    "segments and warnings, was not kept"
)


@dataclass(frozen=True)
class Record:
    """What is known of a finished job."""

    reply: dict[str, Any]  # as ``without_text`` leaves it, without where the audio is
    file: str | None  # name of the audio's file on the volume; None when it is in a bucket
    key: str | None  # key of the audio in the bucket; None when it is on the volume


class ResultRecords:
    """Records beside the audio on the volume. Without its record a job is done again."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill

    def write(self, job_id: str, job_input: Mapping[str, Any], record: Record) -> None:
        """Writes the record, without text; logs it when the volume does not take it.

        A job whose reply has words or subtitles gets no record: it could not be answered from one.
        """
        if any(name in record.reply for name in _WORDED):
            return
        content = {
            "input": _digest(job_input),
            "reply": without_text(record.reply),
            "file": record.file,
            "key": record.key,
        }
        try:
            self._spill.write(f"{self._spill.stem(job_id)}.json", json.dumps(content).encode())
        except (OSError, StoreUnavailable):
            log.warning("a repetition of this job would be done again: no record can be kept", exc_info=True)

    def find(self, job_id: str, job_input: Mapping[str, Any]) -> Record | None:
        """Returns the record; None for a job that is new, or has another input than it had then.

        Also None once its audio on the volume is gone. Audio that is there is swept as if it had been
        written now: the path in the reply works for as long as that of a new one.
        """
        try:
            content = json.loads(self._spill.read(f"{self._spill.stem(job_id)}.json", MAX_RECORD_BYTES))
            if content["input"] != _digest(job_input):
                return None
            reply, file, key = dict(content["reply"]), content["file"], content["key"]
            if any(name in reply for name in _WORDED):  # of a version that kept them
                return None
            if isinstance(file, str) and self._spill.renew(file):
                return Record(without_text(reply), file, None)
        except (OSError, NotAPlainFileError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return Record(without_text(reply), None, key) if file is None and isinstance(key, str) else None


def without_text(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a record has of a reply. Takes anything for the reply's values."""
    facts = {name: reply[name] for name in _FACTS if name in reply}
    if "voice" in reply:
        voice = reply["voice"]
        is_stored = isinstance(voice, Mapping)
        facts["voice"] = {"voice_id": voice.get("voice_id"), "voice_name": None} if is_stored else None
    segments = reply.get("segments")
    facts["segments"] = [
        {name: segment[name] for name in _FACTS_OF_SEGMENTS if name in segment}
        for segment in (segments if isinstance(segments, list) else [])
        if isinstance(segment, Mapping)
    ]
    return {**facts, "warnings": [NOT_KEPT]}


def _digest(job_input: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(job_input, sort_keys=True).encode()).hexdigest()
