"""A tar from a stranger: nothing is written but voices, and what is bad in it is one sentence."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.voice_store.conftest import make_waveform, names, snapshot
from tests.voice_store.terminal import run_cli, write_recording
from voice_store import VoiceStore, intake

END = bytes(1024)


@pytest.fixture
def pairs(store, root, tmp_path) -> list[tuple[bytes, bytes]]:
    """JSON and audio of two exported voices."""
    for seed, name in enumerate(["Amy", "Ben"]):
        store.put(make_waveform(seed), name)
    assert run_cli(root, "export", "--to", tmp_path / "made.tar") == 0
    with tarfile.open(tmp_path / "made.tar") as tar:
        data = [tar.extractfile(member).read() for member in tar.getmembers()]
    (tmp_path / "made.tar").unlink()
    return sorted(zip(data[::2], data[1::2], strict=True), key=lambda files: b"Ben" in files[0])


def member(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", size: int | None = None
) -> bytes:
    """A member of a tar, which may lie about its size."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, len(data) if size is None else size
    return header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def pair(stem: str, files: tuple[bytes, bytes], **changes: object) -> bytes:
    description = json.dumps(json.loads(files[0]) | changes).encode()
    return member(f"{stem}.json", description) + member(f"{stem}.wav", files[1])


def with_size_field(field: bytes) -> bytes:
    """A header whose size is anything, with a good checksum."""
    header = bytearray(member("x.json"))
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def import_tar(tmp_path: Path, data: bytes, capsys) -> tuple[int, set[str], str]:
    """The exit status, the names in the store, and what was complained about."""
    tar = tmp_path / "hostile" / "x.tar"
    tar.parent.mkdir(exist_ok=True)
    tar.write_bytes(data)
    before = {path for path in tmp_path.rglob("*") if "new" not in path.parts}
    capsys.readouterr()
    status = run_cli(tmp_path / "new", "import", tar)
    assert {path for path in tmp_path.rglob("*") if "new" not in path.parts} == before
    return status, names(VoiceStore(tmp_path / "new")), capsys.readouterr().err


def test_members_that_lead_out_are_left_out(pairs, tmp_path, capsys):
    data = (
        pair("../../evil", pairs[0])
        + pair(f"{tmp_path}/evil", pairs[0])
        + member("a.json", kind=tarfile.SYMTYPE, link="/etc/passwd")
        + member("a.wav", kind=tarfile.LNKTYPE, link="../x")
        + member("null", kind=tarfile.CHRTYPE)
        + member("disk", kind=tarfile.BLKTYPE)
        + member("pipe", kind=tarfile.FIFOTYPE)
        + member("sparse.wav", kind=tarfile.GNUTYPE_SPARSE)
        + pair("./good", pairs[1])
        + END
    )
    status, kept, errors = import_tar(tmp_path, data, capsys)
    assert (status, kept) == (1, {"Ben"})
    assert errors.count("\n") == 1
    assert "10 links, devices or paths that lead out of it were left out" in errors


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"no header" * 100,
        with_size_field(b"\xff" * 12),
        with_size_field(b"\x80" + b"\x7f" * 11),
        with_size_field(b"99999999999\0"),
        member("x.wav", b"cut", size=10**6),
    ],
    ids=["no end", "garbage", "negative size", "2**87 bytes", "no number", "cut short"],
)
def test_what_comes_before_damage_is_kept(pairs, tmp_path, capsys, damage):
    status, kept, errors = import_tar(tmp_path, pair("a", pairs[0]) + damage, capsys)
    assert (status, kept) == (1, {"Amy"})
    assert errors.count("\n") == 1
    assert "what comes before has been read" in errors


def test_every_way_to_cut_a_tar_short_keeps_whole_voices_alone(pairs, tmp_path, capsys):
    whole = pair("a", pairs[0]) + pair("b", pairs[1]) + END
    middle = len(pair("a", pairs[0]))
    end = len(whole) - len(END)
    for length in (0, 100, 512, 700, middle - 600, middle, middle + 600, end, end + 24):
        status, kept, errors = import_tar(tmp_path, whole[:length], capsys)
        assert status == 1
        assert errors.count("\n") == 1
        assert kept == {name for name, least in [("Amy", middle), ("Ben", end)] if length >= least}


@pytest.mark.parametrize(
    "description",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"kind": "chatterbox voice", "version": ' + b"1" * 10_000 + b"}",
        b"\xff\xfe{}",
        b'{"kind": "chatterbox voice", "version": 2}',
        b" " * 2**19,
    ],
    ids=["deep", "long number", "no text", "of the future", "long"],
)
def test_a_description_that_is_a_trap_leaves_the_others(pairs, tmp_path, capsys, description):
    data = member("a.json", description) + member("a.wav", pairs[0][1]) + pair("b", pairs[1]) + END
    status, kept, errors = import_tar(tmp_path, data, capsys)
    assert (status, kept) == (1, {"Ben"})
    assert errors.startswith("voice_store: a.json: it ")
    assert errors.count("\n") == 1


def test_what_a_description_claims_is_not_believed(pairs, tmp_path, capsys):
    claims = {
        "voice_id": "../../../evil",
        "audio_file": "/etc/passwd",
        "created_at": "9999-99-99",
        "tags": [{}, 1, "x" * 10_000],
        "default_parameters": {"a": float("inf"), "b": float("nan"), "c": "x", "d": 0.5},
        "embedding_file": "../../../../etc/passwd",
        "digest": 5,
    }
    status, kept, errors = import_tar(tmp_path, pair("a", pairs[0], **claims) + END, capsys)
    assert (status, kept, errors) == (0, {"Amy"}, "")
    voice = VoiceStore(tmp_path / "new").metadata(name="Amy")
    assert voice["voice_id"] == VoiceStore(tmp_path / "voice_embeddings").metadata(name="Amy")["voice_id"]
    assert voice["tags"] == ["x" * 64]
    assert voice["default_parameters"] == {"d": 0.5}


