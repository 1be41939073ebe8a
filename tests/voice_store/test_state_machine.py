"""Any sequence of what workers, older programs and crashes do, against a plain dict of what must be there."""

from __future__ import annotations

import functools
import gzip
import json
import os
import pickle
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from errors import VoiceExists, VoiceNotFound
from tests.voice_store.conftest import make_waveform as make_any_waveform
from tests.voice_store.interference import CrashError, interfering
from voice_store import VoiceStore
from voice_store.live import Timing
from voice_store.names import fold_name

NAMES = st.sampled_from(["Amy", "AMY", "Ben", "小明", "Zoë", "Zoe\u0308"])
SEEDS = st.integers(0, 4)
WORKERS = st.integers(0, 1)
STEPS = st.integers(1, 60)
INDEXES = st.sampled_from(["voice_catalog.json", "name_mapping.json", "stats.json", "metadata"])
JUNK = st.sampled_from([b"", b"{", b"[]", b"\xff", b"null", b'{"a": 1}', None])

make_waveform = functools.cache(functools.partial(make_any_waveform, duration_s=0.01))


def crashing(at_step: int) -> Callable[..., Any]:
    def crash(step: int, name: str, call: Callable[..., Any], arguments: tuple, options: dict) -> Any:
        if step >= at_step:
            raise CrashError
        return call(*arguments, **options)

    return crash


