"""What the folder for audio holds after jobs, and what goes from it when."""

import contextlib
import errno
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from cancel import CancelToken
from delivery import Delivery, Spill
from delivery.records import NOT_KEPT
from delivery.sweeping import sweep
from errors import StoreUnavailable
from tests.fakes import build_worker
from tests.serving.jobs import tts
from voice_store import Mount
from voice_store.files import Folder

ON_PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example"}
SECRET = "Persimmon"
HOUR_S = 3600
DAY_S = 24 * HOUR_S


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audio_out"


def a_worker(tmp_path, **env):
    return build_worker(tmp_path, env=ON_PLATFORM | env)


def age(path: Path, age_s: float) -> None:
    then_s = time.time() - age_s
    os.utime(path, (then_s, then_s), follow_symlinks=False)


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def old_record(folder: Path, name: str = "of-before.json") -> Path:
    """As the version before this one wrote it."""
    folder.mkdir(exist_ok=True)
    reply = {"text": SECRET, "segments": [{"text": SECRET, "start": 0.0, "end": 1.0}], "warnings": []}
    content = {"input": "0" * 64, "reply": reply, "file": "of-before.wav", "key": None}
    (folder / name).write_text(json.dumps(content))
    return folder / name


async def spoken_to(env, tmp_path, job_id="job-1", text=SECRET + ".", **fields):
    reply = await a_worker(tmp_path, **env).handle(tts(text, job_id, delivery="volume", **fields))
    assert "error" not in reply, reply
    return reply


# Records.


@pytest.mark.parametrize("fields", [{}, {"timestamps": "words", "subtitles": "srt"}])
async def test_no_file_beside_the_audio_holds_text(tmp_path, folder, fields):
    first = await spoken_to({}, tmp_path, **fields)
    assert first["text"] == SECRET + "."
    assert names_in(folder)
    for name in names_in(folder):
        assert SECRET.encode() not in (folder / name).read_bytes()
        assert SECRET not in name


async def test_a_job_that_comes_again_is_told_what_is_no_text(tmp_path):
    fields = {"text": "One sentence. And another one."}
    first = await spoken_to({}, tmp_path, **fields)
    again = await spoken_to({}, tmp_path, **fields)
    same = ("audio_path", "seed", "text", "mode", "voice", "model", "parameters", "duration", "metrics")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert [(each["start"], each["end"]) for each in again["segments"]] == [
        (each["start"], each["end"]) for each in first["segments"]
    ]
    assert not any({"text", "spoken", "voice"} & each.keys() for each in again["segments"])
    assert again["warnings"] == [NOT_KEPT]


async def test_a_job_that_asked_for_words_is_done_again(tmp_path):
    first = await spoken_to({}, tmp_path, timestamps="words", seed=1)
    again = await spoken_to({}, tmp_path, timestamps="words", seed=1)
    assert again["words"] == first["words"] != []


async def test_a_record_of_the_version_before_answers_without_its_text(tmp_path, folder):
    first = await spoken_to({}, tmp_path)
    record = folder / "job-1.json"
    content = json.loads(record.read_text())
    content["reply"] = {**first, "segments": [{"text": "Older text", "spoken": "older text", "start": 0.0}]}
    record.write_text(json.dumps(content))
    again = await spoken_to({}, tmp_path)
    assert again["segments"] == [{"start": 0.0}]
    assert "older" not in json.dumps(again).lower()


async def test_a_record_goes_after_a_day(tmp_path, folder):
    await spoken_to({}, tmp_path, "job-1")
    await spoken_to({}, tmp_path, "job-2")
    age(folder / "job-1.json", DAY_S + 60)
    age(folder / "job-2.json", DAY_S - 60)
    assert sweep(Spill(folder)) == 1
    assert names_in(folder) == {"job-1.wav", "job-2.json", "job-2.wav"}


def test_a_record_with_text_of_the_version_before_goes_too_complete_or_not(folder):
    whole = old_record(folder)
    half = old_record(folder, "half.json")
    half.write_bytes(half.read_bytes()[:-10])
    large = old_record(folder, "large.json")
    large.write_text(large.read_text().replace(SECRET, "x" * 2**20))
    for record in (whole, half, large):
        assert sweep(Spill(folder)) == 0
        age(record, DAY_S + 60)
        assert sweep(Spill(folder)) == 1
    assert names_in(folder) == set()