def test_a_name_that_cannot_be_one_is_told(pairs, tmp_path, capsys):
    data = pair("a", pairs[0], speaker_name="a/b") + pair("b", pairs[1]) + END
    status, kept, errors = import_tar(tmp_path, data, capsys)
    assert (status, kept) == (1, {"Ben"})
    assert "a/b (a.wav): its name holds a slash; remove the slashes" in errors


@pytest.mark.parametrize("audio", [b"RIFF" + os.urandom(5000), b"fLaC" + bytes(5000), b"FORM", b""])
def test_audio_that_is_none_is_told(pairs, tmp_path, capsys, audio):
    said = {"audio_sha256": hashlib.sha256(audio).hexdigest()}
    data = pair("a", (pairs[0][0], audio), **said) + pair("b", pairs[1]) + END
    status, kept, errors = import_tar(tmp_path, data, capsys)
    assert (status, kept) == (1, {"Ben"})
    assert errors.count("\n") == 1


def test_a_bit_that_flipped_in_the_audio_is_noticed(pairs, tmp_path, capsys):
    flipped = bytearray(pairs[0][1])
    flipped[3000] ^= 1
    status, kept, errors = import_tar(tmp_path, pair("a", (pairs[0][0], bytes(flipped))) + END, capsys)
    assert (status, kept) == (1, set())
    assert "is not what was exported" in errors


def test_a_member_of_gigabytes_is_not_read(pairs, tmp_path, capsys):
    size = 2**33
    data = pair("b", pairs[1]) + member("a.json", pairs[0][0]) + member("a.wav", size=size)
    tar = tmp_path / "big.tar"
    tar.write_bytes(data)
    os.truncate(tar, len(data) + size)
    with tar.open("ab") as file:
        file.write(member("c.txt") + END)
    assert run_cli(tmp_path / "new", "import", tar) == 1
    assert names(VoiceStore(tmp_path / "new")) == {"Ben"}
    assert "its audio is larger than 64 MiB" in capsys.readouterr().err


def test_chains_of_headers_and_millions_of_members_end(pairs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(intake, "MAX_MEMBERS", 3_000)
    chain = member("x", kind=tarfile.XHDTYPE) * 2_000
    assert import_tar(tmp_path, chain + pair("a", pairs[0]) + END, capsys)[:2] == (0, {"Amy"})
    status, kept, errors = import_tar(tmp_path, chain * 2 + pair("b", pairs[1]) + END, capsys)
    assert (status, kept) == (1, {"Amy"})
    assert "only its first 3,000 files were looked at" in errors


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"BZh91AY", b"\xfd7zXZ\0", b"PK\x03\x04"])
def test_a_compressed_one_is_to_be_unpacked_first(tmp_path, capsys, magic):
    status, _, errors = import_tar(tmp_path, magic + bytes(2000), capsys)
    assert status == 1
    assert "it is compressed; unpack it first" in errors


def test_a_tar_made_anew_by_another_program_is_read(pairs, root, tmp_path, capsys):
    """As ``tar`` does it: folders, "./" before names, audio before its description, times in pax."""
    assert run_cli(root, "export", "--to", tmp_path / "out") == 0
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "again.tar", "w", format=format) as tar:
            for path in [tmp_path / "out", *sorted((tmp_path / "out").iterdir(), reverse=True)]:
                tar.add(path, arcname=f"./backup/{path.name}", recursive=False)
        new = tmp_path / f"new {format}"
        assert run_cli(new, "import", tmp_path / "again.tar") == 0
        assert names(VoiceStore(new)) == {"Amy", "Ben"}
    assert snapshot(root)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_gigabytes_is_not_read(pairs, tmp_path, capsys, kind):
    size = 2**33
    head = member("x", kind=kind, size=size)
    tar = tmp_path / "big.tar"
    tar.write_bytes(head)
    os.truncate(tar, len(head) + size)
    with tar.open("ab") as file:
        file.write(pair("b", pairs[1]) + END)
    assert run_cli(tmp_path / "new", "import", tar) == 0
    assert names(VoiceStore(tmp_path / "new")) == {"Ben"}


def test_a_sparse_member_of_many_pieces_is_left_out(pairs, tmp_path, capsys):
    header = bytearray(member("sparse.wav", kind=tarfile.GNUTYPE_SPARSE, size=0))
    header[482] = 1  # further pieces follow, without end
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    piece = bytearray(512)
    piece[:24] = b"00000000001\0" * 2
    piece[504] = 1
    data = pair("a", pairs[0]) + bytes(header) + bytes(piece) * 100
    status, kept, errors = import_tar(tmp_path, data, capsys)
    assert (status, kept) == (1, {"Amy"})
    assert "what comes before has been read" in errors


def test_a_tar_of_recordings_is_as_good_as_a_folder(tmp_path, capsys):
    recording = write_recording(tmp_path / "Amy.wav").read_bytes()
    data = member("voices/Amy.wav", recording) + member("voices/._Amy.wav", b"what macOS leaves") + END
    assert import_tar(tmp_path, data, capsys)[:2] == (0, {"Amy"})
