import json
import os
import re

import numpy as np
import pytest

from audio.waveform import Waveform
from errors import InvalidRequest, ReferenceInvalid, StoreUnavailable, VoiceExists, VoiceNotFound
from tests.voice_store.conftest import make_waveform, names, read_json, snapshot, write_plain_file
from voice_store import DeleteResult, VoiceStore


def test_a_kept_voice_is_found_by_name_and_by_id_by_another_worker(store, root):
    waveform = make_waveform(1)
    result = store.put(
        waveform, "Amy", description="calm", gender="female", language="en", original_file="a.wav"
    )
    assert result.created
    for voice in (
        result.voice,
        VoiceStore(root).get(name="Amy"),
        VoiceStore(root).get(voice_id=result.voice.voice_id),
    ):
        assert (voice.name, voice.digest) == ("Amy", waveform.digest())
        assert np.array_equal(voice.waveform.samples, waveform.samples)
        assert re.fullmatch("[0-9a-f]{8}", voice.voice_id)
        assert waveform.digest().startswith(voice.voice_id)
        assert dict(voice.metadata) == {
            "voice_id": voice.voice_id,
            "speaker_name": "Amy",
            "gender": "female",
            "original_file": "a.wav",
            "embedding_file": f"embeddings/{voice.voice_id}.pkl.gz",
            "duration": 0.25,
            "sample_rate": 24_000,
            "created_at": result.voice.metadata["created_at"],
            "type": "chattts_embedding",
            "description": "calm",
            "language": "en",
            "tags": [],
            "default_parameters": {},
            "aliases": [],
            "consent": {},
            "pronunciations": [],
        }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", result.voice.metadata["created_at"])


def test_the_files_are_those_of_the_published_format(store, root):
    voice_id = store.put(make_waveform(1), "小明", gender="male").voice.voice_id
    assert snapshot(root).keys() == {
        f"embeddings/{voice_id}.pkl.gz",
        f"metadata/{voice_id}.json",
        "voice_catalog.json",
        "name_mapping.json",
        "stats.json",
    }
    metadata = read_json(root / "metadata" / f"{voice_id}.json")
    assert metadata.keys() == {
        "voice_id",
        "speaker_name",
        "gender",
        "original_file",
        "embedding_file",
        "duration",
        "sample_rate",
        "created_at",
        "type",
    }
    assert read_json(root / "voice_catalog.json") == {voice_id: metadata}
    assert read_json(root / "name_mapping.json") == {"小明": voice_id}
    stats = read_json(root / "stats.json")
    assert (stats["total_voices"], stats["gender_distribution"]) == (1, {"male": 1})
    assert stats.keys() >= {"last_updated", "generation_time"}


def test_same_audio_and_name_again_is_the_same_voice(store, root):
    first = store.put(make_waveform(1), "Amy", gender="female")
    files = snapshot(root)
    second = store.put(make_waveform(1), "aMY", gender="male")
    assert (second.created, second.voice.voice_id) == (False, first.voice.voice_id)
    assert snapshot(root) == files


def test_other_audio_under_a_taken_name_is_refused(store, root):
    store.put(make_waveform(1), "Amy")
    files = snapshot(root)
    for name in ("Amy", "AMY"):
        with pytest.raises(VoiceExists, match=r"voice_name is taken: .* set overwrite to replace it"):
            store.put(make_waveform(2), name)
    assert snapshot(root) == files


def test_overwriting_replaces_the_voice_of_that_name(store, root):
    old = store.put(make_waveform(1), "Amy").voice
    new = store.put(make_waveform(2), "Amy", gender="female", overwrite=True)
    assert new.created
    assert store.get(name="Amy").digest == make_waveform(2).digest()
    assert names(store) == {"Amy"}
    with pytest.raises(VoiceNotFound):
        store.get(voice_id=old.voice_id)
    assert [file for file in snapshot(root) if old.voice_id in file] == [f"deleted/{old.voice_id}.json"]
    assert read_json(root / "name_mapping.json") == {"Amy": new.voice.voice_id}


def test_overwriting_with_the_same_audio_updates_what_is_given(store):
    store.put(make_waveform(1), "Amy", description="calm", gender="female")
    result = store.put(make_waveform(1), "Amy", description="lively", overwrite=True)
    assert not result.created
    assert result.voice.metadata["description"] == "lively"
    assert store.metadata(name="Amy")["gender"] == "female"


def test_a_replaced_voice_whose_file_cannot_be_removed_is_gone_all_the_same(store, root, monkeypatch):
    old = store.put(make_waveform(1), "Amy").voice
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", _refuse)
        store.put(make_waveform(2), "Amy", overwrite=True)
        assert [voice["speaker_name"] for voice in VoiceStore(root).list()] == ["Amy"]
    assert store.get(name="Amy").digest == make_waveform(2).digest()
    assert (root / "embeddings" / f"{old.voice_id}.pkl.gz").exists()
    store.put(make_waveform(3), "Ben")  # whoever writes next finishes it
    assert not (root / "embeddings" / f"{old.voice_id}.pkl.gz").exists()
    assert names(store) == {"Amy", "Ben"}


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(1, "not permitted")