def test_what_a_killed_writer_left_goes_after_a_day(folder):
    (folder / "expiring").mkdir(parents=True)
    left = [folder / f".job-1.wav.{'0' * 32}.tmp", folder / "expiring" / f".job-1.wav.{'1' * 32}.tmp"]
    for path in left:
        path.write_bytes(b"half")
    assert sweep(Spill(folder)) == 0
    for path in left:
        age(path, DAY_S + 60)
    assert sweep(Spill(folder)) == 2
    assert names_in(folder) == set()


# Audio.


async def test_audio_goes_after_its_hours_and_the_record_is_no_dead_link(tmp_path, folder):
    env = {"AUDIO_RETENTION_H": "2"}
    first = await spoken_to(env, tmp_path)
    audio, spill = Path(first["audio_path"]), Spill(folder, audio_retention_h=2)
    age(audio, 2 * HOUR_S - 60)
    assert sweep(spill) == 0
    age(audio, 2 * HOUR_S + 60)
    age(folder / "expiring" / "job-1.wav", 2 * HOUR_S + 60)
    assert sweep(spill) == 1
    assert names_in(folder) == {"job-1.json"}
    again = await spoken_to(env, tmp_path)
    assert "text" in again["segments"][0]  # spoken again
    assert Path(again["audio_path"]).read_bytes()


async def test_audio_that_a_repeated_job_was_told_of_has_all_of_its_hours(tmp_path, folder):
    env = {"AUDIO_RETENTION_H": "2"}
    first = await spoken_to(env, tmp_path)
    for path in folder.rglob("*.wav"):
        age(path, 2 * HOUR_S + 60)  # due, and not swept yet
    again = await spoken_to(env, tmp_path)
    assert again["warnings"] == [NOT_KEPT]
    assert sweep(Spill(folder, audio_retention_h=2)) == 0
    assert Path(again["audio_path"]) == Path(first["audio_path"])
    assert names_in(folder) == {"job-1.json", "job-1.wav", "expiring/job-1.wav"}


async def test_audio_stays_where_nobody_asked_for_its_end(tmp_path, folder):
    await spoken_to({}, tmp_path, "before")
    await spoken_to({"AUDIO_RETENTION_H": "1"}, tmp_path, "since")
    for path in folder.rglob("*.wav"):
        age(path, 400 * DAY_S)
    assert sweep(Spill(folder)) == 0
    assert sweep(Spill(folder, audio_retention_h=24)) == 1  # whoever sweeps: of the writer's setting
    assert names_in(folder) == {"before.json", "before.wav", "since.json"}


async def test_a_repeated_job_without_the_setting_makes_audio_that_stays(tmp_path, folder):
    await spoken_to({"AUDIO_RETENTION_H": "1"}, tmp_path)
    await spoken_to({}, tmp_path, text="Another input.")
    age(folder / "job-1.wav", DAY_S)
    assert sweep(Spill(folder, audio_retention_h=1)) == 0
    assert (folder / "job-1.wav").exists()


def test_pieces_of_a_stream_go_too(folder):
    spill = Spill(folder, audio_retention_h=1)
    delivery = Delivery(spill)
    target = delivery.validate("auto", "a/stream", CancelToken())
    name = delivery.file_name(target, "mp3", part=7)
    delivery.deliver_elsewhere(b"audio", target, name, "audio/mpeg", CancelToken())
    age(folder / name, HOUR_S + 60)
    age(folder / "expiring" / name, HOUR_S + 60)
    assert sweep(spill) == 1
    assert names_in(folder) == set()


async def test_a_mark_whose_audio_somebody_removed_goes_when_it_is_old(tmp_path, folder):
    first = await spoken_to({"AUDIO_RETENTION_H": "1"}, tmp_path)
    Path(first["audio_path"]).unlink()
    spill = Spill(folder, audio_retention_h=1)
    sweep(spill)
    assert "expiring/job-1.wav" in names_in(folder)  # a job may be about to write its audio
    age(folder / "expiring" / "job-1.wav", HOUR_S + 60)
    sweep(spill)
    assert names_in(folder) == {"job-1.json"}


# Other files.


def test_links_are_not_followed_and_other_files_stay(tmp_path, folder):
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("private.json", "private.wav"):
        old_record(other, name)
    (folder / "expiring").mkdir(parents=True)
    (folder / "record.json").symlink_to(other / "private.json")
    (folder / "audio.wav").symlink_to(other / "private.wav")
    (folder / "notes.json").write_text('{"input": "mine"}')
    (folder / "music.wav").write_bytes(b"music")
    (folder / f".backup.{'0' * 31}.tmp").write_bytes(b"not of the worker")
    (folder / "dialogue.json").mkdir()
    for name, hours in (("audio.wav", b"1"), ("music.wav", b"-1"), ("..", None), ("notes.json", b"1")):
        if hours is not None:
            (folder / "expiring" / name).write_bytes(hours)
    (folder / "expiring" / "linked.wav").symlink_to(other / "private.wav")
    for path in (*folder.rglob("*"), *other.rglob("*")):
        age(path, 400 * DAY_S)
    before = names_in(tmp_path)
    assert sweep(Spill(folder, audio_retention_h=1)) == 0
    assert names_in(tmp_path) == before


