"""Stores that other programs made or write to, and indexes that are behind, torn or gone."""

import json
from pathlib import Path

import numpy as np
import pytest

from audio.waveform import Waveform, resample
from errors import VoiceNotFound
from tests.voice_store.conftest import make_waveform, read_json, snapshot, write_json, write_plain_file
from voice_store import VoiceStore

NAMES = ["Amy", "Ben", "小明", "Zoë"]


def legacy_voice(seed: int) -> np.ndarray:
    return make_waveform(seed).samples


@pytest.fixture
def legacy(root: Path) -> Path:
    """A store as older programs left it: no two voices alike, and the catalog with more than ours has."""
    catalog = {}
    contents = [
        {
            "audio": legacy_voice(0),
            "sample_rate": 24_000,
            "voice_name": "Amy",
            "created_at": "2023-01-01T00:00:00",
        },
        legacy_voice(1),
        {"audio": legacy_voice(2).astype(np.float64), "sample_rate": 44_100},
        {"audio": (legacy_voice(3) * 2**15).astype(np.int16)},
    ]
    for number, (name, content) in enumerate(zip(NAMES, contents, strict=True)):
        voice_id = f"{number}f0e1d2c" if number else "amy_narrator-v1.2"
        write_plain_file(root, voice_id, content, protocol=2 + number)
        catalog[voice_id] = {
            "voice_id": voice_id,
            "speaker_name": name,
            "gender": "female",
            "original_file": f"{name} - female, narrator.wav",
            "embedding_file": f"embeddings\\{voice_id}.pkl.gz",
            "duration": 0.25,
            "sample_rate": 24_000,
            "created_at": f"2023-01-0{number + 1}T00:00:00.%f",
            "type": "chattts_embedding",
            "category": "narration",
            "firebase_storage_path": f"voices/{voice_id}.pkl.gz",
        }
        write_json(root / "metadata" / f"{voice_id}.json", catalog[voice_id])
    full_name = catalog["1f0e1d2c"].pop("speaker_name")
    catalog["1f0e1d2c"]["name"] = full_name
    write_json(root / "voice_catalog.json", catalog)
    write_json(root / "name_mapping.json", dict(zip(NAMES, catalog, strict=True)))
    write_json(
        root / "stats.json",
        {"total_voices": 4, "generation_time": "long ago", "gender_distribution": {"female": 4}},
    )
    write_json(root / "quick_index.json", {"theirs": [1, 2, 3]})
    return root


def test_a_legacy_store_is_served_and_left_as_it_is(legacy):
    files = snapshot(legacy)
    store = VoiceStore(legacy)
    assert [voice["speaker_name"] for voice in store.list()] == NAMES
    for seed, name in enumerate(NAMES):
        expected = Waveform(legacy_voice(seed), 44_100 if seed == 2 else 24_000)
        got = store.get(name=name).waveform
        assert np.allclose(got.samples, resample(expected, 24_000).samples, atol=2**-15)
    assert store.get(voice_id="amy_narrator-v1.2").name == "Amy"
    assert store.stats()["total_voices"] == 4
    assert snapshot(legacy) == files


def test_what_other_programs_keep_survives_every_write(legacy):
    store = VoiceStore(legacy)
    before = read_json(legacy / "voice_catalog.json")
    cloud_only = {"speaker_name": "Cloud", "firebase_storage_path": "voices/cafe0000.pkl.gz"}
    write_json(legacy / "voice_catalog.json", before | {"cafe0000": cloud_only, "_version": 3})
    write_json(
        legacy / "name_mapping.json",
        read_json(legacy / "name_mapping.json") | {"Cloud": "cafe0000", "The Amy": "amy_narrator-v1.2"},
    )
    store.put(make_waveform(10), "New")
    store.put(make_waveform(11), "Amy", overwrite=True)
    store.delete(name="Ben")
    catalog, mapping = read_json(legacy / "voice_catalog.json"), read_json(legacy / "name_mapping.json")
    assert catalog["cafe0000"] == cloud_only
    assert catalog["_version"] == 3
    for voice_id in ("2f0e1d2c", "3f0e1d2c"):
        assert catalog[voice_id] == before[voice_id]
    assert catalog.keys().isdisjoint({"amy_narrator-v1.2", "1f0e1d2c"})
    assert mapping.keys() == {"Amy", "小明", "Zoë", "New", "Cloud"}
    assert read_json(legacy / "quick_index.json") == {"theirs": [1, 2, 3]}
    stats = read_json(legacy / "stats.json")
    assert (stats["total_voices"], stats["generation_time"]) == (4, "long ago")
    assert {voice["speaker_name"] for voice in store.list()} == {"小明", "Zoë", "New", "Amy"}


