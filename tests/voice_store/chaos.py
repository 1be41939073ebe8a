"""Several workers at random work on one store, each killed at a random step, round after round.

Each works on voices of its own, so that what must be there is known for every one of them: all that was
acknowledged, and either all or nothing of the change in which it was killed.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from errors import WorkerError
from tests.voice_store.conftest import make_waveform
from tests.voice_store.crowd import clone_plainly
from tests.voice_store.faults import AT_ONCE, Row, drop_indexes
from tests.voice_store.interference import interfering, killing
from voice_store import VoiceStore

WORKERS = 4
CHANGES = 12
STEPS = 1_200  # about what that many changes take

State = dict[str, tuple[str, str | None]]  # by name: digest and description
Say = Callable[[object], None]


def _work(number: int, seed: int, store: VoiceStore, state: State, say: Say) -> None:
    """Changes voices at random; says what the state will be before each change, and "done" after it."""
    dice = random.Random(seed)
    for turn in range(CHANGES):
        names = sorted(state)
        kind = dice.choice(["put", "put", "overwrite", "rename", "describe", "delete"]) if names else "put"
        name = dice.choice(names) if names else ""
        new_name = f"voice {number} {seed} {turn}"
        waveform, description = make_waveform(1000 * seed + turn), f"{kind} {seed} {turn}"
        after = dict(state)
        if kind == "put":
            after[new_name] = waveform.digest(), description
        elif kind == "overwrite":
            after[name] = waveform.digest(), description
        elif kind == "describe":
            after[name] = state[name][0], description
        else:
            del after[name]
            if kind == "rename":
                after[new_name] = state[name]
        say(after)
        if kind in ("put", "overwrite"):
            target = new_name if kind == "put" else name
            store.put(waveform, target, description=description, overwrite=kind == "overwrite")
        elif kind == "delete":
            store.delete(name=name)
        elif kind == "rename":
            store.update(name=name, new_name=new_name)
        else:
            store.update(name=name, description=description)
        say("done")
        state = after


def _start(number: int, seed: int, root: Path, state: State) -> tuple[int, int]:
    """The process and the pipe on which it says what it does."""
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return process, reader
    write, store = os.write, VoiceStore(root)
    with interfering(killing(random.Random(seed).randrange(1, STEPS))):
        _work(number, seed, store, state, lambda said: write(writer, (json.dumps(said) + "\n").encode()))
    os._exit(0)


def kill_at_random(folder: Path, *, rounds: int, seed: int = 0) -> Row:
    root = folder / "store"
    row = Row(f"{WORKERS} workers killed at random, {rounds} times, beside an older program")
    states: list[State] = [{} for _ in range(WORKERS)]
    (root / "embeddings").mkdir(parents=True)
    for turn in range(rounds):
        seeds = [1 + (seed * rounds + turn) * WORKERS + number for number in range(WORKERS)]
        started = [_start(number, seeds[number], root, states[number]) for number in range(WORKERS)]
        if turn == 0:
            old = clone_plainly(10_000, root)
        for number, (process, reader) in enumerate(started):
            with os.fdopen(reader) as pipe:
                said = [json.loads(line) for line in pipe]
            os.waitpid(process, 0)
            states[number], acknowledged = _check(number, said, states[number], root, row)
            row.tried += len(said) - acknowledged
            row.acknowledged += acknowledged
    found = _found(root)
    row.lost += sum(name not in found for name, _ in old)
    return row


def _check(number: int, said: list, state: State, root: Path, row: Row) -> tuple[State, int]:
    """The state that the worker left, and how many of its changes were acknowledged."""
    pending = None
    for line in said:
        if line == "done":
            state, pending = pending, None
        else:
            pending = {name: tuple(voice) for name, voice in line.items()}
    drop_indexes(root)
    outcome = {name: voice for name, voice in _found(root).items() if name.startswith(f"voice {number} ")}
    if outcome not in [state, pending]:
        row.lost += 1
    return outcome, said.count("done")


def _found(root: Path) -> State:
    store = VoiceStore(root, AT_ONCE)
    voices = {}
    for listed in store.list():
        try:
            named = store.get(name=listed["speaker_name"])
        except WorkerError:
            continue
        voices[named.name] = named.digest, named.metadata["description"]
    return voices
