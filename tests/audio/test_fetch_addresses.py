"""Fetching from addresses that strangers give: what is dialled."""

from __future__ import annotations

import aiohttp.connector
import pytest

from audio.fetch import Fetcher, is_public
from errors import FetchFailed, FetchRefused
from tests.audio.web import FIELD, answer, resolving_to, server


@pytest.fixture
def dialled(monkeypatch):
    """Every address that a connection is tried to; none is made."""
    addresses: list[str] = []

    async def refuse(addr_infos, **_):
        addresses.extend(info[4][0] for info in addr_infos)
        raise OSError("no connection is made in this test")

    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", refuse)
    return addresses


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


def test_an_unknown_host_is_said():
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    with pytest.raises(FetchFailed, match="host is not known"):
        Fetcher(resolve=unknown).fetch("https://nowhere.example/a.wav", FIELD)


def test_endpoints_of_others_are_looked_at_too(dialled):
    resolve, _ = resolving_to(["10.0.0.1"])
    with pytest.raises(FetchRefused, match="s3Config.endpointUrl"):
        Fetcher(resolve=resolve).check_endpoint("https://s3.example", "s3Config.endpointUrl")
    with pytest.raises(FetchRefused, match="https"):
        Fetcher(resolve=resolve).check_endpoint("http://s3.example", "s3Config.endpointUrl")
    resolve, _ = resolving_to(["93.184.215.14"])
    Fetcher(resolve=resolve).check_endpoint("https://s3.example", "s3Config.endpointUrl")
