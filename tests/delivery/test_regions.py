"""Links that can be opened: a bucket in whatever region, and a store that refuses all others."""

import logging
import urllib.error
import urllib.request

import pytest

from audio.encode import FORMATS, content_type
from audio.network import HostPolicy
from delivery.s3 import Bucket, BucketError
from settings import BucketSettings
from tests.delivery.amazon import amazon

AUDIO = bytes(range(256)) * 40


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def bucket_at(port, host="127.0.0.1", *, path="", name="finished-audio", **settings):
    return Bucket(
        BucketSettings(f"http://{host}:{port}{path}", "key", "secret", name, **settings),
        HostPolicy(allow_private=True, resolve=loopback),
        pause_s=0.01,
    )


def open_link(url, port):
    """What a caller gets; links to Amazon's hosts lead to the loopback server."""
    scheme, rest = url.split("://", 1)
    host, slash, path = rest.partition("/")
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}{slash}{path}", headers={"Host": host})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


@pytest.mark.parametrize("refusal", ["malformed", "header alone", "moved"])
@pytest.mark.parametrize("host", ["127.0.0.1", "s3.amazonaws.com", "s3.us-west-2.amazonaws.com"])
def test_the_link_is_signed_for_the_region_that_took_the_upload(refusal, host):
    with amazon(refusal=refusal) as (port, store):
        bucket = bucket_at(port, host)
        bucket.upload("a.wav", AUDIO, "audio/wav")
        url = bucket.url("a.wav")
        assert open_link(url, port) == AUDIO
        bucket.upload("b.wav", AUDIO, "audio/wav")
        assert [region for *_, region in store.asked[1:]] == ["eu-west-1"] * 3
        if host != "127.0.0.1":
            assert f"//s3.eu-west-1.amazonaws.com:{port}/finished-audio/a.wav?" in url


def test_a_link_alone_finds_the_region_by_asking():
    with amazon() as (port, _):
        bucket_at(port).upload("a.wav", AUDIO, "audio/wav")
        another_worker = bucket_at(port)
        assert open_link(another_worker.url("a.wav"), port) == AUDIO
        with pytest.raises(BucketError, match="NoSuchKey"):
            bucket_at(port).url("b.wav")


@pytest.mark.parametrize(
    ("host", "region"), [("s3.eu-west-1.amazonaws.com", None), ("s3.amazonaws.com", "eu-west-1")]
)
def test_a_region_that_is_known_is_used_at_once(host, region):
    with amazon() as (port, store):
        bucket = bucket_at(port, host, region=region)
        url = bucket.url("a.wav")
        assert store.asked == []
        bucket.upload("a.wav", AUDIO, "audio/wav")
        assert len(store.asked) == 1
        assert open_link(url, port) == AUDIO


def test_a_region_that_was_set_wrong_is_corrected_with_a_warning(caplog):
    with amazon() as (port, _), caplog.at_level(logging.WARNING):
        bucket = bucket_at(port, region="us-west-2")
        bucket.upload("a.wav", AUDIO, "audio/wav")
        assert open_link(bucket.url("a.wav"), port) == AUDIO
    assert "the bucket is in region eu-west-1, not in us-west-2" in caplog.text


def test_a_store_that_does_not_say_where_the_bucket_is_fails_with_a_reason():
    with amazon(refusal="silent") as (port, store):
        with pytest.raises(BucketError, match="the bucket is in another region"):
            bucket_at(port).upload("a.wav", AUDIO, "audio/wav")
        assert len(store.asked) == 1


def test_a_store_that_sends_everybody_elsewhere_is_left():
    class Lost(str):
        """Every region but the one that was asked for."""

        __slots__ = ()

        def __eq__(self, other):
            return False

        def __ne__(self, other):
            return True

        __hash__ = str.__hash__

    with amazon(region=Lost("eu-west-1")) as (port, store):
        with pytest.raises(BucketError, match="another region"):
            bucket_at(port).upload("a.wav", AUDIO, "audio/wav")
        assert len(store.asked) == 2


def test_wrong_keys_are_still_told_from_wrong_regions():
    with amazon() as (port, _):
        bucket = Bucket(
            BucketSettings(f"http://127.0.0.1:{port}", "key", "wrong", "finished-audio"),
            HostPolicy(allow_private=True),
        )
        with pytest.raises(BucketError, match="the secret key does not fit"):
            bucket.upload("a.wav", AUDIO, "audio/wav")


@pytest.mark.parametrize("path", ["", "/", "/finished-audio", "/finished-audio/"])
def test_the_buckets_own_name_in_the_path_is_left_out(path):
    with amazon() as (port, store):
        bucket_at(port, path=path).upload("a.wav", AUDIO, "audio/wav")
        assert list(store.objects) == ["/finished-audio/a.wav"]


def test_a_path_and_a_prefix_are_kept():
    with amazon() as (port, store):
        bucket = bucket_at(port, path="/storage/v1/s3/", key_prefix="speech/2026=a'(b)*!/x-")
        bucket.upload("a.mp3", AUDIO, "audio/mpeg")
        assert open_link(bucket.url("a.mp3"), port) == AUDIO
        ((path, (_, content_type)),) = store.objects.items()
        assert path == "/storage/v1/s3/finished-audio/speech/2026%3Da%27%28b%29%2A%21/x-a.mp3"
        assert content_type == "audio/mpeg"


@pytest.mark.parametrize("format", FORMATS)
def test_objects_carry_the_type_of_their_format(format):
    with amazon() as (port, store):
        bucket_at(port).upload(f"a.{format}", AUDIO, content_type(format, 24_000))
        ((_, stored),) = store.objects.values()
        assert stored == content_type(format, 24_000)


def test_large_audio_goes_up_in_blocks():
    with amazon() as (port, store):
        audio = bytes(range(256)) * 40_000
        bucket_at(port).upload("a.wav", audio, "audio/wav")
        assert store.objects["/finished-audio/a.wav"][0] == audio
        bucket_at(port).upload("empty.wav", b"", "audio/wav")
        assert store.objects["/finished-audio/empty.wav"][0] == b""


def test_a_link_for_another_region_cannot_be_opened():
    """What the server above is for."""
    with amazon() as (port, _):
        with pytest.raises(urllib.error.HTTPError) as caught:
            open_link(bucket_at(port, region="us-east-1").url("a.wav"), port)
        assert caught.value.code == 400
        caught.value.close()
