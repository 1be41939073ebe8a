"""What goes from the folder for audio, and when.

Records of finished jobs and what killed writers left go after a day; audio goes after the hours that its mark
names. Any number of workers may sweep one folder at the same time, beside jobs that write there. Only files
that the worker wrote are touched: records by how they begin, audio by its mark, the rest by its name.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time

from delivery.spill import Spill
from voice_store.files import NotAPlainFileError

LIFE_S = 24 * 3600  # of all but audio: as long as the platform keeps a job whose policy says nothing else
PAUSE_S = 3600  # between sweeps
BUSY_PAUSE_S = 60  # after one that removed much: there may be more
MAX_FILES = 1000  # of a kind, that one sweep looks at

_RECORD_NAME = re.compile(r"[A-Za-z0-9_-]{1,120}\.json")
# As ``ResultRecords`` writes them, and did when they had text; complete or not.
_RECORD_HEAD = re.compile(rb'\{"input": "[0-9a-f]{64}", "reply": \{')
_RECORD_HEAD_BYTES = 128
_AUDIO_NAME = re.compile(r"[A-Za-z0-9_-]{1,120}(?:\.[0-9]{4,9})?\.(?!json)[a-z0-9]{2,8}")
_TEMPORARY = re.compile(r"\.{1,2}[A-Za-z0-9_-].*\.[0-9a-f]{32}\.tmp")
_HOURS = re.compile(rb"[1-9][0-9]{0,4}")

log = logging.getLogger(__name__)


def start_sweeping(spill: Spill) -> None:
    """Sweeps now and every ``PAUSE_S``, in a thread of its own, until the process ends."""

    def sweep_for_ever() -> None:
        while True:
            count = 0
            try:
                count = sweep(spill)
            except Exception as error:  # of a volume that is gone or cannot be written; the next one may work
                log.warning("the folder for audio on the volume cannot be swept: %r", error)
            time.sleep(BUSY_PAUSE_S if count >= MAX_FILES // 2 else PAUSE_S)

    threading.Thread(target=sweep_for_ever, name="sweeping", daemon=True).start()


def sweep(spill: Spill) -> int:
    """Removes what is due, and returns the number of files. Raises OSError, StoreUnavailable.

    One sweep looks at ``MAX_FILES`` files of a kind at most, chosen at random: in a folder with more, several
    sweeps and several workers share the work.
    """
    spill.check_mount()
    names, marks = spill.files.names(), spill.marks.names()
    records = [name for name in names if _RECORD_NAME.fullmatch(name)]
    count = sum(_sweep_record(spill, name) for name in _some(records))
    for folder, found in ((spill.files, names), (spill.marks, marks)):
        leftovers = [name for name in found if _TEMPORARY.fullmatch(name)]
        count += sum(folder.remove_older(name, LIFE_S) for name in _some(leftovers))
    if spill.audio_retention_h:
        marks = [name for name in marks if _AUDIO_NAME.fullmatch(name)]
        count += sum(_sweep_audio(spill, name) for name in _some(marks))
    if count:
        log.info("swept %d files from the folder for audio on the volume", count)
    return count


def _some(names: list[str]) -> list[str]:
    return random.sample(names, min(len(names), MAX_FILES))


def _sweep_record(spill: Spill, name: str) -> bool:
    """Removes a record that is due; returns whether it did."""
    if not spill.files.is_older(name, LIFE_S):
        return False
    try:
        if not _RECORD_HEAD.match(spill.files.read_head(name, _RECORD_HEAD_BYTES)):
            return False
    except (FileNotFoundError, NotAPlainFileError, PermissionError):  # gone meanwhile; not the worker's
        return False
    return spill.files.remove_older(name, LIFE_S)


def _sweep_audio(spill: Spill, name: str) -> bool:
    """Removes the audio that a mark names, and the mark, once they are due; returns whether audio went."""
    try:
        hours = spill.marks.read(name, 16)
    except (FileNotFoundError, NotAPlainFileError):
        return False
    if not _HOURS.fullmatch(hours):
        return False
    life_s = int(hours) * 3600
    is_removed = spill.files.remove_older(name, life_s)
    if is_removed or not spill.files.has(name):
        # A new mark stays: audio of the same job is about to be written.
        spill.marks.remove_older(name, life_s)
    return is_removed