def test_a_record_that_names_a_link_is_not_answered_with_its_path(tmp_path, folder):
    delivery = Delivery(Spill(folder))
    target = delivery.validate("volume", "job-1", CancelToken(), job_input={"text": "a"})
    fields = {"extension": "wav", "content_type": "audio/wav", "reply": {}, "limit_bytes": None, "hint": ""}
    delivery.deliver(b"audio", target, cancel=CancelToken(), **fields)
    assert delivery.previous_result(target, CancelToken()) is not None
    (folder / "job-1.wav").unlink()
    (tmp_path / "private.wav").write_bytes(b"private")
    (folder / "job-1.wav").symlink_to(tmp_path / "private.wav")
    assert delivery.previous_result(target, CancelToken()) is None


@pytest.mark.parametrize("linked", ["audio_out", "audio_out/expiring"])
def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path, folder, linked):
    elsewhere = tmp_path / "elsewhere"
    record = old_record(elsewhere)
    age(record, 400 * DAY_S)
    if linked != "audio_out":
        folder.mkdir()
    (tmp_path / linked).symlink_to(elsewhere)
    with pytest.raises(OSError, match="Not a directory|symbolic links"):
        sweep(Spill(folder, audio_retention_h=1))
    assert record.exists()


# Many workers, and volumes that do not take part.


def test_many_workers_sweep_one_folder(folder):
    for number in range(40):
        age(old_record(folder, f"job-{number}.json"), DAY_S + 60)
    counts, failures = [], []

    def work() -> None:
        try:
            counts.append(sweep(Spill(folder)))
        except OSError as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert sum(counts) == 40
    assert names_in(folder) == set()


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_is_written_while_it_is_swept_stays(tmp_path, monkeypatch, has_links):
    (tmp_path / "job-1.wav").write_bytes(b"old")
    age(tmp_path / "job-1.wav", DAY_S)
    rename = os.rename

    def overtaken(name, taken, **folders):
        (tmp_path / "new").write_bytes(b"new")
        (tmp_path / "new").replace(tmp_path / "job-1.wav")
        rename(name, taken, **folders)

    def refuse(*names, **options):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "rename", overtaken)
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    assert not Folder(tmp_path).remove_older("job-1.wav", 60)
    assert (tmp_path / "job-1.wav").read_bytes() == b"new"
    assert names_in(tmp_path) == {"job-1.wav"}


def test_one_sweep_looks_at_so_many_files(folder, monkeypatch):
    monkeypatch.setattr("delivery.sweeping.MAX_FILES", 5)
    for number in range(12):
        age(old_record(folder, f"job-{number}.json"), DAY_S + 60)
    assert [sweep(Spill(folder)) for _ in range(4)] == [5, 5, 2, 0]


def fill(volume: Path) -> None:
    with (volume / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


@pytest.mark.parametrize("state", ["full", "read-only"])
async def test_a_volume_that_takes_nothing_hinders_no_job(volume, state):
    worker = a_worker(volume, AUDIO_RETENTION_H="1")
    first = await worker.handle(tts(delivery="volume"))
    age(old_record(volume / "audio_out"), DAY_S + 60)
    if state == "full":
        fill(volume)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(volume)], check=True)
    assert "audio" in await worker.handle(tts(job_id="job-2"))
    again = await worker.handle(tts(delivery="volume"))
    assert again["audio_path"] == first["audio_path"]
    refused = await worker.handle(tts(job_id="job-3", delivery="volume"))
    assert refused["error_code"] == "delivery_failed"
    spill = Spill(volume / "audio_out", audio_retention_h=1)
    if state == "full":
        assert sweep(spill) == 1  # which takes no space
    else:
        with pytest.raises(OSError, match="Read-only"):
            sweep(spill)


def test_a_volume_that_is_gone_is_left_alone(volume):
    mount = Mount(volume)
    subprocess.run(["umount", str(volume)], check=True)
    record = old_record(volume)
    age(record, DAY_S + 60)
    with pytest.raises(StoreUnavailable, match="not mounted any more"):
        sweep(Spill(volume, mount))
    assert record.exists()