def test_a_voice_of_which_there_is_only_the_file_appears(store, root):
    store.put(make_waveform(1), "Amy")
    write_plain_file(
        root, "deadbeef", {"audio": legacy_voice(2), "voice_name": "Ben", "created_at": "2024-05-06T07:08:09"}
    )
    assert store.get(name="ben").digest == make_waveform(2).digest()
    entry = read_json(root / "voice_catalog.json")["deadbeef"]
    assert (entry["speaker_name"], entry["duration"], entry["created_at"]) == (
        "Ben",
        0.25,
        "2024-05-06T07:08:09",
    )
    assert read_json(root / "name_mapping.json")["Ben"] == "deadbeef"
    assert read_json(root / "stats.json")["total_voices"] == 2


def test_a_nameless_voice_is_named_by_the_mapping_or_by_its_id(store, root):
    write_plain_file(root, "deadbeef", legacy_voice(1))
    write_plain_file(root, "0badf00d", legacy_voice(2))
    write_json(root / "name_mapping.json", {"Ben": "deadbeef"})
    assert store.get(name="Ben").name == "Ben"
    assert store.get(name="0badf00d").name == "0badf00d"
    assert store.metadata(name="Ben")["created_at"]  # when the file was written


def test_a_voice_that_an_old_writer_removed_disappears(store, root):
    for seed, name in enumerate(["Amy", "Ben"]):
        store.put(make_waveform(seed), name)
    gone = store.metadata(name="Ben")["voice_id"]
    (root / "embeddings" / f"{gone}.pkl.gz").unlink()
    assert [voice["speaker_name"] for voice in store.list()] == ["Amy"]
    assert gone not in read_json(root / "voice_catalog.json")
    assert "Ben" not in read_json(root / "name_mapping.json")


def test_indexes_that_are_gone_come_back(store, root):
    store.put(make_waveform(1), "Amy", description="calm", gender="female")
    files = snapshot(root)
    for file in ("voice_catalog.json", "name_mapping.json", "stats.json"):
        (root / file).unlink()
    assert VoiceStore(root).metadata(name="Amy")["description"] == "calm"
    now = snapshot(root)
    for file in files.keys() - {"stats.json"}:
        assert now[file] == files[file]
    assert json.loads(now["stats.json"])["total_voices"] == 1


def test_voices_outlive_every_index(store, root):
    digests = {name: store.put(make_waveform(seed), name).voice.digest for seed, name in enumerate(NAMES)}
    for path in root.rglob("*.json"):
        path.unlink()
    (root / "metadata").rmdir()
    again = VoiceStore(root)
    assert {
        voice["speaker_name"]: again.get(voice_id=voice["voice_id"]).digest for voice in again.list()
    } == digests
    assert store.put(make_waveform(9), "Eve").created


def test_an_old_index_written_back_does_not_lose_a_voice(store, root):
    store.put(make_waveform(1), "Amy")
    stale = {
        file: (root / file).read_bytes() for file in ("voice_catalog.json", "name_mapping.json", "stats.json")
    }
    voice = store.put(make_waveform(2), "Ben", description="warm").voice
    for file, content in stale.items():
        (root / file).write_bytes(content)
    assert store.get(name="Ben").metadata["description"] == "warm"
    assert read_json(root / "name_mapping.json")["Ben"] == voice.voice_id


def test_an_empty_folder_leaves_the_indexes_alone(store, root):
    """An unmounted sub-folder looks like this, and what it held may come back."""
    store.put(make_waveform(1), "Amy")
    (root / "embeddings").rename(root.parent / "away")
    files = snapshot(root)
    assert store.list() == []
    assert snapshot(root) == files
    (root.parent / "away").rename(root / "embeddings")
    assert store.get(name="Amy").digest == make_waveform(1).digest()


def test_reading_an_up_to_date_store_writes_nothing(store, root):
    store.put(make_waveform(1), "Amy")
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    store.list(), store.stats(), store.get(name="Amy"), store.metadata(name="amy")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == written


def test_unknown_files_survive(store, root):
    store.put(make_waveform(1), "Amy")
    theirs = [
        "embeddings/notes.txt",
        "embeddings/.hidden.pkl.gz",
        "embeddings/.x.tmp",
        "metadata/readme",
        "other.bin",
    ]
    for file in theirs:
        (root / file).write_text(file)
    store.put(make_waveform(2), "Ben")
    store.delete(name="Amy")
    assert len(store.list()) == 1
    assert all((root / file).read_text() == file for file in theirs)


