"""Stores that others wrote: served, changed, and still theirs afterwards.

Two of them: one that the version of ``make_old_store`` wrote, with changes that its workers left unfinished,
and one of 37 voices that programs older than this one made.
"""

import json
from contextlib import suppress

import numpy as np
import pytest

from errors import VoiceExists, VoiceNotFound
from tests.voice_store.conftest import make_waveform, snapshot
from tests.voice_store.old_stores import (
    LEGACY_COUNT,
    OldStore,
    make_legacy_store,
    read_plainly,
    unpack_store_before,
)
from tests.voice_store.terminal import run_cli
from voice_store import VoiceStore
from voice_store.live import Timing

AT_ONCE = Timing(settle_s=0)
DAYS_S = 86_400


@pytest.fixture(params=["just written", "days old"])
def before(request, tmp_path) -> OldStore:
    return unpack_store_before(tmp_path, age_s=0 if request.param == "just written" else 2 * DAYS_S)


@pytest.fixture(params=["complete", "incomplete"])
def legacy(request, tmp_path) -> OldStore:
    return make_legacy_store(tmp_path / "store", complete=request.param == "complete")


def id_of(old: OldStore, name: str) -> str:
    return next(voice_id for voice_id, own_name in old.voices.items() if own_name == name)


def assert_is_served(store: VoiceStore, old: OldStore) -> None:
    listed = {voice["voice_id"]: voice for voice in store.list()}
    assert {voice_id: voice["speaker_name"] for voice_id, voice in listed.items()} == old.voices
    for voice_id, name in old.voices.items():
        voice = store.get(name=name)
        assert (voice.voice_id, voice.name) == (voice_id, name)
        assert voice.digest == store.get(voice_id=voice_id).digest
        assert voice.digest == old.digests.get(voice_id, voice.digest)
        if voice_id in old.samples:
            expected = old.samples[voice_id].samples
            assert np.allclose(voice.waveform.samples, expected, atol=2**-11)  # some are float16
        known = old.metadata.get(voice_id, {})
        assert {key: listed[voice_id][key] for key in known} == known
    for alias, voice_id in old.aliases.items():
        assert store.get(name=alias).voice_id == voice_id
    for voice_id, name in old.gone.items():
        with pytest.raises(VoiceNotFound):
            store.get(voice_id=voice_id)
        assert name in old.voices.values() or not store.delete(name=name).deleted
        assert not store.delete(voice_id=voice_id).deleted


def assert_is_read_plainly(old: OldStore, was: dict[str, str] | None = None) -> None:
    """was: hashes of the samples by id, which no change of the store may change."""
    plain = read_plainly(old.root)
    assert {name: plain[name].entry["voice_id"] for name in old.voices.values()} == {
        name: voice_id for voice_id, name in old.voices.items()
    }
    assert not {voice.entry["voice_id"] for voice in plain.values()} & old.gone.keys()
    for name, voice in plain.items():
        voice_id = voice.entry["voice_id"]
        assert name in (voice.entry.get("speaker_name"), voice.entry.get("name"), *old.aliases)
        assert voice.sha256 == (was or {}).get(voice_id, voice.sha256)
        for key, value in old.metadata.get(voice_id, {}).items():
            assert not value or voice.entry.get(key) == value
        described = old.root / "metadata" / f"{voice_id}.json"  # some never had one
        assert not described.exists() or json.loads(described.read_text())["voice_id"] == voice_id
    files = {path.name.removesuffix(".pkl.gz") for path in (old.root / "embeddings").glob("*.pkl.gz")}
    assert files == old.voices.keys()


def hashes(root) -> dict[str, str]:
    return {voice.entry["voice_id"]: voice.sha256 for voice in read_plainly(root).values()}


