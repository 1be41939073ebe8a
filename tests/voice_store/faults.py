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

from errors import WorkerError
from tests.voice_store.conftest import make_waveform
from tests.voice_store.interference import counting, failing, interfering, killing
from voice_store import VoiceStore
from voice_store.live import Timing

Found = dict[str, tuple[str, str | None]]

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EPERM, errno.EOPNOTSUPP)
AT_ONCE = Timing(settle_s=0)


@dataclass
class Row:
    """One line of the table."""

    what: str
    tried: int = 0
    acknowledged: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Change:
    """change: what is done to a store that ``prepare`` left. was, becomes: see ``found``."""

    name: str
    change: Callable[[VoiceStore], object]
    was: Found
    becomes: Found


def voice(seed: int, description: str | None = None) -> tuple[str, str | None]:
    return make_waveform(seed).digest(), description


def prepare(root: Path) -> None:
    store = VoiceStore(root, AT_ONCE)
    store.put(make_waveform(1), "Amy", description="calm")
    store.put(make_waveform(2), "Ben")


BEFORE = {"Amy": voice(1, "calm"), "Ben": voice(2)}
CHANGES = (
    Change("put", lambda store: store.put(make_waveform(3), "Cy"), BEFORE, BEFORE | {"Cy": voice(3)}),
    Change(
        "put, overwriting",
        lambda store: store.put(make_waveform(3), "Amy", overwrite=True),
        BEFORE,
        BEFORE | {"Amy": voice(3)},
    ),
    Change(
        "rename",
        lambda store: store.update(name="Amy", new_name="Zoë", description="lively"),
        BEFORE,
        {"Zoë": voice(1, "lively"), "Ben": voice(2)},
    ),
    Change("delete", lambda store: store.delete(name="Amy"), BEFORE, {"Ben": voice(2)}),
)


def found(root: Path) -> Found:
    """What a worker that starts now finds: digest and description by name. By id it must find the same."""
    store = VoiceStore(root, AT_ONCE)
    by_name = {}
    for listed in store.list():
        named = store.get(name=listed["speaker_name"])
        by_name[named.name] = named.digest, named.metadata["description"]
        assert store.get(voice_id=listed["voice_id"]).metadata == listed
    return by_name


def drop_indexes(root: Path) -> None:
    """Metadata of single voices stays: it alone holds what clone_voice was told besides the name."""
    for index in root.glob("*.json"):
        index.unlink()


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
    prepare(folder / "counted")
    note, seen = counting()
    store = VoiceStore(folder / "counted", AT_ONCE)
    with interfering(note):
        change.change(store)
    return seen


def roots(folder: Path) -> Iterator[Path]:
    """Copies of a prepared store, one after the other."""
    prepare(folder / "prepared")
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
    for step, root in zip([*steps, len(changes) + 1], roots(folder), strict=False):
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
    for step, root in zip(steps, roots(folder), strict=False):
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
