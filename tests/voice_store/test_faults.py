"""What happens to the voices when a write fails, or the process does."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from errors import StoreUnavailable
from tests.voice_store import faults
from tests.voice_store.conftest import make_waveform, snapshot, write_json
from voice_store import VoiceStore
from voice_store.files import volume_faults
from voice_store.live import Timing

REPOSITORY = Path(__file__).parents[2]

# In a process of its own, because the limit on file sizes is the process's: a real fault of a real write.
PUT_WITH_LIMIT = """
import resource, sys
from pathlib import Path
from errors import StoreUnavailable
from tests.voice_store import faults
from tests.voice_store.conftest import make_waveform
from voice_store import VoiceStore

store = VoiceStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    store.put(make_waveform(2), "Ben", overwrite=True)
except StoreUnavailable as fault:
    print(fault.message)
else:
    print("kept")
for voice in store.list():
    print(voice["speaker_name"], store.get(voice_id=voice["voice_id"]).digest)
"""


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves what it has written, synced or not; a lost machine is not tried."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize("limit", [0, 1, 4096, 20_000])
def test_a_voice_that_does_not_fit_leaves_the_store_as_it_was(store, root, limit):
    store.put(make_waveform(1), "Amy")
    files = snapshot(root)
    done = run(PUT_WITH_LIMIT, root, limit)
    message, *voices = done.stdout.splitlines()
    assert "saving the voice failed: the volume is full" in message
    assert voices == [f"Amy {make_waveform(1).digest()}"]
    assert str(root) not in message
    assert snapshot(root) == files


def test_indexes_that_cannot_be_written_cost_nothing_but_themselves(store, root):
    store.put(make_waveform(1), "Amy")
    for path in root.glob("*.json"):
        path.unlink()
        path.mkdir()  # nothing can be renamed onto it, not even by root
    assert store.put(make_waveform(2), "Ben").created
    assert store.get(name="Ben").digest == make_waveform(2).digest()
    assert len(store.list()) == 2
    store.delete(name="Amy")
    assert [voice["speaker_name"] for voice in store.list()] == ["Ben"]


def test_a_volume_that_takes_no_writes_serves_reads(store, root):
    store.put(make_waveform(1), "Amy")
    (root / "voice_catalog.json").unlink()  # so that reading would write
    done = run(PUT_WITH_LIMIT, root, 0)
    assert done.stdout.splitlines()[1:] == [f"Amy {make_waveform(1).digest()}"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_volumes_without_links_keep_voices_too(store, root, monkeypatch, code):
    def no_links(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    voices = {name: make_waveform(seed) for seed, name in enumerate(["Amy", "Ben"])}
    for name, waveform in voices.items():
        assert store.put(waveform, name).created
        assert store.put(waveform, name + " 2").created  # the first id is taken
        assert not store.put(waveform, name).created
    for name, waveform in voices.items():
        assert VoiceStore(root).get(name=name).digest == waveform.digest()
    assert len(list((root / "embeddings").iterdir())) == 4


@pytest.mark.parametrize("name", ["Amy", "Ben"])
def test_an_id_that_a_killed_worker_reserved_on_a_volume_without_links_is_not_waited_for_long(root, name):
    store = VoiceStore(root, Timing(settle_s=0, sleep=lambda _: None))
    voice_id = make_waveform(1).digest()[:8]
    write_json(root / "metadata" / f"{voice_id}.json", {"speaker_name": "Amy", "duration": 0.25})
    (root / "embeddings").mkdir()
    (root / "embeddings" / f"{voice_id}.pkl.gz").touch()
    assert store.put(make_waveform(1), name).created
    assert store.get(name=name).digest == make_waveform(1).digest()
    assert not store.put(make_waveform(1), name).created


def test_a_link_whose_answer_got_lost_is_a_link(store, root, monkeypatch):
    link = os.link

    def loses_the_answer(*arguments: object, **options: object) -> None:
        link(*arguments, **options)
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(os, "link", loses_the_answer)
    assert store.put(make_waveform(1), "Amy").created
    assert len(list((root / "embeddings").iterdir())) == 1


@pytest.mark.parametrize("name", ["link", "fsync", "open"])
def test_a_fault_on_the_way_leaves_nothing_behind(store, root, monkeypatch, name):
    store.put(make_waveform(1), "Amy")
    files = snapshot(root)
    call = getattr(os, name)

    def fails(path: object, *arguments: object, **options: object) -> object:
        if (isinstance(path, Path) and path.suffix == ".json") or arguments[:1] == (
            os.O_RDONLY | os.O_DIRECTORY,
        ):
            return call(path, *arguments, **options)
        if name == "open" and not arguments[0] & os.O_CREAT:
            return call(path, *arguments, **options)
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fails)
        with pytest.raises(StoreUnavailable, match="did not answer"):
            store.put(make_waveform(2), "Ben")
    assert snapshot(root) == files
    assert store.put(make_waveform(2), "Ben").created


def test_a_voice_is_on_the_disk_before_it_has_its_name(store, root, monkeypatch):
    """What cannot be seen from outside without pulling the plug: the order of sync and link."""
    events = []
    fsync, link = os.fsync, os.link

    def seen_fsync(descriptor: int) -> None:
        events.append(("sync", _path(descriptor)))
        fsync(descriptor)

    def seen_link(source: str, target: str, *, src_dir_fd: int, **options: object) -> None:
        events.append(("link", _path(src_dir_fd) / source))
        link(source, target, src_dir_fd=src_dir_fd, **options)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "link", seen_link)
    store.put(make_waveform(1), "Amy")
    linked = events.index(
        (
            "link",
            next(
                path
                for kind, path in events
                if path.suffix == ".tmp" and kind == "link" and path.parent.name == "embeddings"
            ),
        )
    )
    assert events[linked - 1] == ("sync", events[linked][1])
    assert events[linked + 1] == ("sync", root / "embeddings")


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def test_whoever_sees_a_voice_first_knows_all_of_it(store, root, monkeypatch):
    link = os.link
    seen = []

    def seen_at_once(source: object, target: object, **options: object) -> None:
        link(source, target, **options)
        seen.extend(voice["description"] for voice in VoiceStore(root).list())  # and writes the indexes

    monkeypatch.setattr(os, "link", seen_at_once)
    store.put(make_waveform(1), "Amy", description="calm")
    assert set(seen) == {"calm"}
    assert store.metadata(name="Amy")["description"] == "calm"


def test_what_a_killed_worker_announced_does_not_stick_to_another_voice(store, root):
    voice_id = make_waveform(1).digest()[:8]
    write_json(root / "metadata" / f"{voice_id}.json", {"speaker_name": "Ben", "description": "lively"})
    assert store.list() == []
    voice = store.put(make_waveform(1), "Amy").voice
    assert voice.metadata["description"] is None
    (root / "voice_catalog.json").unlink()
    assert store.metadata(name="Amy") == voice.metadata


@pytest.mark.parametrize("change", faults.CHANGES, ids=lambda change: change.name)
def test_a_worker_killed_at_any_step_loses_nothing(change, tmp_path):
    row = faults.kill_at_every_step(change, tmp_path)
    assert row.tried > 20
    assert (row.acknowledged, row.lost) == (1, 0)  # it is not killed once, after the last step


@pytest.mark.parametrize("from_then_on", [False, True])
@pytest.mark.parametrize("change", faults.CHANGES, ids=lambda change: change.name)
@pytest.mark.parametrize("code", faults.ERRORS, ids=errno.errorcode.get)
def test_an_error_at_any_step_loses_nothing(code, change, from_then_on, tmp_path):
    row = faults.fail_at_every_step(change, code, tmp_path, from_then_on=from_then_on, every=6)
    assert row.tried > 7
    assert row.lost == 0


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "full"),
        (errno.EROFS, "writable"),
        (errno.EACCES, "writable"),
        (errno.EIO, "did not answer"),
        (errno.ESTALE, "did not answer"),
    ],
)
def test_a_fault_of_the_volume_says_what_to_do_without_a_path(code, advice):
    with pytest.raises(StoreUnavailable, match=advice) as caught, volume_faults("saving the voice"):
        raise OSError(code, os.strerror(code), "/secret/path")
    assert "/" not in caught.value.message