def change(store: VoiceStore, old: OldStore, names: list[str]) -> None:
    """Puts, overwrites, renames, describes and deletes. names: five voices of the store."""
    overwritten, renamed, described, deleted, renamed_twice = names
    for number in range(5):
        voice = store.put(make_waveform(900 + number), f"new {number} 新", description="ours").voice
        old.voices[voice.voice_id] = voice.name
        old.metadata[voice.voice_id] = {"description": "ours"}
    voice = store.put(make_waveform(990), overwritten, overwrite=True, gender="female").voice
    _forget(old, id_of(old, overwritten), overwritten)
    old.voices[voice.voice_id] = overwritten
    old.metadata[voice.voice_id] = {"gender": "female"}
    store.update(name=renamed, new_name="小红")
    store.update(name=renamed_twice, new_name="first")
    store.update(name="first", new_name="second")
    for name, new_name in ((renamed, "小红"), (renamed_twice, "second")):
        voice_id = id_of(old, name)
        old.voices[voice_id] = new_name
        old.metadata[voice_id]["speaker_name"] = new_name
        old.aliases.pop(f"full name of {name.split()[-1]}", None)  # that key is for the name, too
    details = {
        "description": "changed",
        "tags": ["one", "two"],
        "consent": {"by": "someone", "date": "2026-03-04", "statement": "Yes."},
        "pronunciations": [{"text": "Nguyen", "say": "win", "case_sensitive": False, "whole_word": True}],
        "aliases": ["a further name"],
    }
    store.update(name=described, **details)
    known = old.metadata[id_of(old, described)]
    for alias in known.get("aliases", []):
        del old.aliases[alias]
    known |= details
    old.aliases["a further name"] = id_of(old, described)
    voice_id = id_of(old, deleted)
    assert store.delete(name=deleted).deleted
    _forget(old, voice_id, deleted)


def _forget(old: OldStore, voice_id: str, name: str) -> None:
    for known in (old.voices, old.samples, old.digests, old.metadata):
        known.pop(voice_id, None)
    for alias in [alias for alias, of in old.aliases.items() if of == voice_id]:
        del old.aliases[alias]
    old.gone[voice_id] = name


def test_notes_of_the_version_before_name_the_files_that_were_unpacked(before):
    """Else nothing here would show what becomes of an unfinished change."""
    marks = {}
    for path in (before.root / "deleted").iterdir():
        for mark in [note for note in json.loads(path.read_text()).values() if isinstance(note, dict)]:
            file = before.root / "embeddings" / f"{mark['voice_id']}.pkl.gz"
            if file.exists():
                assert (mark["size"], mark["mtime_ns"]) == (file.stat().st_size, file.stat().st_mtime_ns)
            marks.setdefault(path.name.split(".")[-2], []).append(file.exists())
    assert marks["pending"] == [True]
    assert sorted(marks["replaced"]) == [False, True, True, True]


def test_a_store_of_the_version_before_is_served(before):
    for timing in (Timing(), AT_ONCE):
        store = VoiceStore(before.root, timing)
        assert {voice["speaker_name"] for voice in store.list()} == set(before.voices.values())
    assert_is_served(store, before)
    assert [entry["text"] for entry in store.pronunciations().entries] == ["Saoirse"]
    assert store.get(name="Amy").sidecar.read("chatterbox") == b"what a model made of Amy"


def test_a_store_of_the_version_before_is_served_without_its_indexes(before):
    for index in ("voice_catalog.json", "name_mapping.json", "stats.json"):
        (before.root / index).unlink()
    del before.aliases["Old Amy"]  # nothing else said it
    assert_is_served(VoiceStore(before.root, AT_ONCE), before)


def test_renamings_of_the_version_before_may_be_asked_for_again(before):
    store = VoiceStore(before.root, AT_ONCE)
    for former in ("Cy", "Cyrus"):
        assert store.update(name=former, new_name="Cyrille")["speaker_name"] == "Cyrille"
        with pytest.raises(VoiceNotFound):
            store.get(name=former)
    with pytest.raises(VoiceExists):
        store.put(make_waveform(1), "Ivy")  # whose replacement never came


