"""Keeping many voices, each whatever becomes of the others."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from errors import StoreUnavailable, VoiceExists, WorkerError
from voice_store.live import Timing
from voice_store.parallel import map_in_processes
from voice_store.store import PutResult, VoiceStore
from voice_store.transfer.items import Arrival, Item


class Fate(Enum):
    ADDED = "added"
    ALREADY_THERE = "already there"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    says: which voice it is; for one that was left out, which item. warnings: sentences that say about what.
    fault: why it was left out.
    """

    fate: Fate
    says: str
    warnings: tuple[str, ...] = ()
    fault: WorkerError | None = None


def keep_all(items: Sequence[Item], root: Path, *, overwrite: bool, jobs: int) -> Iterator[Outcome]:
    """Puts the items into the store at ``root``, in ``jobs`` processes; the outcomes in their order."""
    try:
        yield from map_in_processes(functools.partial(_keep, root, overwrite), items, jobs)
    finally:
        with suppress(StoreUnavailable):  # each item has said so
            VoiceStore(root, Timing(settle_s=0)).list()  # brings the indexes up to date


def _keep(root: Path, overwrite: bool, item: Item) -> Outcome:
    store = _open_store(root)
    try:
        arrival = item.load()
        result = _put(store, item, arrival, overwrite)
    except WorkerError as fault:
        return Outcome(Fate.LEFT_OUT, item.label, fault=fault)
    voice = result.voice
    warnings = arrival.warnings
    if not result.has_name:
        warnings += (f'{item.label}: another worker has just stored another voice named "{voice.name}"',)
    fate = Fate.ADDED if result.created else Fate.ALREADY_THERE
    said_id = arrival.details.get("voice_id")
    now = voice.voice_id if said_id in (None, voice.voice_id) else f"{voice.voice_id}, was {said_id}"
    return Outcome(fate, f"{voice.name} ({now}), {voice.waveform.duration_s:.1f} s", warnings)


def _put(store: VoiceStore, item: Item, arrival: Arrival, overwrite: bool) -> PutResult:
    try:
        return store.put(arrival.waveform, item.name, overwrite=overwrite, **arrival.details)
    except VoiceExists:
        there = store.get(name=item.name)
        if there.digest == arrival.digest:  # the samples that the arriving ones were rounded from
            return PutResult(there, created=False)
        raise


@functools.lru_cache(maxsize=1)  # opened once in each process
def _open_store(root: Path) -> VoiceStore:
    return VoiceStore(root, Timing(indexes_at_once=False))
