"""What is lost when a worker is killed at any step of a change, or a call fails at any step.

A change is acknowledged when the call returns; it is lost when a worker that starts afterwards, with the
indexes or without them, does not find what was acknowledged, by name or by id. A change that was not
acknowledged has happened or not, whole either way, and can be asked for again.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import WorkerError
from tests.voice_store.conftest import make_waveform
from tests.voice_store.interference import counting, failing, interfering, killing
from voice_store import VoiceStore
from voice_store.live import Timing

Known = tuple[str, dict[str, Any]]  # of a voice: the digest of its samples, and the details that it has
Found = dict[str, Known]

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EPERM, errno.EOPNOTSUPP)
AT_ONCE = Timing(settle_s=0)


@dataclass
class Row:
    """One line of the table."""

    what: str
    tried: int = 0
    acknowledged: int = 0
    lost: int = 0


DETAILS = ("description", "language", "tags", "default_parameters", "consent", "pronunciations")
FIRST_DETAILS = {
    "description": "calm",
    "consent": {"by": "Cy", "date": "2026-01-02", "statement": "My voice may be cloned."},
    "pronunciations": [{"text": "Nguyen", "say": "win", "case_sensitive": False, "whole_word": True}],
    "tags": ["narration"],
}
OTHER_DETAILS = {
    "description": "lively",
    "consent": {"by": "Amy", "date": "2026-03-04", "statement": "Agreed."},
    "pronunciations": [{"text": "SQL", "say": "sequel", "case_sensitive": True, "whole_word": True}],
    "default_parameters": {"exaggeration": 0.7},
}


def voice(seed: int, **details: Any) -> Known:
    return make_waveform(seed).digest(), details


def prepare(root: Path) -> None:
    store = VoiceStore(root, AT_ONCE)
    store.put(make_waveform(1), "Amy", description="calm")
    store.put(make_waveform(2), "Ben")


def prepare_half_replaced(root: Path) -> None:
    """A worker died once its voice had replaced another one, whose file is still there."""
    prepare(root)
    child = os.fork()
    if child == 0:
        link, unlink = os.link, os.unlink

        def links(source: str, target: str, **options: Any) -> None:
            link(source, target, **options)
            if target.endswith(".pkl.gz"):
                os.unlink = lambda *_, **__: os._exit(9)

        os.link = links
        VoiceStore(root, AT_ONCE).put(make_waveform(3), "Amy", overwrite=True)
        os.unlink = unlink
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, (
        "it replaced the voice without a file going"
    )


@dataclass(frozen=True)
class Change:
    """change: what is done to a store that ``prepare`` left. was, becomes: see ``found``."""

    name: str
    change: Callable[[VoiceStore], object]
    was: Found
    becomes: Found
    prepare: Callable[[Path], None] = prepare


BEFORE = {"Amy": voice(1, description="calm"), "Ben": voice(2)}
CHANGES = (
    Change(
        "put, with details",
        lambda store: store.put(make_waveform(3), "Cy", **FIRST_DETAILS),
        BEFORE,
        BEFORE | {"Cy": voice(3, **FIRST_DETAILS)},
    ),
    Change(
        "put, overwriting",
        lambda store: store.put(make_waveform(3), "Amy", overwrite=True),
        BEFORE,
        BEFORE | {"Amy": voice(3)},
    ),
    Change(
        "update of name and details",
        lambda store: store.update(name="Amy", new_name="Zoë", **OTHER_DETAILS),
        BEFORE,
        {"Zoë": voice(1, **OTHER_DETAILS), "Ben": voice(2)},
    ),
    Change("delete", lambda store: store.delete(name="Amy"), BEFORE, {"Ben": voice(2)}),
    Change(
        "delete, of one that has half replaced another",
        lambda store: store.delete(name="Amy"),
        BEFORE | {"Amy": voice(3)},
        {"Ben": voice(2)},
        prepare_half_replaced,
    ),
)


def found(root: Path) -> Found:
    """What a worker that starts now finds: digest and details by name. By id it must find the same."""
    store = VoiceStore(root, AT_ONCE)
    by_name = {}
    for listed in store.list():
        named = store.get(name=listed["speaker_name"])
        details = {key: named.metadata[key] for key in DETAILS if named.metadata[key]}
        by_name[named.name] = named.digest, details
        assert store.get(voice_id=listed["voice_id"]).metadata == listed
    return by_name


def drop_indexes(root: Path) -> None:
    """The metadata of single voices, too: the files of voices say what clone_voice was told."""
    for index in root.glob("*.json"):
        index.unlink()
    shutil.rmtree(root / "metadata", ignore_errors=True)


def is_intact(root: Path, change: Change, *, acknowledged: bool) -> bool:
    """Whether all of the change has happened or, unless it was acknowledged, none of it, but still can."""
    allowed = [change.becomes] if acknowledged else [change.was, change.becomes]
    outcome = found(root)
    drop_indexes(root)
    if outcome not in allowed or found(root) != outcome:
        return False
    if outcome == change.becomes:
        return True
    change.change(VoiceStore(root, AT_ONCE))
    return found(root) == change.becomes


def steps_of(change: Change, folder: Path) -> list[bool]:
    """Each step of a change: whether it changes the volume."""
    change.prepare(folder / "counted")
    note, seen = counting()
    store = VoiceStore(folder / "counted", AT_ONCE)
    with interfering(note):
        change.change(store)
    return seen


def roots(change: Change, folder: Path) -> Iterator[Path]:
    """Copies of a store that is prepared for a change, one after the other."""
    change.prepare(folder / "prepared")
    for number in range(100_000):
        root = folder / str(number)
        shutil.copytree(folder / "prepared", root)
        yield root
        shutil.rmtree(root)


def kill_at_every_step(change: Change, folder: Path) -> Row:
    """Every step that changes the volume, and after the last; half of what it was to write is written.

    A kill at a step that only reads leaves what a kill at the next step leaves.
    """
    row = Row(f"kill -9 at every step: {change.name}")
    changes = steps_of(change, folder)
    steps = [step for step, does in enumerate(changes, start=1) if does]
    for step, root in zip([*steps, len(changes) + 1], roots(change, folder), strict=False):
        child = os.fork()
        if child == 0:
            store = VoiceStore(root, AT_ONCE)
            with interfering(killing(step)):
                change.change(store)
            os._exit(0)
        acknowledged = os.waitpid(child, 0)[1] == 0
        row.tried += 1
        row.acknowledged += acknowledged
        row.lost += not is_intact(root, change, acknowledged=acknowledged)
    return row


def fail_at_every_step(change: Change, code: int, folder: Path, *, from_then_on: bool, every: int = 1) -> Row:
    """Each step, or each ``every``-th; only then, or then and whenever something is to be written later."""
    row = Row(f"{errno.errorcode[code]} at every step{' and from then on' * from_then_on}: {change.name}")
    steps = range(1 + code % every, len(steps_of(change, folder)) + 1, every)
    for step, root in zip(steps, roots(change, folder), strict=False):
        store = VoiceStore(root, AT_ONCE)
        acknowledged = True
        try:
            with interfering(failing(code, step, from_then_on=from_then_on)):
                change.change(store)
        except WorkerError:  # anything else is a bug, and ends this
            acknowledged = False
        row.tried += 1
        row.acknowledged += acknowledged
        row.lost += not is_intact(root, change, acknowledged=acknowledged)
    return row
