"""Renaming and describing voices."""

import os

import pytest

from errors import InvalidRequest, VoiceExists, VoiceNotFound
from tests.voice_store.conftest import make_waveform, names, read_json, snapshot, write_json, write_plain_file
from voice_store import VoiceStore
from voice_store.live import Timing

AT_ONCE = Timing(settle_s=0)


def test_a_renamed_voice_is_found_by_its_new_name_alone(store, root):
    voice_id = store.put(make_waveform(1), "Amy", description="calm").voice.voice_id
    metadata = store.update(name="amy", new_name=" Zoe\u0308 ")
    assert (metadata["voice_id"], metadata["speaker_name"], metadata["description"]) == (
        voice_id,
        "Zoë",
        "calm",
    )
    for reader in (store, VoiceStore(root, AT_ONCE)):
        assert reader.get(name="ZOË").digest == make_waveform(1).digest()
        assert reader.metadata(voice_id=voice_id) == metadata
        with pytest.raises(VoiceNotFound):
            reader.get(name="Amy")


def test_other_programs_see_the_new_name(store, root):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    store.update(name="Amy", new_name="Zoë", tags=["x"])
    assert read_json(root / "name_mapping.json") == {"Zoë": voice_id}
    for entry in (
        read_json(root / "voice_catalog.json")[voice_id],
        read_json(root / "metadata" / f"{voice_id}.json"),
    ):
        assert (entry["speaker_name"], entry["tags"], entry["duration"]) == ("Zoë", ["x"], 0.25)


def test_details_change_alone_and_an_empty_one_is_forgotten(store, root):
    store.put(make_waveform(1), "Amy", description="calm", gender="female", language="en")
    details = {"tags": ["a", "b"], "default_parameters": {"exaggeration": 0.7, "top_k": 5}}
    changed = store.update(name="Amy", **details)
    assert changed.items() >= {"description": "calm", "gender": "female", "language": "en", **details}.items()
    forgotten = store.update(
        name="Amy", description="", gender="", language="", tags=[], default_parameters={}
    )
    assert forgotten["gender"] == "unknown"
    assert not any(forgotten[key] for key in ("description", "language", "tags", "default_parameters"))
    assert VoiceStore(root).metadata(name="Amy") == forgotten


def test_what_was_forgotten_does_not_come_back_with_an_old_index(store, root):
    store.put(make_waveform(1), "Amy", description="calm")
    stale = snapshot(root)
    store.update(name="Amy", description="")
    expected = store.update(name="Amy", gender="female")
    for file, content in stale.items():
        (root / file).write_bytes(content)
    assert store.metadata(name="Amy") == expected
    assert expected["description"] is None


@pytest.mark.parametrize("dropped", [["*.json"], ["metadata/*.json"], ["*.json", "metadata/*.json"]])
def test_changes_outlive_the_indexes(store, root, dropped):
    store.put(make_waveform(1), "Amy", gender="female")
    expected = store.update(name="Amy", new_name="Zoë", description="lively")
    for pattern in dropped:
        for path in root.glob(pattern):
            path.unlink()
    assert VoiceStore(root, AT_ONCE).metadata(name="Zoë") == expected


def test_changes_outlive_their_own_file_when_the_indexes_know_them(store, root):
    store.put(make_waveform(1), "Amy")
    expected = store.update(name="Amy", new_name="Zoë")
    (revision,) = (root / "revisions").iterdir()
    for damage in (lambda: revision.write_bytes(b"torn"), revision.unlink):
        damage()
        assert VoiceStore(root, AT_ONCE).metadata(name="Zoë") == expected
    assert store.update(name="Zoë", gender="male")["gender"] == "male"
    assert VoiceStore(root, AT_ONCE).metadata(name="Zoë")["gender"] == "male"


def test_an_old_index_written_back_does_not_undo_a_change(store, root):
    store.put(make_waveform(1), "Amy", description="calm")
    stale = {path: path.read_bytes() for path in root.glob("*.json")}
    expected = store.update(name="Amy", new_name="Zoë", description="lively")
    for path, content in stale.items():
        path.write_bytes(content)
    assert store.metadata(name="Zoë") == expected
    assert read_json(root / "name_mapping.json").keys() == {"Zoë"}
    with pytest.raises(VoiceNotFound):
        store.get(name="Amy")


def test_what_an_older_program_changes_in_the_catalog_later_counts(store, root):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    store.update(name="Amy", description="calm")
    catalog = read_json(root / "voice_catalog.json")
    catalog[voice_id] |= {"description": "theirs", "firebase_storage_path": "gs://x"}
    write_json(root / "voice_catalog.json", catalog)
    assert store.metadata(name="Amy")["description"] == "theirs"
    assert store.update(name="Amy", gender="female")["description"] == "theirs"
    assert read_json(root / "voice_catalog.json")[voice_id]["firebase_storage_path"] == "gs://x"


def test_a_change_that_changes_nothing_writes_nothing(store, root):
    store.put(make_waveform(1), "Amy", description="calm")
    expected = store.update(name="Amy", new_name="Zoë")
    files = snapshot(root)
    assert store.update(name="zoë", new_name="Zoë", description="calm") == expected
    assert snapshot(root) == files


def test_the_case_of_a_name_can_be_changed(store):
    store.put(make_waveform(1), "amy")
    assert store.update(name="amy", new_name="Amy")["speaker_name"] == "Amy"
    assert names(store) == {"Amy"}


