"""Fetching from addresses that strangers give: what is dialled."""

from __future__ import annotations

import aiohttp.connector
import pytest

from audio.fetch import Fetcher
from audio.network import HostPolicy, is_public
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


# One address or more of each block that IANA's special-purpose registries name, of the blocks that clouds use
# for what belongs to one machine, and of the formats that hold an IPv4 address.
NOT_PUBLIC = """
    0.0.0.0 0.1.2.3 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 168.63.129.16 169.254.169.254 172.16.0.1
    172.31.255.255 192.0.0.1 192.0.0.9 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1
    192.88.99.1 192.168.1.1 192.175.48.6 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
    239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:192.88.99.1 ::ffff:0:8.8.8.8
    64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 100:0:0:1::1
    2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1::1 2001:1::2 2001:1::3 2001:2::1 2001:3::1
    2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:db8::1 2002:a9fe:a9fe::1 2002:808:808::1
    2620:4f:8000::1 3fff::1 3fff:fff::1 5f00::1 4000::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1
    ff02::1 ff0e::1
    2606:2800:21f:cb07:0:5efe:10.0.0.1 2606:2800:21f:cb07:200:5efe:8.8.8.8 fe80::5efe:10.0.0.1
"""
PUBLIC = """
    93.184.215.14 8.8.8.8 192.88.98.1 192.31.197.1 172.32.0.1 100.128.0.1 ::ffff:8.8.8.8
    2606:2800:21f:cb07:6820:80da:af6b:8b2c 2001:200::1 2001:4860:4860::8888 2a00:1450:4001::5efe 3ffe::1
"""


@pytest.mark.parametrize("address", [*NOT_PUBLIC.split(), "not an address", ""])
def test_addresses_that_are_not_anybodys(address, dialled):
    assert not is_public(address)
    resolve, _ = resolving_to([address])
    with pytest.raises(FetchRefused, match="not public"):
        Fetcher(resolve=resolve).fetch("https://example.com/a.wav", FIELD)
    assert dialled == []


@pytest.mark.parametrize("address", PUBLIC.split())
def test_addresses_that_are(address, dialled):
    assert is_public(address)
    resolve, _ = resolving_to([address])
    with pytest.raises(FetchFailed):
        Fetcher(resolve=resolve).fetch("https://example.com/a.wav", FIELD)
    assert dialled == [address]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:7f00:1]", "١٢٧.0.0.1"]
)
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
    "target", ["http://127.0.0.1/a", "file:///etc/passwd", "https://169.254.169.254/latest", "//10.0.0.1/"]
)
def test_a_redirect_to_where_nobody_may_go_is_refused(target, monkeypatch):
    monkeypatch.setattr("audio.network.is_public", lambda address: address == "127.0.0.1")  # the server's
    monkeypatch.setattr(HostPolicy, "target", first_hop_over_http(HostPolicy.target))
    with server(answer(b"", "302 Found", Location=target)) as (url, _), pytest.raises(FetchRefused):
        Fetcher().fetch(url, FIELD)


def first_hop_over_http(target):
    """The server of these tests has no certificate: its own URL passes as https."""
    hops = []

    def patched(self, url, field):
        hops.append(url)
        policy = HostPolicy(allow_private=True) if len(hops) == 1 else self
        return target(policy, url, field)

    return patched


IMPOSSIBLE_HOSTS = {
    "an empty label": "a..b",
    "a dot first": ".example.com",
    "a dot alone": ".",
    "a label of 64": "a" * 64 + ".example.com",
    "a name of 254": ".".join(["a" * 63] * 4),
    "a label of 64 in other letters": "ü" * 64 + ".example.com",
    "an empty label in other letters": "ü..example.com",
    "a hyphen last": "a-.example.com",
    "a percent": "exa%6dple.com",
    "a zone": "[fe80::1%25eth0]",
    "half an address": "[::1::]",
    "a future address": "[v1.fe80]",
    "a letter that turns into a slash": "a℀b.example.com",
    "half a surrogate pair": "\ud800.example.com",
}


@pytest.mark.parametrize("host", IMPOSSIBLE_HOSTS.values(), ids=IMPOSSIBLE_HOSTS)
def test_a_host_that_cannot_be_is_refused_wherever_it_comes(host):
    url = f"https://{host}/a.wav"
    with pytest.raises(FetchRefused, match=FIELD):
        Fetcher().fetch(url, FIELD)
    with pytest.raises(FetchRefused, match="s3Config.endpointUrl"):
        HostPolicy().check(url, "s3Config.endpointUrl")
    location = url.encode("utf-8", "surrogatepass").decode("latin-1")
    with (
        server(answer(b"", "302 Found", Location=location)) as (start, _),
        pytest.raises((FetchRefused, FetchFailed), match=FIELD),
    ):
        Fetcher(allow_private=True).fetch(start, FIELD)


def test_a_name_that_the_system_cannot_even_ask_for_is_unknown():
    async def unicode_error(host: str, port: int) -> list[str]:
        raise UnicodeError("label empty or too long")

    with pytest.raises(FetchFailed, match="host that is not known"):
        Fetcher(resolve=unicode_error).fetch("https://example.com/a.wav", FIELD)


def test_a_name_in_other_letters_is_looked_up_as_dns_has_it():
    resolve, asked = resolving_to(["10.0.0.1"])
    with pytest.raises(FetchRefused):
        Fetcher(resolve=resolve).fetch("https://bücher.example/a.wav", FIELD)
    assert asked == ["xn--bcher-kva.example"]


def test_an_unknown_host_is_said():
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    with pytest.raises(FetchFailed, match="host that is not known"):
        Fetcher(resolve=unknown).fetch("https://nowhere.example/a.wav", FIELD)


def test_endpoints_of_others_are_looked_at_too(dialled):
    resolve, _ = resolving_to(["10.0.0.1"])
    with pytest.raises(FetchRefused, match="s3Config.endpointUrl"):
        HostPolicy(resolve=resolve).check("https://s3.example", "s3Config.endpointUrl")
    with pytest.raises(FetchRefused, match="https"):
        HostPolicy(resolve=resolve).check("http://s3.example", "s3Config.endpointUrl")
    resolve, _ = resolving_to(["93.184.215.14"])
    HostPolicy(resolve=resolve).check("https://s3.example", "s3Config.endpointUrl")