def test_same_audio_under_other_names_is_a_voice_each(store):
    voices = [store.put(make_waveform(1), name).voice for name in ("Amy", "Ben", "Cy")]
    assert len({voice.voice_id for voice in voices}) == 3
    for voice in voices:
        assert store.get(name=voice.name).voice_id == voice.voice_id
        assert store.put(make_waveform(1), voice.name).voice.voice_id == voice.voice_id


def test_an_id_taken_by_another_voice_is_left_to_it(store, root):
    taken = make_waveform(1).digest()[:8]
    write_plain_file(root, taken, {"audio": make_waveform(2).samples, "voice_name": "Zed"})
    voice = store.put(make_waveform(1), "Amy").voice
    assert voice.voice_id != taken
    assert store.get(name="Zed").digest == make_waveform(2).digest()
    assert store.get(name="Amy").digest == make_waveform(1).digest()


def test_an_id_taken_by_a_damaged_file_is_left_to_it(store, root):
    taken = root / "embeddings" / f"{make_waveform(1).digest()[:8]}.pkl.gz"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"damaged")
    voice = store.put(make_waveform(1), "Amy").voice
    assert store.get(voice_id=voice.voice_id).digest == make_waveform(1).digest()
    assert taken.read_bytes() == b"damaged"


def test_a_voice_that_another_worker_commits_meanwhile_is_that_voice(store, root, monkeypatch):
    waveform = make_waveform(1)
    link = os.link

    def is_beaten_to_it(source: str, target: str, **folders: object) -> None:
        if target.endswith(".pkl.gz"):
            monkeypatch.setattr(os, "link", link)
            VoiceStore(root).put(waveform, "Amy", gender="male")
        link(source, target, **folders)

    monkeypatch.setattr(os, "link", is_beaten_to_it)
    result = store.put(waveform, "Amy", gender="female")
    assert not result.created
    assert len(store.list()) == 1
    assert result.voice.metadata == store.metadata(name="Amy")


def test_deleting_leaves_nothing_and_the_others(store, root):
    store.put(make_waveform(1), "Amy", gender="female")
    files = snapshot(root)
    voice = store.put(make_waveform(2), "Ben", gender="male").voice
    assert store.delete(name="BEN") == DeleteResult(voice.voice_id, "Ben", deleted=True)
    now = snapshot(root)
    assert now.keys() - files.keys() == {f"deleted/{voice.voice_id}.json"}
    assert all(now[file] == files[file] for file in files if file != "stats.json")
    assert store.stats()["gender_distribution"] == {"female": 1}
    for key in ({"name": "Ben"}, {"voice_id": voice.voice_id}):
        with pytest.raises(VoiceNotFound):
            store.get(**key)


def test_the_last_voice_can_be_deleted_and_put_again(store, root):
    voice = store.put(make_waveform(1), "Amy").voice
    store.delete(voice_id=voice.voice_id)
    assert store.list() == []
    assert read_json(root / "voice_catalog.json") == {}
    assert store.put(make_waveform(1), "Amy").created


def test_stats_count_voices(store):
    assert store.stats() == {"total_voices": 0, "gender_distribution": {}, "average_duration": 0.0}
    store.put(make_waveform(1, duration_s=1.0), "Amy", gender="female")
    store.put(make_waveform(2, duration_s=2.0), "Ben")
    assert store.stats() == {
        "total_voices": 2,
        "gender_distribution": {"female": 1, "unknown": 1},
        "average_duration": 1.5,
    }


def test_reading_creates_nothing(store, root):
    assert store.list() == []
    with pytest.raises(VoiceNotFound):
        store.get(voice_id="00000000")
    assert not root.exists()


def test_a_missing_volume_is_told_and_nothing_is_made_in_its_place(tmp_path):
    store = VoiceStore(tmp_path / "volume" / "voice_embeddings")
    for use in (
        store.list,
        store.stats,
        lambda: store.get(name="Amy"),
        lambda: store.put(make_waveform(1), "Amy"),
    ):
        with pytest.raises(StoreUnavailable, match="not mounted"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_store_is_told(root):
    root.write_text("")
    with pytest.raises(StoreUnavailable):
        VoiceStore(root).list()


def test_a_bad_name_is_refused_before_anything_is_written(store, root):
    with pytest.raises(InvalidRequest, match="voice_name"):
        store.put(make_waveform(1), "../Amy")
    assert not root.exists()


@pytest.mark.parametrize("samples", [[], [0.0, float("nan")], [float("inf")] * 10])
def test_audio_that_is_none_is_refused(store, root, samples):
    with pytest.raises(ReferenceInvalid):
        store.put(Waveform(np.array(samples, dtype=np.float32), 24_000), "Amy")
    assert not root.exists()


def test_audio_too_long_to_be_read_back_is_refused(store):
    with pytest.raises(ReferenceInvalid, match="cut it"):
        store.put(Waveform(np.zeros(601 * 24_000, dtype=np.float32), 24_000), "Amy")


def test_audio_of_another_rate_is_kept_at_24_khz(store):
    store.put(Waveform(make_waveform(1).samples, 48_000), "Amy")
    voice = store.get(name="Amy")
    assert (voice.waveform.sample_rate_hz, voice.waveform.duration_s) == (24_000, 0.125)


def test_metadata_is_json_safe(store):
    store.put(make_waveform(1), "小明", description="\ud800 \x00 text")
    json.dumps(dict(store.get(name="小明").metadata), allow_nan=False, ensure_ascii=False).encode()
