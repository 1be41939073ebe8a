"""Fetching from servers that strangers run: what comes back, and when it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import threading

import pytest

from audio.fetch import Fetcher
from cancel import CancelToken
from errors import Cancelled, FetchFailed, FetchRefused
from tests.audio.web import FIELD, Respond, answer, fetch, resolving_to, server
from tests.fakes import build_services, build_worker
from tests.serving.jobs import tts


def test_what_is_there_comes_back():
    with server(answer(b"RIFF" * 1000)) as (url, heads):
        assert fetch(f"{url}/voice.wav?token=1") == b"RIFF" * 1000
    (head,) = heads
    assert b"Accept-Encoding: identity" in head
    assert b"Cookie" not in head
    assert b"Authorization" not in head


QUERY = "X-Sig=a%2Fb%2fc%40d%7E%7e%28%29&plus=a+b%20c&eq==&bare&empty=&pct=%&x=a/b?c:d@e,f;g'h!"


def test_a_signed_link_is_sent_as_it_was_given():
    path = "/a%2Fb/./c/../d%7e(1)%zz"
    with server(answer(b"audio")) as (url, heads):
        fetch(f"{url}{path}?{QUERY}#fragment")
    assert heads[0].startswith(f"GET {path}?{QUERY} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("is_relative", [True, False])
def test_a_redirect_to_a_signed_link_is_followed_as_it_was_given(is_relative):
    async def redirect_once(reader, writer):
        location = f"/next%2F%7E?{QUERY}" if is_relative else f"{urls[0]}/next%2F%7E?{QUERY}"
        first = len(heads) == 1
        await answer(
            b"audio", **({"Location": location} if first else {}), status="302 Found" if first else "200 OK"
        )(reader, writer)

    urls = []
    with server(redirect_once) as (url, heads):
        urls.append(url)
        assert fetch(f"{url}/start") == b"audio"
    assert heads[1].startswith(f"GET /next%2F%7E?{QUERY} HTTP/1.1\r\n".encode())


def test_characters_that_no_request_can_hold_are_encoded():
    with server(answer(b"audio")) as (url, heads):
        fetch(f" {url}/größe 1.wav?q=ü ö ")
    assert heads[0].startswith(b"GET /gr%C3%B6%C3%9Fe%201.wav?q=%C3%BC%20%C3%B6 HTTP/1.1\r\n")


@pytest.mark.parametrize("location", ["", "https://[::1", "https://a..b/"])
def test_a_redirect_to_nowhere_is_an_error_of_the_field(location):
    with (
        server(answer(b"", "302 Found", **({"Location": location} if location else {}))) as (url, _),
        pytest.raises((FetchFailed, FetchRefused), match="reference_audio_url"),
    ):
        fetch(url)


def test_a_redirect_is_followed_and_each_hop_is_looked_at():
    with (
        server(answer(b"audio")) as (target, _),
        server(answer(b"", "302 Found", Location=f"{target}/there")) as (url, _),
    ):
        resolve, asked = resolving_to(["127.0.0.1"])
        assert fetch(url, resolve=resolve) == b"audio"
        assert len(asked) == 2


def test_redirects_have_an_end():
    with server(answer(b"", "302 Found", Location="/again")) as (url, heads):
        with pytest.raises(FetchFailed, match="redirects more than 3 times"):
            fetch(url)
        assert len(heads) == 4


@pytest.mark.parametrize(
    "status", ["404 Not Found", "403 Forbidden", "500 Internal Server Error", "204 No Content"]
)
def test_another_status_is_named(status):
    with server(answer(b"", status)) as (url, _), pytest.raises(FetchFailed, match=status[:3]):
        fetch(url)


def endless(head: bytes, part: bytes, pause_s: float = 0.0) -> Respond:
    """The head, and then the same part for ever."""

    async def respond(_reader, writer):
        writer.write(head if head == b"\r\n" else b"HTTP/1.1 200 OK\r\n" + head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return respond


DRIPPING = {
    "in the head": endless(b"X-Slow: ", b"a", 0.05),
    "in the body": endless(b"Content-Length: 100000\r\n\r\n", b"a", 0.05),
    "not even that": endless(b"", b"", 3600),
    "in informational answers": endless(b"\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", 0.001),
}
TOO_MUCH = {
    "in chunks": endless(b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65536) + b"\r\n"),
    "until it is cut": endless(b"Connection: close\r\n\r\n", bytes(65536)),
    "as is announced": answer(b"", Content_Length=str(10**12)),
}


@pytest.mark.parametrize("respond", DRIPPING.values(), ids=DRIPPING)
def test_a_server_that_drips_is_left_when_its_time_is_up(respond):
    with server(respond) as (url, _), pytest.raises(FetchFailed, match=r"within 0.5 s"):
        fetch(url, total_s=0.5)


@pytest.mark.parametrize("respond", DRIPPING.values(), ids=DRIPPING)
def test_a_cancelled_job_leaves_a_server_that_drips(respond):
    token, arrived = CancelToken(), threading.Event()

    async def announce(reader, writer):
        arrived.set()
        await respond(reader, writer)

    def cancel_once_it_waits():
        assert arrived.wait(30)
        token.cancel(Cancelled("the caller cancelled the job"))

    canceller = threading.Thread(target=cancel_once_it_waits)
    canceller.start()
    with server(announce) as (url, _), pytest.raises(Cancelled, match="the caller cancelled"):
        Fetcher(allow_private=True, total_s=600).fetch(url, FIELD, token)
    canceller.join()


def test_a_job_that_was_cancelled_before_fetches_nothing():
    token = CancelToken()
    token.cancel(Cancelled("the caller cancelled the job"))
    with server(answer(b"audio")) as (url, heads):
        with pytest.raises(Cancelled):
            Fetcher(allow_private=True).fetch(url, FIELD, token)
        assert heads == []


@pytest.mark.parametrize("respond", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_body_without_end_is_cut(respond):
    with server(respond) as (url, _), pytest.raises(FetchRefused, match="larger than 1 MiB"):
        fetch(url, max_bytes=2**20)


def test_less_than_was_announced_is_no_recording():
    with server(answer(b"short", Content_Length="500")) as (url, _), pytest.raises(FetchFailed):
        fetch(url)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "identity, gzip"])
def test_what_comes_compressed_is_not_unpacked(encoding):
    bomb = gzip.compress(bytes(50 * 2**20))
    with (
        server(answer(bomb, Content_Encoding=encoding)) as (url, _),
        pytest.raises(FetchRefused, match="compressed"),
    ):
        fetch(url)


async def garbage(_reader, writer):
    writer.write(bytes(range(256)) * 10)
    await writer.drain()


def test_garbage_and_nobody_are_failures():
    with server(garbage) as (url, _), pytest.raises(FetchFailed):
        fetch(url)
    with pytest.raises(FetchFailed):
        fetch(url)


def test_proxies_and_passwords_of_the_machine_are_not_used(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server(answer(b"audio")) as (url, heads):
        assert fetch(url) == b"audio"
    assert b"Authorization" not in heads[0]


@pytest.mark.parametrize("length", ["nonsense", "9"])
async def test_the_log_has_no_url(tmp_path, caplog, length):
    services = dataclasses.replace(build_services(tmp_path), fetch=Fetcher(allow_private=True).fetch)
    with server(answer(b"short", Content_Length=length)) as (url, _):
        reply = await build_worker(tmp_path, services=services).handle(
            tts(reference_audio_url=f"{url}/private?signature=secret")
        )
    assert reply["error_code"] == "fetch_failed"
    assert "signature" not in caplog.text
    assert "signature" not in str(reply)
