"""Everything that faults.py, crowd.py and chaos.py try, in full, as a table.

    python -m tests.voice_store.fault_table [--folder DIR] [--rounds 100] [--crowds 30]

Exits 1 if anything that was acknowledged is lost. The plain way, last, is there for comparison and does not
count: it shows that a loss is seen.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.voice_store import chaos, crowd, faults
from tests.voice_store.faults import CHANGES, ERRORS, Row


def trials(rounds: int, crowds: int) -> Iterator[Callable[[Path], Row]]:
    for change in CHANGES:
        yield partial(faults.kill_at_every_step, change)
    for from_then_on in (False, True):
        for code in ERRORS:
            for change in CHANGES:
                yield partial(faults.fail_at_every_step, change, code, from_then_on=from_then_on)
    yield partial(chaos.kill_at_random, rounds=rounds)
    for has_locks in (True, False):
        for deletes in (False, True):
            yield partial(crowd.clone_beside_killed, rounds=crowds, has_locks=has_locks, deletes=deletes)
    yield crowd.clone_at_once
    yield partial(crowd.clone_at_once, has_locks=False)
    yield partial(crowd.clone_at_once, has_links=False)
    yield crowd.clone_beside_old_programs
    yield crowd.clone_into_taken_ids
    yield crowd.clone_one_recording
    yield partial(crowd.clone_one_recording, has_links=False)
    yield crowd.clone_under_one_name
    yield crowd.change_one_voice


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.voice_store.fault_table")
    parser.add_argument(
        "--folder", type=Path, help="on the volume to try (default: the system's temporary one)"
    )
    parser.add_argument("--rounds", type=int, default=100, help="of killing at random")
    parser.add_argument("--crowds", type=int, default=30, help="of clones beside workers that are killed")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{'what':75} {'tried':>7} {'acknowledged':>12} {'lost':>5}")
    total = Row("all of these")
    for trial in trials(options.rounds, options.crowds):
        row = _try(trial, options.folder)
        total.tried += row.tried
        total.acknowledged += row.acknowledged
        total.lost += row.lost
    _show(total)
    _try(crowd.clone_plainly_at_once, options.folder)
    return 1 if total.lost else 0


def _show(row: Row) -> None:
    print(f"{row.what:75} {row.tried:7} {row.acknowledged:12} {row.lost:5}", flush=True)


def _try(trial: Callable[[Path], Row], folder: Path | None) -> Row:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        row = trial(Path(scratch))
    _show(row)
    return row


if __name__ == "__main__":
    sys.exit(main())
