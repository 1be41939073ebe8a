"""Stores that callers bring: whatever they answer, an upload fails alone, in time, in little memory."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc

import pytest

from audio.network import HostPolicy
from cancel import CancelToken
from delivery.s3 import Bucket, BucketError
from errors import Cancelled
from settings import BucketSettings
from tests.audio.web import answer, server

AUDIO = bytes(range(256)) * 40
LARGE_AUDIO = bytes(20 * 2**20)  # more than the sockets of both sides hold
MAX_BYTES = 6 * 2**20  # beyond the audio; aiohttp's own buffers are most of it


def bucket_at(url, **options):
    settings = BucketSettings(url, "key", "secret", "finished-audio", "eu-1")
    return Bucket(settings, HostPolicy(allow_private=True), **({"deadline_s": 60, "pause_s": 0.01} | options))


def saying(head: bytes, *parts: bytes, times: int | None = 1, pause_s: float = 0.0):
    """A head, and some parts so many times; None: without end."""

    async def respond(_reader, writer):
        writer.write(head)
        said = 0
        while times is None or said < times:
            for part in parts:
                writer.write(part)
                await writer.drain()
            await asyncio.sleep(pause_s)
            said += 1

    return respond


BUSY = b"HTTP/1.1 503 Slow Down\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n"
DRIPPING = {
    "in the head": saying(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a", times=None, pause_s=0.02),
    "in an error": saying(REFUSED + b"\r\n", b"<", times=None, pause_s=0.02),
    "in the body of a busy store": saying(BUSY + b"\r\n", b"a", times=None, pause_s=0.02),
    "in informational answers": saying(b"", b"HTTP/1.1 100 Continue\r\n\r\n", times=None, pause_s=0.001),
    "in the size of a chunk": saying(
        REFUSED + b"Transfer-Encoding: chunked\r\n\r\n5;x=", b"a", times=None, pause_s=0.02
    ),
    "with nothing at all": saying(b"", times=None, pause_s=0.02),
}


@pytest.mark.parametrize("audio", [AUDIO, LARGE_AUDIO], ids=["short", "long"])
@pytest.mark.parametrize("respond", DRIPPING.values(), ids=DRIPPING)
def test_a_store_that_drips_fails_its_upload_at_the_deadline(respond, audio, monkeypatch):
    monkeypatch.setattr("delivery.s3.SLOWEST_BYTES_PER_S", 10**9)
    with server(respond) as (url, _), pytest.raises(BucketError, match="did not answer in time"):
        bucket_at(url, deadline_s=0.4).upload("a.wav", audio, "audio/wav")


@pytest.mark.parametrize("audio", [AUDIO, LARGE_AUDIO], ids=["short", "long"])
def test_a_cancelled_upload_ends_and_its_connection_with_it(audio):
    token, arrived, gone = CancelToken(), threading.Event(), threading.Event()

    async def wait_until_it_leaves(reader, writer):
        arrived.set()
        try:
            while (
                True
            ):  # nothing of the body is read, nothing is answered: only errors of the connection end it
                await asyncio.sleep(0.01)
                writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                await writer.drain()
        except ConnectionError:
            gone.set()

    def cancel_once_it_waits():
        assert arrived.wait(30)
        token.cancel(Cancelled("the caller cancelled the job"))

    canceller = threading.Thread(target=cancel_once_it_waits)
    canceller.start()
    with server(wait_until_it_leaves) as (url, _):
        with pytest.raises(Cancelled, match="the caller cancelled"):
            bucket_at(url, deadline_s=600).upload("a.wav", audio, "audio/wav", token)
        assert gone.wait(30)
    canceller.join()


BLOCK = bytes(2**16)
WITHOUT_END = {
    "chunks": saying(
        REFUSED + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + BLOCK + b"\r\n", times=None
    ),
    "a body": saying(REFUSED + b"\r\n", BLOCK, times=None),
    "a body that was announced": saying(REFUSED + b"Content-Length: 999999999999\r\n\r\n", BLOCK, times=None),
    "the body of a busy store": saying(BUSY + b"\r\n", BLOCK, times=None),
    "one header": saying(b"HTTP/1.1 200 OK\r\nX-Long: ", BLOCK.replace(b"\0", b"a"), times=None),
    "headers": saying(b"HTTP/1.1 200 OK\r\n", b"X-Many: a\r\n" * 1000, times=None),
    "a status line": saying(b"HTTP/1.1 200 ", BLOCK.replace(b"\0", b"a"), times=None),
    "the size of a chunk": saying(
        REFUSED + b"Transfer-Encoding: chunked\r\n\r\n5;x=", BLOCK.replace(b"\0", b"a"), times=None
    ),
    "nested XML": saying(REFUSED + b"\r\n", b"<a>" * 20_000, times=None),
    "an error code": saying(REFUSED + b"\r\n<Error><Code>", b"Access\nINFO forged " * 1000, times=None),
}


@pytest.mark.parametrize("respond", WITHOUT_END.values(), ids=WITHOUT_END)
def test_an_answer_without_end_takes_little_memory(respond):
    with server(respond) as (url, _):
        bucket = bucket_at(url, deadline_s=3)
        warm_up(url)
        tracemalloc.start()
        try:
            with pytest.raises(BucketError) as caught:
                bucket.upload("a.wav", AUDIO, "audio/wav")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < MAX_BYTES
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 150


def warm_up(url):
    """Imports what an upload imports."""
    with pytest.raises(BucketError):
        bucket_at(url, deadline_s=0.01).upload("a.wav", b"", "audio/wav")


def xml(code: bytes) -> bytes:
    return b"<?xml version='1.0'?><Error><Code>" + code + b"</Code><Message>m</Message></Error>"


CODES = {
    "30 MB": b"A" * 30_000_000,
    "65 letters": b"A" * 65,
    "line breaks": b"Access\r\nDenied",
    "a forged line": b"X\n2026-01-01 00:00:00,000 INFO handler job=- forged",
    "a colour": b"\x1b[31mDenied",
    "other letters": "Zugriff\u202e".encode(),
    "no UTF-8": b"\xff\xfe",
    "nothing": b"",
    "an entity": b"&lol9;",
}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_only_what_looks_like_an_error_code_is_passed_on(code):
    with server(answer(xml(code), "400 Bad Request")) as (url, _), pytest.raises(BucketError) as caught:
        bucket_at(url).upload("a.wav", AUDIO, "audio/wav")
    assert str(caught.value) == "the store answered with an unknown error"


@pytest.mark.parametrize("region", ["eu-west-1\r\nX: y", "a" * 64, "../x", "\u202eeu", ""])
def test_only_what_looks_like_a_region_is_signed_for(region):
    body = f"<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>".encode()
    with server(answer(body, "400 Bad Request")) as (url, heads):
        with pytest.raises(BucketError, match="another region"):
            bucket_at(url).upload("a.wav", AUDIO, "audio/wav")
        assert len(heads) == 1


CUT = {
    "before the head": b"",
    "in the status line": b"HTTP/1.1 20",
    "in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "in a number": b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n",
    "no HTTP": bytes(range(256)) * 10,
}


@pytest.mark.parametrize("said", CUT.values(), ids=CUT)
def test_a_store_that_closes_in_the_middle_is_asked_three_times(said):
    with server(saying(said)) as (url, heads):
        with pytest.raises(BucketError, match="did not answer"):
            bucket_at(url).upload("a.wav", AUDIO, "audio/wav")
        assert len(heads) == 3


def test_an_error_that_is_cut_off_is_still_told():
    body = REFUSED + b"Content-Length: 500\r\n\r\n" + xml(b"InvalidAccessKeyId")
    with server(saying(body)) as (url, heads):
        with pytest.raises(BucketError, match="the access key is not known"):
            bucket_at(url).upload("a.wav", AUDIO, "audio/wav")
        assert len(heads) == 1


def test_a_redirect_is_not_followed():
    with (
        server(answer(b"")) as (elsewhere, others),
        server(answer(b"", "307 Temporary Redirect", Location=elsewhere)) as (url, _),
    ):
        with pytest.raises(BucketError, match="unknown error"):
            bucket_at(url).upload("a.wav", AUDIO, "audio/wav")
        assert others == []


def test_a_store_at_a_private_address_is_never_dialled():
    with server(answer(b"")) as (url, heads):
        settings = BucketSettings(url.replace("http:", "https:"), "key", "secret", "finished-audio")
        with pytest.raises(BucketError, match="leads to an address that is not public"):
            Bucket(settings).upload("a.wav", AUDIO, "audio/wav")
        assert heads == []


def test_a_host_that_changes_its_address_after_the_check_is_not_dialled():
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])

    async def rebind(host, port):
        return next(answers)

    bucket = Bucket(
        BucketSettings("https://rebinding.example", "key", "secret", "finished-audio"),
        HostPolicy(resolve=rebind),
    )
    bucket.check_endpoint("s3Config.endpointUrl")
    with pytest.raises(BucketError, match="not public"):
        bucket.upload("a.wav", AUDIO, "audio/wav")


def test_the_host_that_is_checked_is_the_one_that_is_dialled():
    """Without the bucket's name: before the check, and in the request."""
    asked = []

    async def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    with server(answer(b"")) as (url, heads):
        port = url.rpartition(":")[2]
        bucket = Bucket(
            BucketSettings(f"http://finished-audio.store.example:{port}", "key", "secret", "finished-audio"),
            HostPolicy(allow_private=True, resolve=resolve),
        )
        bucket.check_endpoint("s3Config.endpointUrl")
        bucket.upload("a.wav", AUDIO, "audio/wav")
        assert asked == ["store.example"] * 2
        assert b"PUT /finished-audio/a.wav HTTP/1.1\r\nHost: store.example:" in heads[0]
