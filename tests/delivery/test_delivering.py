import base64
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery import Deliverer, Spill
from delivery.delivering import base64_length
from errors import DeliveryFailed, OutputTooLarge
from operations.base import ENVELOPE_BYTES, Job

AUDIO = bytes(range(256)) * 40
REPLY = {"text": "a" * 400, "warnings": []}
REPLY_BYTES = len(json.dumps(REPLY))
FITS = base64_length(len(AUDIO)) + REPLY_BYTES + ENVELOPE_BYTES


@pytest.fixture
def spill_dir(tmp_path):
    return tmp_path / "audio_out"


def deliver(spill_dir, *, limit_bytes, job_id="job-1", mode="auto", audio=AUDIO):
    return Deliverer(Spill(spill_dir)).deliver(
        audio,
        extension="wav",
        mode=mode,
        reply=REPLY,
        advice="ask for mp3",
        job=Job(job_id, limit_bytes),
    )


def test_audio_that_fits_exactly_goes_into_the_reply(spill_dir):
    delivered = deliver(spill_dir, limit_bytes=FITS)
    assert base64.b64decode(delivered.audio) == AUDIO
    assert delivered.audio_path is None
    assert not spill_dir.exists()


def test_without_a_limit_everything_goes_into_the_reply(spill_dir):
    assert deliver(spill_dir, limit_bytes=None, mode="inline").audio is not None


def test_one_byte_too_many_goes_to_a_file(spill_dir):
    delivered = deliver(spill_dir, limit_bytes=FITS - 1)
    assert delivered.audio is None
    assert delivered.audio_path == str((spill_dir / "job-1.wav").resolve())
    assert (spill_dir / "job-1.wav").read_bytes() == AUDIO
    (warning,) = delivered.warnings
    assert "audio_path" in warning
    assert "mp3" in warning
    assert str(FITS) in warning


def test_a_repeated_job_overwrites_its_own_file_and_leaves_nothing_else(spill_dir):
    deliver(spill_dir, limit_bytes=1, audio=b"first")
    deliver(spill_dir, limit_bytes=1, audio=b"second")
    assert [path.name for path in spill_dir.iterdir()] == ["job-1.wav"]
    assert (spill_dir / "job-1.wav").read_bytes() == b"second"


def test_inline_only_keeps_the_audio_and_says_where_without_an_absolute_path(spill_dir):
    with pytest.raises(OutputTooLarge) as caught:
        deliver(spill_dir, limit_bytes=1, mode="inline")
    assert (spill_dir / "job-1.wav").read_bytes() == AUDIO
    assert "audio_out/job-1.wav" in caught.value.message
    assert "'auto'" in caught.value.message
    assert str(spill_dir.parent) not in caught.value.message


def test_a_volume_that_is_gone_is_an_error_that_says_what_to_ask_for(tmp_path):
    with pytest.raises(OutputTooLarge) as caught:
        deliver(tmp_path / "no-mount" / "audio_out", limit_bytes=1)
    assert "ask for mp3" in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert not (tmp_path / "no-mount").exists()


def test_a_full_disk_leaves_no_partial_file(spill_dir, monkeypatch):
    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputTooLarge):
        deliver(spill_dir, limit_bytes=1)
    assert list(spill_dir.iterdir()) == []


@pytest.mark.parametrize(
    "job_id", ["../../etc/passwd", "a/b", ".hidden", "..", "", "\ud800", "x" * 5000, "a\0b", "ü"]
)
def test_hostile_job_ids_stay_in_the_folder(spill_dir, job_id):
    deliver(spill_dir, limit_bytes=1, job_id=job_id)
    (path,) = spill_dir.iterdir()
    assert not path.name.startswith(".")
    assert path.name.isascii()


def test_ids_that_look_alike_as_file_names_get_their_own_files(spill_dir):
    for job_id in ("a/b", "a_b", "a\\b", "a b"):
        deliver(spill_dir, limit_bytes=1, job_id=job_id)
    assert len(list(spill_dir.iterdir())) == 4


@given(st.binary(max_size=200))
def test_base64_length_is_that_of_the_encoder(data):
    assert base64_length(len(data)) == len(base64.b64encode(data))


def test_the_volume_can_be_asked_for(spill_dir):
    delivered = deliver(spill_dir, limit_bytes=FITS, mode="volume")
    assert delivered.audio_path == str((spill_dir / "job-1.wav").resolve())
    assert delivered.warnings == ()


def test_a_volume_that_does_not_take_it_is_said(tmp_path):
    with pytest.raises(DeliveryFailed, match="mounted and not full"):
        deliver(tmp_path / "no-mount" / "audio_out", limit_bytes=FITS, mode="volume")


def job(job_id="job-1", **job_input):
    return Job(job_id, 1, input=job_input)


def spoken(deliverer, of_job):
    reply = {"seed": 7, "warnings": ["loud"]}
    return deliverer.deliver(
        AUDIO, extension="wav", mode="auto", reply=reply, advice="ask for mp3", job=of_job
    )


def test_a_job_that_comes_again_gets_the_same_reply_on_any_worker(spill_dir):
    path = spoken(Deliverer(Spill(spill_dir)), job(text="a", seed=None)).audio_path
    again = Deliverer(Spill(spill_dir)).repeat(job(seed=None, text="a"))
    assert again["audio_path"] == path
    assert again["seed"] == 7
    assert again["warnings"][0] == "loud"
    assert "audio_path" in again["warnings"][1]


@pytest.mark.parametrize(
    "spoil", ["other input", "other job", "no audio", "damaged", "no file name", "a list"]
)
def test_what_is_not_the_same_job_whole_is_done_again(spill_dir, spoil):
    deliverer = Deliverer(Spill(spill_dir))
    spoken(deliverer, job(text="a"))
    record = spill_dir / "job-1.json"
    asked = job(text="a")
    if spoil == "other input":
        asked = job(text="b")
    elif spoil == "other job":
        asked = job("job-2", text="a")
    elif spoil == "no audio":
        (spill_dir / "job-1.wav").unlink()
    elif spoil == "damaged":
        record.write_bytes(record.read_bytes()[:-20])
    elif spoil == "no file name":
        record.write_text(record.read_text().replace('"job-1.wav"', '"../secret"'))
    else:
        record.write_text("[]")
    assert deliverer.repeat(asked) is None


def test_local_jobs_are_never_repetitions(spill_dir):
    deliverer = Deliverer(Spill(spill_dir))
    spoken(deliverer, Job("local_test", 1))
    assert deliverer.repeat(Job("local_test", 1)) is None
    assert [path.name for path in spill_dir.iterdir()] == ["local_test.wav"]
