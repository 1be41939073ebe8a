import base64
import json
import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio import network
from audio.network import HostPolicy
from cancel import CancelToken
from delivery import Bucket, Delivery, Spill, Target
from delivery.delivering import ENVELOPE_BYTES, base64_length
from delivery.records import NOT_KEPT
from errors import Cancelled, DeliveryFailed, FetchFailed, FetchRefused, InvalidRequest, OutputTooLarge

AUDIO = bytes(range(256)) * 40
REPLY = {"text": "a" * 400, "warnings": []}
REPLY_BYTES = len(json.dumps(REPLY))
FITS = base64_length(len(AUDIO)) + REPLY_BYTES + ENVELOPE_BYTES


@pytest.fixture
def spill_dir(tmp_path):
    return tmp_path / "audio_out"


def deliver(spill_dir, *, limit_bytes, job_id="job-1", mode="auto", audio=AUDIO):
    delivery = Delivery(Spill(spill_dir))
    return deliver_by(
        delivery, delivery.validate(mode, job_id, CancelToken()), limit_bytes=limit_bytes, audio=audio
    )


def deliver_by(delivery, target, *, limit_bytes=1, audio=AUDIO, reply=REPLY, cancel=None):
    return delivery.deliver(
        audio,
        target,
        extension="wav",
        content_type="audio/wav",
        reply=reply,
        limit_bytes=limit_bytes,
        hint="ask for mp3",
        cancel=cancel or CancelToken(),
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


def target(delivery, job_id="job-1", **job_input):
    return delivery.validate("auto", job_id, CancelToken(), job_input=job_input)


def test_a_job_that_comes_again_gets_the_same_facts_on_any_worker(spill_dir):
    first, other = Delivery(Spill(spill_dir)), Delivery(Spill(spill_dir))
    reply = {"seed": 7, "text": "a", "warnings": ["loud"]}
    path = deliver_by(first, target(first, text="a", seed=None), reply=reply).audio_path
    again = other.previous_result(target(other, seed=None, text="a"), CancelToken())
    assert again["audio_path"] == path
    assert again["seed"] == 7
    assert "text" not in again
    assert again["warnings"] == [NOT_KEPT]


@pytest.mark.parametrize(
    "spoil", ["other input", "other job", "no audio", "damaged", "no file name", "a list"]
)
def test_what_is_not_the_same_job_whole_is_done_again(spill_dir, spoil):
    delivery = Delivery(Spill(spill_dir))
    deliver_by(delivery, target(delivery, text="a"))
    record = spill_dir / "job-1.json"
    asked = target(delivery, text="a")
    assert delivery.previous_result(asked, CancelToken()) is not None
    if spoil == "other input":
        asked = target(delivery, text="b")
    elif spoil == "other job":
        asked = target(delivery, "job-2", text="a")
    elif spoil == "no audio":
        (spill_dir / "job-1.wav").unlink()
    elif spoil == "damaged":
        record.write_bytes(record.read_bytes()[:-20])
    elif spoil == "no file name":
        record.write_text(record.read_text().replace('"job-1.wav"', '"../secret"'))
    else:
        record.write_text("[]")
    assert delivery.previous_result(asked, CancelToken()) is None


def test_local_jobs_are_never_repetitions(spill_dir):
    delivery = Delivery(Spill(spill_dir))
    local = Target("local_test")
    deliver_by(delivery, local)
    assert delivery.previous_result(local, CancelToken()) is None
    assert [path.name for path in spill_dir.iterdir()] == ["local_test.wav"]


def test_without_a_volume_there_is_no_path_that_leads_nowhere():
    delivery = Delivery(None)
    with pytest.raises(InvalidRequest, match="delivery 'volume' is not possible: no network volume"):
        delivery.validate("volume", "job-1", CancelToken())
    for mode in ("auto", "inline"):
        with pytest.raises(OutputTooLarge, match="ask for mp3"):
            deliver_by(delivery, delivery.validate(mode, "job-1", CancelToken()))
    assert deliver_by(delivery, Target("job-1"), limit_bytes=FITS).audio is not None
    assert delivery.previous_result(target(delivery, text="a"), CancelToken()) is None


S3_CONFIG = {
    "endpointUrl": "https://127.0.0.1:9",
    "accessId": "id",
    "accessSecret": "secret",
    "bucketName": "audio",
}


def test_without_a_bucket_s3_is_refused_before_the_work(spill_dir):
    with pytest.raises(InvalidRequest, match="delivery 's3' is not possible.*s3Config"):
        Delivery(Spill(spill_dir)).validate("s3", "job-1", CancelToken())


def test_a_jobs_bucket_is_looked_at_and_made_once():
    hosts = HostPolicy(allow_private=True)
    found = Delivery(None, job_hosts=hosts).validate("s3", "job-1", CancelToken(), s3_config=S3_CONFIG)
    assert isinstance(found.bucket, Bucket)
    assert found.bucket.settings.name == "audio"
    with pytest.raises(FetchRefused, match=r"s3Config\.endpointUrl"):
        Delivery(None).validate("s3", "job-1", CancelToken(), s3_config=S3_CONFIG)


def test_a_look_up_of_a_jobs_bucket_that_hangs_ends_in_time_or_with_the_job(monkeypatch):
    released, cancel = threading.Event(), CancelToken()
    s3_config = {**S3_CONFIG, "endpointUrl": "https://store.example"}

    def hang(*host, **options):
        cancel.cancel(Cancelled("the job was cancelled"))
        released.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with pytest.raises(Cancelled):
            Delivery(None).validate("s3", "job-1", cancel, s3_config=s3_config)
        monkeypatch.setattr(network, "LOOK_UP_S", 0.05)
        with pytest.raises(FetchFailed, match=r"endpointUrl names a host that was not found in time"):
            Delivery(None).validate("s3", "job-1", CancelToken(), s3_config=s3_config)
    finally:
        released.set()


def test_every_field_of_a_jobs_bucket_that_is_missing_is_named(spill_dir):
    with pytest.raises(InvalidRequest) as refused:
        Delivery(Spill(spill_dir)).validate(
            "s3", "job-1", CancelToken(), s3_config={"endpointUrl": 1, "region": 2}
        )
    for name in ("endpointUrl", "accessId", "accessSecret", "bucketName", "region"):
        assert f"s3Config.{name} " in refused.value.message


def test_a_cancelled_job_uploads_nothing(spill_dir):
    delivery, cancel = Delivery(None, job_hosts=HostPolicy(allow_private=True)), CancelToken()
    found = delivery.validate("s3", "job-1", cancel, s3_config=S3_CONFIG)
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        deliver_by(delivery, found, cancel=cancel)