def test_a_store_of_the_version_before_is_changed_and_read_by_plain_code(before):
    root, store = before.root, VoiceStore(before.root, AT_ONCE)
    was = hashes(root)
    change(store, before, ["Eve", "Amy", "Jo", "Dee", "Cyrille"])
    for worker in (store, VoiceStore(root, AT_ONCE)):
        assert_is_served(worker, before)
    assert_is_read_plainly(before, was)
    entry = read_plainly(root)["小红"].entry
    assert (entry["firebase_storage_path"], entry["category"]) == (f"voices/{entry['voice_id']}", "narration")
    ben = read_plainly(root)["Ben"].entry
    assert ben["consent"]["by"] == "Ben Northman"
    assert [pronunciation["say"] for pronunciation in ben["pronunciations"]] == ["win", "sequel"]
    assert json.loads((root / "quick_index.json").read_text()) == {"theirs": [entry["voice_id"]]}
    stats = json.loads((root / "stats.json").read_text())
    assert (stats["theirs"], stats["total_voices"]) == (1, len(before.voices))
    assert json.loads((root / "pronunciations.json").read_text())
    assert run_cli(root, "check") == 0
    for voice_id in before.gone:
        left = [path.relative_to(root) for path in root.rglob(f"{voice_id}*") if path.suffix != ".tmp"]
        assert all(path.parts[0] == "deleted" for path in left)


def test_unfinished_changes_of_the_version_before_are_finished_by_whoever_writes(before):
    root = before.root
    unfinished = {path.name for path in (root / "deleted").glob("*.*.json")}
    assert len(unfinished) == 3
    voice = VoiceStore(root).put(make_waveform(900), "new").voice
    before.voices[voice.voice_id] = "new"
    files = {path.name.removesuffix(".pkl.gz") for path in (root / "embeddings").glob("*.pkl.gz")}
    assert files == before.voices.keys()
    for _ in range(2):  # with indexes, and without
        assert_is_served(VoiceStore(root, AT_ONCE), before)
        for index in ("voice_catalog.json", "name_mapping.json", "stats.json"):
            (root / index).unlink()
        before.aliases.pop("Old Amy", None)


def test_a_promise_whose_successor_never_came_hides_nothing_later(before):
    """Not even when the very recording that never came is cloned."""
    store = VoiceStore(before.root, AT_ONCE)
    ivy = id_of(before, "Ivy")
    promise = next((before.root / "deleted").glob(f"{ivy}.*.replaced.json"))
    voice_id = promise.name.split(".")[1]
    with suppress(VoiceExists):
        voice = store.put(make_waveform(77), "Another", voice_id=voice_id).voice
        before.voices[voice.voice_id] = "Another"
    assert_is_served(VoiceStore(before.root, AT_ONCE), before)


def test_a_legacy_store_is_served_and_stays_as_it_is(tmp_path):
    legacy = make_legacy_store(tmp_path / "store")
    files = snapshot(legacy.root)
    for timing in (Timing(), AT_ONCE):
        assert_is_served(VoiceStore(legacy.root, timing), legacy)
    assert snapshot(legacy.root) == files
    assert len(legacy.voices) == LEGACY_COUNT


def test_a_legacy_store_is_changed_and_read_by_plain_code(legacy):
    root, store = legacy.root, VoiceStore(legacy.root, AT_ONCE)
    assert_is_served(store, legacy)
    files = {path.name: path.read_bytes() for path in (root / "embeddings").iterdir()}
    names = [legacy.voices[voice_id] for voice_id in list(legacy.voices)[1::7]]
    change(store, legacy, names[:5])
    for worker in (store, VoiceStore(root, AT_ONCE)):
        assert_is_served(worker, legacy)
    assert_is_read_plainly(legacy)
    for path in (root / "embeddings").iterdir():
        assert path.read_bytes() == files.get(path.name, path.read_bytes())
    catalog = json.loads((root / "voice_catalog.json").read_text())
    theirs = [entry for entry in catalog.values() if "firebase_storage_path" in entry]
    assert len(theirs) >= LEGACY_COUNT - 2 - 4  # two are gone, and of few the catalog did not know
    assert all(entry["firebase_storage_path"] == f"voices/{entry['voice_id']}" for entry in theirs)
    assert len(json.loads((root / "quick_index.json").read_text())["theirs"]) > 30
    assert json.loads((root / "stats.json").read_text())["total_voices"] == LEGACY_COUNT + 4
