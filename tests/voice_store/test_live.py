"""What a warm worker keeps in memory, and when it looks at the volume again. The clock is turned by hand."""

import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from errors import VoiceNotFound
from tests.voice_store.conftest import make_waveform, names, read_json, write_json, write_plain_file
from voice_store import VoiceStore
from voice_store.live import Timing


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.on_sleep = lambda: None

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.on_sleep()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def worker(root, clock):
    """A worker that has been up for a while."""
    store = VoiceStore(root, Timing(2.0, clock.now, clock.sleep))
    store.put(make_waveform(1), "Amy")
    store.get(name="Amy")
    return store


@pytest.fixture
def opened(monkeypatch):
    """The names of files that are opened, folders left out."""
    seen = []
    original = os.open

    def noted(path, flags, *arguments, **options):
        if not flags & os.O_DIRECTORY:
            seen.append(str(path))
        return original(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", noted)
    return seen


def test_a_voice_that_it_has_is_not_read_again(worker, clock, opened):
    for _ in range(5):
        clock.now_s += 1.0
        assert worker.get(name="amy").digest == make_waveform(1).digest()
        worker.list(), worker.stats(), worker.metadata(name="Amy")
    assert opened == []


def test_a_voice_is_read_again_when_its_file_was_exchanged(worker, root):
    voice_id = worker.metadata(name="Amy")["voice_id"]
    write_plain_file(root, voice_id, {"audio": make_waveform(2).samples, "voice_name": "Amy"})
    assert worker.get(voice_id=voice_id).digest == make_waveform(2).digest()


def test_a_kept_voice_cannot_be_spoilt(worker):
    with pytest.raises(ValueError, match="read-only"):
        worker.get(name="Amy").waveform.samples[0] = 1
    worker.get(name="Amy").metadata["speaker_name"] = "Ben"
    worker.list()[0]["speaker_name"] = "Ben"
    assert worker.get(name="Amy").name == "Amy"


def test_the_voices_used_last_are_kept_up_to_a_size(root, monkeypatch, opened):
    monkeypatch.setattr("voice_store.store.CACHE_BYTES", 2 * make_waveform(1).samples.nbytes)
    store = VoiceStore(root, Timing(settle_s=1_000))
    for seed, name in enumerate(["Amy", "Ben", "Cy"]):
        store.put(make_waveform(seed), name)
    for name in ("Amy", "Ben", "Amy", "Cy"):
        store.get(name=name)
    opened.clear()
    store.get(name="Amy"), store.get(name="Cy")
    assert opened == []
    store.get(name="Ben")
    assert len(opened) == 1


def test_another_workers_changes_are_seen_at_once_where_the_volume_tells(worker, root):
    other = VoiceStore(root)
    other.put(make_waveform(2), "Ben", description="warm")
    assert worker.get(name="Ben").metadata["description"] == "warm"
    other.update(name="Amy", new_name="Zoë")
    assert names(worker) == {"Zoë", "Ben"}
    other.delete(name="Zoë")
    assert names(worker) == {"Ben"}


def test_another_workers_changes_are_seen_in_time_where_the_volume_does_not_tell(
    worker, root, clock, monkeypatch
):
    """Two changes within one tick of the volume's clock leave the same times behind."""
    worker.list()
    folders = worker._folders
    stamps = folders.stamps()
    monkeypatch.setattr(folders, "stamps", lambda: stamps)
    VoiceStore(root).put(make_waveform(2), "Ben")
    worker.list()
    clock.now_s += 2.0
    assert names(worker) == {"Amy", "Ben"}


def test_a_name_that_is_missing_is_waited_for(worker, root, clock):
    looks = []

    def other_worker_is_slow() -> None:
        looks.append(clock.now_s)
        if len(looks) == 3:
            VoiceStore(root).put(make_waveform(2), "Ben")

    clock.on_sleep = other_worker_is_slow
    assert worker.get(name="Ben").digest == make_waveform(2).digest()
    assert len(looks) == 3


@pytest.mark.parametrize("key", [{"name": "Nobody"}, {"voice_id": "00000000"}])
def test_what_stays_missing_is_waited_for_two_seconds(worker, clock, key):
    began_s = clock.now_s
    with pytest.raises(VoiceNotFound):
        worker.get(**key)
    assert 2.0 <= clock.now_s - began_s <= 2.5


def test_a_further_name_by_an_older_program_is_seen_in_time(worker, root, clock):
    mapping = read_json(root / "name_mapping.json")
    write_json(root / "name_mapping.json", mapping | {"narrator": mapping["Amy"]})
    clock.now_s += 2.0
    assert worker.get(name="Narrator").name == "Amy"


def test_a_reader_leaves_indexes_to_their_writer_for_a_while(worker, root, clock):
    """Another worker has committed a voice and is about to write the indexes."""
    write_plain_file(root, "deadbeef", {"audio": make_waveform(2).samples, "voice_name": "Ben"})
    assert names(worker) == {"Amy", "Ben"}
    assert "deadbeef" not in read_json(root / "voice_catalog.json")
    clock.now_s += 2.0
    worker.list()
    assert read_json(root / "voice_catalog.json")["deadbeef"]["speaker_name"] == "Ben"


def test_indexes_that_another_worker_exchanges_all_the_time_are_not_read_each_time(worker, root, opened):
    for seed in range(2, 7):
        VoiceStore(root, Timing(settle_s=0)).put(make_waveform(seed), f"voice {seed}")
        opened.clear()
        assert len(worker.list()) == seed
        assert not {Path(name).name for name in opened} & {"voice_catalog.json", "name_mapping.json"}


def test_a_damaged_file_is_decoded_once(worker, root, monkeypatch):
    path = root / "embeddings" / "deadbeef.pkl.gz"
    path.write_bytes(b"damaged")
    os.utime(path, (1, 1))  # long ago: nobody is writing it
    decoded = []
    decode = "voice_store.folders.decode_voice"
    original = __import__("voice_store.voice_file", fromlist=["decode_voice"]).decode_voice
    monkeypatch.setattr(decode, lambda data, voice_id: decoded.append(voice_id) or original(data, voice_id))
    for seed in range(2, 5):
        worker.put(make_waveform(seed), f"voice {seed}")
        assert "deadbeef" not in {voice["voice_id"] for voice in worker.list()}
    assert decoded.count("deadbeef") <= 1


def in_a_thread(work):
    """Runs it, and returns the thread; its errors end the test when it is joined."""
    thread = ThreadPoolExecutor(1)
    future = thread.submit(work)
    thread.shutdown(wait=False)
    return future


def test_waiting_for_a_missing_name_keeps_nobody_waiting(root):
    waits, goes_on = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        waits.set()
        assert goes_on.wait(60)

    worker = VoiceStore(root, Timing(2.0, sleep=sleep))
    worker.put(make_waveform(1), "Amy")
    seeker = in_a_thread(lambda: worker.get(name="Cy"))
    assert waits.wait(60)
    assert worker.get(name="Amy").digest == make_waveform(1).digest()
    assert worker.put(make_waveform(2), "Ben").created
    worker.update(name="Ben", new_name="Bea")
    worker.delete(name="Bea")
    worker.put(make_waveform(3), "Cy")
    assert not seeker.done()
    goes_on.set()
    assert seeker.result(60).digest == make_waveform(3).digest()


@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_a_reader_waits_for_no_writer(root, monkeypatch, call):
    """However long the volume takes for what it is told to write, and at each such step."""
    worker = VoiceStore(root)
    worker.put(make_waveform(1), "Amy")
    steps, goes_on = queue.SimpleQueue(), threading.Semaphore(0)
    original, reader = getattr(os, call), threading.get_ident()

    def slow(*arguments, **options):
        if threading.get_ident() != reader:
            steps.put("hangs")
            assert goes_on.acquire(timeout=60)
        return original(*arguments, **options)

    monkeypatch.setattr(os, call, slow)
    written = in_a_thread(lambda: worker.put(make_waveform(2), "Ben"))
    written.add_done_callback(lambda _: steps.put("done"))
    count = 0
    while steps.get(timeout=60) == "hangs":
        count += 1
        assert worker.get(name="Amy").digest == make_waveform(1).digest()
        assert "Amy" in names(worker)
        goes_on.release()
    assert count >= 1
    assert written.result().created
    assert names(worker) == {"Amy", "Ben"}


def test_what_others_left_behind_is_mended_in_a_thread_of_its_own(root):
    worker = VoiceStore(root, Timing(settle_s=0, in_background=True))
    worker.put(make_waveform(1), "Amy")
    write_plain_file(root, "deadbeef", {"audio": make_waveform(2).samples, "voice_name": "Ben"})
    writers = []
    original = os.replace

    def seen(*arguments, **options):
        writers.append(threading.current_thread().name)
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", seen)
        assert names(worker) == {"Amy", "Ben"}
        for thread in threading.enumerate():
            if thread.name == "voice store":
                thread.join(60)
    assert set(writers) == {"voice store"}
    assert read_json(root / "voice_catalog.json")["deadbeef"]["speaker_name"] == "Ben"


def test_few_threads_wait_for_missing_names(root):
    waits, goes_on = threading.Semaphore(0), threading.Event()

    def sleep(_: float) -> None:
        waits.release()
        assert goes_on.wait(60)

    worker = VoiceStore(root, Timing(2.0, sleep=sleep))
    worker.put(make_waveform(1), "Amy")
    seekers = [in_a_thread(lambda: worker.get(name="Cy")) for _ in range(2)]
    for _ in seekers:
        assert waits.acquire(timeout=60)
    with pytest.raises(VoiceNotFound):  # at once
        worker.get(name="Cy")
    worker.put(make_waveform(3), "Cy")
    goes_on.set()
    assert {seeker.result(60).digest for seeker in seekers} == {make_waveform(3).digest()}


def test_indexes_that_are_not_told_of_each_change_are_told_in_time(root, clock):
    """As while many voices are imported."""
    worker = VoiceStore(root, Timing(2.0, clock.now, clock.sleep, indexes_at_once=False))
    worker.put(make_waveform(1), "Amy")
    clock.now_s += 2.0
    worker.put(make_waveform(2), "Ben")
    assert "Amy" in read_json(root / "name_mapping.json")
    worker.put(make_waveform(3), "Cy")
    assert "Cy" not in read_json(root / "name_mapping.json")
    clock.now_s += 2.0
    worker.list()
    assert read_json(root / "name_mapping.json").keys() == {"Amy", "Ben", "Cy"}