def test_a_catalog_that_is_just_being_written_keeps_what_other_programs_put_there(store, root, monkeypatch):
    """An old program opens the file and writes it in place; a read falls into the middle of that."""
    voice = store.put(make_waveform(1), "Amy").voice
    catalog = json.loads((root / "voice_catalog.json").read_text())
    catalog[voice.voice_id]["firebase_storage_path"] = "gs://x"
    whole = json.dumps(catalog)
    with (root / "voice_catalog.json").open("w") as old_program:
        old_program.write(whole[: len(whole) // 2])
        old_program.flush()

        def finish_writing(_: float) -> None:
            old_program.write(whole[len(whole) // 2 :])
            old_program.flush()

        monkeypatch.setattr("voice_store.json_files.time.sleep", finish_writing)
        assert [listed["speaker_name"] for listed in store.list()] == ["Amy"]
    kept = json.loads((root / "voice_catalog.json").read_text())
    assert kept[voice.voice_id]["firebase_storage_path"] == "gs://x"


def test_a_damaged_catalog_is_set_aside_not_thrown_away(store, root):
    store.put(make_waveform(1), "Amy")
    (root / "voice_catalog.json").write_text('{"torn": "gs://precious')
    assert [listed["speaker_name"] for listed in store.list()] == ["Amy"]
    (aside,) = root.glob("voice_catalog.json.damaged-*")
    assert "gs://precious" in aside.read_text()
    assert json.loads((root / "voice_catalog.json").read_text())


def test_metadata_left_by_a_worker_that_died_does_not_rename_a_voice(store, root):
    """Killed between announcing "Xavier" and committing; then the same recording becomes "Yves"."""
    waveform = make_waveform(1)
    orphan = store.put(waveform, "Xavier").voice
    announced = (root / "metadata" / f"{orphan.voice_id}.json").read_bytes()
    store.delete(name="Xavier")
    (root / "metadata" / f"{orphan.voice_id}.json").write_bytes(announced)

    result = store.put(waveform, "Yves")
    assert result.created
    (root / "metadata" / f"{orphan.voice_id}.json").write_bytes(announced)
    for name in ("voice_catalog.json", "name_mapping.json", "stats.json"):
        (root / name).unlink()
    assert store.get(name="Yves").voice_id == result.voice.voice_id
    with pytest.raises(VoiceNotFound):
        store.get(name="Xavier")


def test_an_alias_of_absurd_length_is_passed_over(store, root):
    voice = store.put(make_waveform(1), "Amy").voice
    mapping = json.loads((root / "name_mapping.json").read_text())
    mapping["a" + "\u0301\u0323" * 1_000] = voice.voice_id
    (root / "name_mapping.json").write_text(json.dumps(mapping))
    assert store.get(name="Amy").voice_id == voice.voice_id
    with pytest.raises(VoiceNotFound):
        store.get(name="a" + "\u0301\u0323" * 1_000)


@pytest.mark.parametrize("index", ["voice_catalog.json", "name_mapping.json", "stats.json", "metadata"])
def test_what_other_programs_nest_deeply_does_not_grow_with_the_next_clone(store, root, index):
    """Indented, half a megabyte in which 60,000 numbers lie 400 levels deep would take 50 MB."""
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    path = root / index if index != "metadata" else root / index / f"{voice_id}.json"
    nested = '{"a":' * 400 + "[" + ",".join(["1"] * 60_000) + "]" + "}" * 400
    content = path.read_text().rstrip().removesuffix("}") + f', "theirs": {nested}, "nothing": null}}'
    path.write_text(content)
    store.put(make_waveform(2), "Ben")
    store.update(name="Amy", description="calm")
    assert read_json(path)["theirs"] == json.loads(nested)
    assert read_json(path)["nothing"] is None
    assert len(path.read_text()) < 2 * len(content)
    assert read_json(root / "name_mapping.json").keys() >= {"Amy", "Ben"}


def test_an_index_is_not_written_larger_than_it_may_be_read(store, root, monkeypatch):
    """JSON that escapes what other programs wrote plainly takes up to six times its size."""
    monkeypatch.setattr("voice_store.indexes.MIN_INDEX_BYTES", 2**18)
    store.put(make_waveform(1), "Amy")
    mapping = read_json(root / "name_mapping.json") | {"theirs": {"text": "\xff" * 2**16}}
    (root / "name_mapping.json").write_text(json.dumps(mapping).replace("\\u00ff", "\xff"))
    before = (root / "name_mapping.json").read_bytes()
    store.put(make_waveform(2), "Ben")
    assert (root / "name_mapping.json").read_bytes() == before
    assert VoiceStore(root).get(name="Ben").digest == make_waveform(2).digest()
    assert len(read_json(root / "voice_catalog.json")) == 2


def test_a_voice_that_was_renamed_often_keeps_what_was_changed_last(store):
    """Former names are remembered, but not without end: a revision that is too large would not be read."""
    store.put(make_waveform(1), "0", voice_id="00000000")
    for number in range(1, 40):
        store.update(voice_id="00000000", new_name=f"{number:02}" + "\U0001f600" * 62)
    store.update(voice_id="00000000", description="calm")
    (entry,) = store.list()
    assert entry["description"] == "calm"
    assert entry["speaker_name"].startswith("39")