class StoreMachine(RuleBasedStateMachine):
    """voices: what must be there, by id: name, digest, description as it was changed last."""

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp()) / "store"
        self.voices: dict[str, tuple[str, str, str | None]] = {}
        self.workers = [self.new_worker(), self.new_worker()]
        self.former: dict[str, set[str]] = {}  # what voices may have been called before, by id
        self.old_indexes: dict[str, bytes] = {}
        self.added = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root.parent)

    def new_worker(self) -> VoiceStore:
        return VoiceStore(self.root, Timing(settle_s=0))

    def named(self, name: str) -> str | None:
        return next(
            (key for key, voice in self.voices.items() if fold_name(voice[0]) == fold_name(name)), None
        )

    @rule(worker=WORKERS, name=NAMES, seed=SEEDS, overwrite=st.booleans())
    def put(self, worker: int, name: str, seed: int, overwrite: bool) -> None:
        there, digest = self.named(name), make_waveform(seed).digest()
        try:
            result = self.workers[worker].put(make_waveform(seed), name, overwrite=overwrite)
        except VoiceExists:
            assert not overwrite
            assert there is not None
            assert self.voices[there][1] != digest
            return
        if there is not None and self.voices[there][1] == digest:
            assert (result.voice.voice_id, result.created) == (there, False)
            return
        assert result.created
        assert there is None or overwrite
        self.voices.pop(there, None)
        self.voices[result.voice.voice_id] = result.voice.name, digest, None

    @rule(worker=WORKERS, name=NAMES, new_name=NAMES, description=st.sampled_from([None, "", "calm", "warm"]))
    def update(self, worker: int, name: str, new_name: str, description: str | None) -> None:
        there, taken = self.named(name), self.named(new_name)
        try:
            metadata = self.workers[worker].update(name=name, new_name=new_name, description=description)
        except VoiceNotFound:
            assert there is None
        except VoiceExists:
            assert there is not None
            assert taken not in (None, there)
        else:
            if there is None:  # done before
                assert metadata["voice_id"] == taken
                assert fold_name(name) in self.former[taken]
                there = taken
            assert taken in (None, there)
            self.former.setdefault(there, set()).add(fold_name(name))
            _, digest, before = self.voices[there]
            after = before if description is None else description or None
            assert metadata["description"] == after
            self.voices[there] = metadata["speaker_name"], digest, after

    @rule(worker=WORKERS, name=NAMES, by_id=st.booleans())
    def delete(self, worker: int, name: str, by_id: bool) -> None:
        there = self.named(name)
        key = {"voice_id": there} if by_id and there else {"name": name}
        try:
            result = self.workers[worker].delete(**key)
        except VoiceNotFound:
            assert there is None
            return
        assert result.deleted == (there is not None)
        if there is not None:
            assert result.voice_id == there
            del self.voices[there]

    @rule(worker=WORKERS, step=STEPS, name=NAMES, seed=SEEDS)
    def crash_in_put(self, worker: int, step: int, name: str, seed: int) -> None:
        there, digest = self.named(name), make_waveform(seed).digest()
        is_there_already = there is not None and self.voices[there][1] == digest
        after = self.voices[there] if is_there_already else (unicodedata.normalize("NFC", name), digest, None)
        self.crash(
            worker, step, name, after, lambda store: store.put(make_waveform(seed), name, overwrite=True)
        )

    @rule(worker=WORKERS, step=STEPS, name=NAMES, new_name=NAMES)
    def crash_in_update(self, worker: int, step: int, name: str, new_name: str) -> None:
        there = self.named(name)
        after = (unicodedata.normalize("NFC", new_name), *self.voices[there][1:]) if there else None
        self.crash(worker, step, name, after, lambda store: store.update(name=name, new_name=new_name))

    @rule(worker=WORKERS, step=STEPS, name=NAMES)
    def crash_in_delete(self, worker: int, step: int, name: str) -> None:
        self.crash(worker, step, name, None, lambda store: store.delete(name=name))

    def crash(
        self,
        worker: int,
        step: int,
        name: str,
        after: tuple[str, str, str | None] | None,
        change: Callable[[VoiceStore], object],
    ) -> None:
        """The voice of that name is as it was, or all of it is as it would be after; no other is touched."""
        there = self.named(name)
        others = {key: voice for key, voice in self.voices.items() if key != there}
        with suppress(CrashError, VoiceExists, VoiceNotFound), interfering(crashing(step)):
            change(self.workers[worker])
        self.workers[worker] = self.new_worker()
        found = self.found()
        assert others.items() <= found.items()
        for key in found:
            self.former.setdefault(key, set()).add(fold_name(name))
        concerned = [voice for key, voice in found.items() if key not in others]
        before = [self.voices[there]] if there else []
        assert concerned in (before, [after] if after else [])
        self.voices = found

    @rule(worker=WORKERS)
    def restart(self, worker: int) -> None:
        self.workers[worker] = self.new_worker()

    @rule(index=INDEXES, junk=JUNK)
    def damage_an_index(self, index: str, junk: bytes | None) -> None:
        path = self.root / index
        paths = sorted(path.glob("*.json")) if path.is_dir() else [path] if path.exists() else []
        for found in paths:
            found.unlink() if junk is None else found.write_bytes(junk)

    @rule()
    def remember_indexes(self) -> None:
        self.old_indexes = {path.name: path.read_bytes() for path in self.root.glob("*.json")}

    @precondition(lambda self: self.old_indexes)
    @rule()
    def write_old_indexes_back(self) -> None:
        for name, content in self.old_indexes.items():
            (self.root / name).write_bytes(content)

    @rule(seed=SEEDS, with_indexes=st.booleans())
    def older_program_adds(self, seed: int, with_indexes: bool) -> None:
        self.added += 1
        voice_id, name = f"old_{self.added}", f"older {self.added}"
        (self.root / "embeddings").mkdir(parents=True, exist_ok=True)
        content = {"audio": make_waveform(seed).samples, "sample_rate": 24_000, "voice_name": name}
        with gzip.open(self.root / "embeddings" / f"{voice_id}.pkl.gz", "wb") as file:
            pickle.dump(content, file, 4)
        if with_indexes:
            self.edit(
                "voice_catalog.json", lambda catalog: catalog | {voice_id: {"speaker_name": name, "x": 1}}
            )
            self.edit("name_mapping.json", lambda mapping: mapping | {name: voice_id})
        self.voices[voice_id] = name, make_waveform(seed).digest(), None

    @precondition(lambda self: self.voices)
    @rule(which=st.integers(0, 9))
    def older_program_removes(self, which: int) -> None:
        voice_id = sorted(self.voices)[which % len(self.voices)]
        os.unlink(self.root / "embeddings" / f"{voice_id}.pkl.gz")  # noqa: PTH108
        del self.voices[voice_id]

    def edit(self, index: str, change: Callable[[dict], dict]) -> None:
        try:
            content = json.loads((self.root / index).read_text())
        except (FileNotFoundError, ValueError):
            content = {}
        (self.root / index).write_text(json.dumps(change(content if isinstance(content, dict) else {})))

    def found(self) -> dict[str, tuple[str, str, str | None]]:
        store = self.new_worker()
        found = {}
        for listed in store.list():
            voice = store.get(voice_id=listed["voice_id"])
            assert store.get(name=voice.name).voice_id == voice.voice_id
            found[voice.voice_id] = voice.name, voice.digest, voice.metadata["description"]
        return found

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        assert self.found() == self.voices
        for worker in self.workers:
            assert {voice["voice_id"] for voice in worker.list()} == self.voices.keys()
            for voice_id, (name, digest, _) in self.voices.items():
                assert worker.get(name=name).digest == worker.get(voice_id=voice_id).digest == digest


@pytest.fixture(autouse=True)
def _no_waiting_for_writers_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_store.json_files._REREAD_AFTER_S", 0)


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestStoreMachine = StoreMachine.TestCase
