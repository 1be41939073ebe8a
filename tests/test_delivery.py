import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery import InlineOrFile, base64_length
from errors import OutputTooLarge
from operations.base import ENVELOPE_BYTES, Job

AUDIO = bytes(range(256)) * 40
REPLY_BYTES = 500
FITS = base64_length(len(AUDIO)) + REPLY_BYTES + ENVELOPE_BYTES


@pytest.fixture
def spill_dir(tmp_path):
    return tmp_path / "audio_out"


def deliver(spill_dir, *, limit_bytes, job_id="job-1", inline_only=False, audio=AUDIO):
    return InlineOrFile(spill_dir).deliver(
        audio,
        extension="wav",
        inline_only=inline_only,
        reply_bytes=REPLY_BYTES,
        advice="ask for mp3",
        job=Job(job_id, limit_bytes),
    )


def test_audio_that_fits_exactly_goes_into_the_reply(spill_dir):
    delivered = deliver(spill_dir, limit_bytes=FITS)
    assert base64.b64decode(delivered.audio) == AUDIO
    assert delivered.audio_path is None
    assert not spill_dir.exists()


def test_without_a_limit_everything_goes_into_the_reply(spill_dir):
    assert deliver(spill_dir, limit_bytes=None, inline_only=True).audio is not None


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
        deliver(spill_dir, limit_bytes=1, inline_only=True)
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
