"""A store whose folders, not only its files, were prepared by a stranger."""

import json
import os
from pathlib import Path

import pytest

from errors import InvalidRequest, StoreUnavailable
from tests.voice_store.conftest import make_waveform, names, snapshot, write_plain_file
from voice_store import VoiceStore
from voice_store.live import Timing

AT_ONCE = Timing(settle_s=0)
FOLDERS = ("embeddings", "metadata", "revisions", "deleted")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What a link leads to; nothing may come or go there."""
    write_plain_file(
        tmp_path / "outside", "5ec2e700", {"audio": make_waveform(9).samples, "voice_name": "Secret"}
    )
    (tmp_path / "outside" / "precious.json").write_text("{}")
    return tmp_path / "outside"


def use(store: VoiceStore) -> None:
    """All that may write, whether it is let or not."""
    for change in (
        lambda: store.put(make_waveform(2), "Ben", description="x"),
        lambda: store.put(make_waveform(3), "Ben", overwrite=True),
        lambda: store.update(name="Amy", new_name="Zoë"),
        lambda: store.delete(name="Zoë"),
    ):
        try:
            change()
        except StoreUnavailable as fault:
            assert "put a folder in its place" in fault.message  # noqa: PT017


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("target", ["", "embeddings"])
def test_a_folder_that_is_a_link_is_not_followed(store, root, outside, folder, target):
    store.put(make_waveform(1), "Amy")
    if (root / folder).exists():
        (root / folder).rename(root / f"{folder}.before")
    (root / folder).symlink_to(outside / target)
    files = snapshot(outside)
    worker = VoiceStore(root, AT_ONCE)
    if folder == "embeddings":
        with pytest.raises(StoreUnavailable, match="a link lies where the store needs a folder"):
            worker.list()
    elif folder == "metadata":
        use(worker)
        assert names(worker) == {"Ben"}
    else:
        with pytest.raises(StoreUnavailable):
            worker.list()
    assert snapshot(outside) == files


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("make", [Path.touch, os.mkfifo], ids=["file", "pipe"])
def test_what_is_no_folder_does_not_hang_a_worker(root, folder, make):
    root.mkdir()
    make(root / folder)
    worker = VoiceStore(root, AT_ONCE)
    try:
        worker.put(make_waveform(1), "Amy")
    except StoreUnavailable as fault:
        assert "put a folder in its place" in fault.message  # noqa: PT017
    else:
        assert worker.get(name="Amy").digest == make_waveform(1).digest()


def test_links_among_revisions_and_tombstones_are_not_followed(store, root, outside):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    secret = outside / "revision.json"
    secret.write_text(json.dumps({"speaker_name": "Mallory", "revision": 1}))
    for folder in ("revisions", "deleted"):
        (root / folder).mkdir(exist_ok=True)
    (root / "revisions" / f"{voice_id}.1.json").symlink_to(secret)
    (root / "deleted" / f"{voice_id}.pending.json").symlink_to(secret)
    os.mkfifo(root / "revisions" / f"{voice_id}.2.json")
    files = snapshot(outside)
    assert names(VoiceStore(root, AT_ONCE)) == {"Amy"}
    use(VoiceStore(root, AT_ONCE))
    assert snapshot(outside) == files


HOSTILE = {
    "not JSON": b"{",
    "deep": b"[" * 1_000_000,
    "a list": b"[1]",
    "long number": b'{"revision": ' + b"9" * 10_000 + b"}",
    "invalid UTF-8": b'{"speaker_name": "\xff"}',
    "too large": b'{"speaker_name": "' + b"x" * 2**20 + b'"}',
    "other types": b'{"speaker_name": {"a": 1}, "revision": "7", "former_names": 3, "tags": {"x": 1}}',
    "no number": b'{"speaker_name": "Amy", "revision": 1, "default_parameters": {"a": 1e999, "b": NaN}}',
    "nothing": b"",
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_revisions_and_tombstones_cost_nobody_a_voice(hostile, store, root):
    for seed, name in enumerate(["Amy", "Ben"]):
        store.put(make_waveform(seed), name)
    voice_id = store.metadata(name="Amy")["voice_id"]
    for folder in ("revisions", "deleted"):
        (root / folder).mkdir(exist_ok=True)
    for file in (
        f"revisions/{voice_id}.1.json",
        "revisions/..1.json",
        "revisions/..%2f..%2fetc.1.json",
        f"revisions/{voice_id}.99999999999.json",
        f"deleted/{voice_id}.pending.json",
        f"deleted/{voice_id}.other.replaced.json",
        "deleted/...pending.json",
        "deleted/.json",
    ):
        (root / file).write_bytes(HOSTILE[hostile])
    worker = VoiceStore(root, AT_ONCE)
    assert {voice["voice_id"] for voice in worker.list()} >= {voice_id}
    assert worker.get(voice_id=voice_id).digest == make_waveform(0).digest()
    assert worker.get(name="Ben").digest == make_waveform(1).digest()
    json.dumps(worker.list(), allow_nan=False).encode("ascii")
    assert worker.update(voice_id=voice_id, new_name="Zoë")["speaker_name"] == "Zoë"
    assert worker.delete(voice_id=voice_id).deleted
    assert names(VoiceStore(root, AT_ONCE)) == {"Ben"}


def test_names_with_dots_in_an_index_do_not_become_paths(store, root, outside):
    store.put(make_waveform(1), "Amy")
    catalog = {"../../outside/embeddings/5ec2e700": {"speaker_name": "Secret", "duration": 1.0}}
    (root / "voice_catalog.json").write_text(json.dumps(catalog))
    (root / "name_mapping.json").write_text(json.dumps({"Secret": "../../outside/embeddings/5ec2e700"}))
    assert names(store) == {"Amy"}
    for voice_id in catalog:
        with pytest.raises(InvalidRequest):
            store.get(voice_id=voice_id)