def test_a_renaming_that_is_asked_for_twice_is_done_once(store, root):
    store.put(make_waveform(1), "Amy")
    renamed = store.update(name="Amy", new_name="Zoë", description="x")
    assert store.update(name="amy", new_name="zoë", description="x") | {"speaker_name": "Zoë"} == renamed
    with pytest.raises(VoiceNotFound):
        store.update(name="Amy", new_name="Ben")
    with pytest.raises(VoiceNotFound):
        store.update(name="Anna", new_name="Zoë")


def test_a_name_can_be_taken_over_after_its_voice_was_renamed(store, root):
    store.put(make_waveform(1), "Amy")
    store.update(name="Amy", new_name="Zoë")
    assert store.put(make_waveform(2), "Amy").created
    assert store.update(name="Amy", new_name="Ben")["speaker_name"] == "Ben"
    assert store.update(name="Zoë", new_name="Amy")["speaker_name"] == "Amy"
    for reader in (store, VoiceStore(root, AT_ONCE)):
        assert reader.get(name="Amy").digest == make_waveform(1).digest()
        assert names(reader) == {"Amy", "Ben"}


def test_the_recording_of_a_renamed_voice_can_be_cloned_under_its_former_name(store):
    renamed = store.put(make_waveform(1), "Amy").voice
    store.update(name="Amy", new_name="Zoë")
    again = store.put(make_waveform(1), "Amy")
    assert again.created
    assert again.voice.voice_id != renamed.voice_id
    assert names(store) == {"Amy", "Zoë"}


@pytest.mark.parametrize("new_name", ["Ben", "BEN", "Ｂｅｎ"])
def test_a_name_that_another_voice_has_is_refused(store, root, new_name):
    store.put(make_waveform(1), "Amy")
    store.put(make_waveform(2), "Ben")
    files = snapshot(root)
    with pytest.raises(
        VoiceExists, match=r"new_voice_name is taken: another voice is named .*choose another"
    ):
        store.update(name="Amy", new_name=new_name, description="calm")
    assert snapshot(root) == files


def test_a_bad_new_name_is_refused(store):
    store.put(make_waveform(1), "Amy")
    with pytest.raises(InvalidRequest, match="name"):
        store.update(name="Amy", new_name="a/b")


def test_a_voice_that_is_not_there_cannot_be_changed(store, root):
    store.put(make_waveform(1), "Amy")
    for key in ({"name": "Ben"}, {"voice_id": "00000000"}):
        with pytest.raises(VoiceNotFound):
            store.update(**key, description="x")


def test_a_voice_deleted_while_it_is_changed_stays_deleted(store, root, monkeypatch):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    link = os.link

    def deletes_first(*arguments: object, **options: object) -> None:
        monkeypatch.setattr(os, "link", link)
        VoiceStore(root, AT_ONCE).delete(name="Amy")
        link(*arguments, **options)

    monkeypatch.setattr(os, "link", deletes_first)
    with pytest.raises(VoiceNotFound):
        store.update(name="Amy", new_name="Zoë")
    assert names(VoiceStore(root, AT_ONCE)) == set()
    assert not list((root / "revisions").iterdir())
    assert not (root / "metadata" / f"{voice_id}.json").exists()


def test_a_legacy_voice_with_a_second_name_is_renamed_under_both(store, root):
    write_plain_file(root, "deadbeef", make_waveform(1).samples)
    write_json(
        root / "voice_catalog.json",
        {"deadbeef": {"name": "Amy - narrator", "duration": 0.25, "category": "x"}},
    )
    store.update(name="amy - narrator", description="calm")
    assert read_json(root / "voice_catalog.json")["deadbeef"]["name"] == "Amy - narrator"
    store.update(name="amy - narrator", new_name="Zoë")
    entry = read_json(root / "voice_catalog.json")["deadbeef"]
    assert (entry["name"], entry["speaker_name"], entry["category"]) == ("Zoë", "Zoë", "x")
    with pytest.raises(VoiceNotFound):
        store.get(name="amy - narrator")


def test_a_second_name_that_two_voices_share_stays_when_one_of_them_goes(store, root):
    ids = {
        store.put(make_waveform(seed), name).voice.voice_id: name for seed, name in enumerate(("Amy", "Ben"))
    }
    catalog = read_json(root / "voice_catalog.json")
    for voice_id in ids:
        catalog[voice_id]["name"] = "Full Name"
    write_json(root / "voice_catalog.json", catalog)
    worker = VoiceStore(root, AT_ONCE)
    gone = worker.metadata(name="Full Name")["voice_id"]
    worker.delete(voice_id=gone)
    (left,) = ids.keys() - {gone}
    for reader in (worker, VoiceStore(root, AT_ONCE)):
        assert reader.metadata(name="Full Name")["voice_id"] == left


def test_a_changed_voice_is_described_before_many_that_lack_their_metadata_files(root):
    """Of those, only some are written at a time, in whichever order."""
    ids = [f"{number:08x}" for number in range(300)]
    for voice_id in ids:
        content = {"audio": make_waveform(1, duration_s=0.01).samples, "voice_name": f"voice {voice_id}"}
        write_plain_file(root, voice_id, content)
    for voice_id in (ids[0], ids[150], ids[-1]):
        for path in [*root.glob("*.json"), *root.glob("metadata/*.json")]:
            path.unlink()
        VoiceStore(root).update(voice_id=voice_id, description="calm")
        assert len(list((root / "metadata").iterdir())) < len(ids)
        assert read_json(root / "metadata" / f"{voice_id}.json")["description"] == "calm"
