"""Fetching from addresses that strangers give: what is dialled, and when it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import threading
from collections.abc import Awaitable, Callable
from contextlib import contextmanager

import aiohttp.connector
import pytest

from audio.fetch import Fetcher, is_public
from errors import FetchFailed, FetchRefused
from tests.fakes import build_services, build_worker
from tests.serving.jobs import tts

FIELD = "reference_audio_url"
Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def server(respond: Respond):
    """Its URL, and the heads of the requests that it got. Runs until the with block ends."""
    loop = asyncio.new_event_loop()
    heads: list[bytes] = []
    stop = asyncio.Event()

    async def serve(started: threading.Event, port: list[int]) -> None:
        async def handle(reader, writer):
            try:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                await respond(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        running = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.append(running.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        running.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    started, port = threading.Event(), []
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(started, port)))
    thread.start()
    assert started.wait(timeout=30)
    try:
        yield f"http://127.0.0.1:{port[0]}", heads
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def answer(body: bytes, status: str = "200 OK", **headers: str) -> Respond:
    fields = {"Content-Length": str(len(body)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    async def respond(_reader, writer):
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()

    return respond


def fetch(url: str, **options) -> bytes:
    return Fetcher(**({"allow_private": True} | options)).fetch(url, FIELD)


def resolving_to(*answers: list[str]):
    """A resolver that gives another answer each time, and what it was asked."""
    asked: list[str] = []
    rest = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return resolve, asked


@pytest.fixture
def dialled(monkeypatch):
    """Every address that a connection is tried to; none is made."""
    addresses: list[str] = []

    async def refuse(addr_infos, **_):
        addresses.extend(info[4][0] for info in addr_infos)
        raise OSError("no connection is made in this test")

    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", refuse)
    return addresses


def test_what_is_there_comes_back():
    with server(answer(b"RIFF" * 1000)) as (url, heads):
        assert fetch(f"{url}/voice.wav?token=1") == b"RIFF" * 1000
    (head,) = heads
    assert b"Accept-Encoding: identity" in head
    assert b"Cookie" not in head
    assert b"Authorization" not in head


def test_a_redirect_is_followed_and_each_hop_is_looked_at():
    with (
        server(answer(b"audio")) as (target, _),
        server(answer(b"", "302 Found", Location=f"{target}/there")) as (url, _),
    ):
        resolve, asked = resolving_to(["127.0.0.1"])
        assert fetch(url, resolve=resolve) == b"audio"
        assert len(asked) == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "voice.wav",
        "http://example.com/a.wav",
        "ftp://example.com/a.wav",
        "file:///etc/passwd",
        "https://",
        "https://example.com:99999/a",
        "https://[::1/a",
        "https://user:secret@example.com/a.wav",
        "https://example.com/" + "a" * 5000,
        "https://exa mple.com\r\nX: y/",
    ],
)
def test_what_is_no_https_url_is_refused_without_a_lookup(url):
    resolve, asked = resolving_to(["93.184.215.14"])
    with pytest.raises((FetchRefused, FetchFailed), match=FIELD) as caught:
        Fetcher(resolve=resolve, total_s=2).fetch(url, FIELD)
    assert "secret" not in caught.value.message
    assert isinstance(caught.value, FetchRefused) or asked


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001:db8::1",
        "not an address",
    ],
)
def test_addresses_that_are_not_anybodys(address, dialled):
    assert not is_public(address)
    resolve, _ = resolving_to([address])
    with pytest.raises(FetchRefused, match="not public"):
        Fetcher(resolve=resolve).fetch("https://example.com/a.wav", FIELD)
    assert dialled == []


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_addresses_that_are(address, dialled):
    assert is_public(address)
    resolve, _ = resolving_to([address])
    with pytest.raises(FetchFailed):
        Fetcher(resolve=resolve).fetch("https://example.com/a.wav", FIELD)
    assert dialled == [address]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:7f00:1]"])
def test_an_address_in_place_of_a_name_is_no_way_round(host, dialled):
    with pytest.raises((FetchRefused, FetchFailed)):
        Fetcher(total_s=5).fetch(f"https://{host}/a.wav", FIELD)
    assert dialled == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(dialled):
    resolve, _ = resolving_to(["93.184.215.14", "10.0.0.1"])
    with pytest.raises(FetchRefused):
        Fetcher(resolve=resolve).fetch("https://example.com/a.wav", FIELD)
    assert dialled == []


def test_a_name_that_turns_private_after_the_look_is_dialled_where_it_was_looked_at(dialled):
    resolve, asked = resolving_to(["93.184.215.14"], ["127.0.0.1"])
    with pytest.raises(FetchFailed):
        Fetcher(resolve=resolve).fetch("https://rebinding.example/a.wav", FIELD)
    assert dialled == ["93.184.215.14"]
    assert asked == ["rebinding.example"]


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1/a", "file:///etc/passwd", "https://169.254.169.254/latest"]
)
def test_a_redirect_to_where_nobody_may_go_is_refused(target, monkeypatch):
    monkeypatch.setattr("audio.fetch.is_public", lambda address: address == "127.0.0.1")  # the server's own
    monkeypatch.setattr(Fetcher, "_address", first_hop_over_http(Fetcher._address))
    with server(answer(b"", "302 Found", Location=target)) as (url, _), pytest.raises(FetchRefused):
        Fetcher().fetch(url, FIELD)


def first_hop_over_http(address):
    """The server of these tests has no certificate: its own URL passes as https."""
    hops = []

    def patched(self, url, field):
        hops.append(url)
        if len(hops) > 1:
            return address(self, url, field)
        _, _, authority = url.partition("//")
        host, _, port = authority.partition(":")
        return host, int(port)

    return patched


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


async def drip(_reader, writer):
    """A byte at a time, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_body(_reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silent(_reader, _writer):
    await asyncio.sleep(3600)


@pytest.mark.parametrize("respond", [drip, drip_body, silent])
def test_a_server_that_drips_is_left_when_its_time_is_up(respond):
    with server(respond) as (url, _), pytest.raises(FetchFailed, match=r"within 0.5 s"):
        fetch(url, total_s=0.5)


async def endless(_reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        await writer.drain()


async def lying(_reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(bytes(65536))
        await writer.drain()


@pytest.mark.parametrize("respond", [endless, lying, answer(b"", Content_Length=str(10**12))])
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


def test_an_unknown_host_is_said():
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    with pytest.raises(FetchFailed, match="host is not known"):
        Fetcher(resolve=unknown).fetch("https://nowhere.example/a.wav", FIELD)


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
        reply = await build_worker(services).handle(
            tts(reference_audio_url=f"{url}/private?signature=secret")
        )
    assert reply["error_code"] == "fetch_failed"
    assert "signature" not in caplog.text
    assert "signature" not in str(reply)


def test_endpoints_of_others_are_looked_at_too(dialled):
    resolve, _ = resolving_to(["10.0.0.1"])
    with pytest.raises(FetchRefused, match="s3Config.endpointUrl"):
        Fetcher(resolve=resolve).check_endpoint("https://s3.example", "s3Config.endpointUrl")
    with pytest.raises(FetchRefused, match="https"):
        Fetcher(resolve=resolve).check_endpoint("http://s3.example", "s3Config.endpointUrl")
    resolve, _ = resolving_to(["93.184.215.14"])
    Fetcher(resolve=resolve).check_endpoint("https://s3.example", "s3Config.endpointUrl")
