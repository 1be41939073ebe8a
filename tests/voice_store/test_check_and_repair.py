"""A store that is damaged by hand: ``check`` says how, ``repair`` mends it and loses nothing."""

import errno
import os

import pytest

from tests.voice_store.conftest import make_waveform, names, read_json, snapshot, write_json, write_plain_file
from tests.voice_store.damaged import LONG_AGO_S, age, digests, file_of, fill, problems
from tests.voice_store.terminal import run_cli
from voice_store import VoiceStore
from voice_store.health import check


@pytest.fixture
def library(store, root) -> VoiceStore:
    return fill(store, root)


def test_a_sound_store_has_no_problems(root, library, capsys):
    assert run_cli(root, "check") == 0
    assert capsys.readouterr().out == "no problems; 7 of 7 voices are sound, 0.0 minutes in all\n"
    assert run_cli(root, "check", "--jobs", 2) == 0
    before = snapshot(root)
    assert run_cli(root, "repair") == 0  # and asks nothing
    assert snapshot(root) == before


def test_a_store_without_voices_is_sound(root, store, capsys):
    root.mkdir()
    assert run_cli(root, "check") == 0
    store.put(make_waveform(1), "Amy")
    store.delete(name="Amy")
    age(root)
    assert run_cli(root, "check") == 0


def test_many_kinds_of_damage_are_told_mended_and_lose_no_sound_voice(root, library, capsys):
    whole = digests(root)
    flipped, cut, other, kept = (file_of(library, root, name) for name in ["Amy", "小明", "Zoë 🎤", "Ben"])
    (revision,) = (root / "revisions").glob(f"{library.metadata(name='Dóra')['voice_id']}.*.json")
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 8
    flipped.write_bytes(bytes(data))
    cut.write_bytes(cut.read_bytes()[:700])
    write_plain_file(root, other.name.removesuffix(".pkl.gz"), {"something": "else"})
    (root / "embeddings" / "11111111.pkl.gz").symlink_to(kept)
    os.mkfifo(root / "embeddings" / "22222222.pkl.gz")
    (root / "voice_catalog.json").write_bytes((root / "voice_catalog.json").read_bytes()[:200])
    (root / "name_mapping.json").unlink()
    (root / "stats.json").write_text("[]")
    (root / "metadata" / kept.name.replace(".pkl.gz", ".json")).write_text("{torn")
    revision.write_text("torn")
    (root / "embeddings" / f".x.pkl.gz.{'0' * 32}.tmp").write_bytes(b"half")
    write_json(root / "revisions" / "99999999.1.json", {"speaker_name": "Gone"})
    (root / "quick_index.json").write_text("another program's")
    age(root, LONG_AGO_S)

    damaged = {path: path.read_bytes() for path in (flipped, cut, other)}
    before = snapshot(root)
    folders = {path: path.stat().st_mtime_ns for path in [root, *root.iterdir()]}
    assert run_cli(root, "check") == 1
    assert snapshot(root) == before
    assert {path: path.stat().st_mtime_ns for path in [root, *root.iterdir()]} == folders
    said = capsys.readouterr().out.splitlines()
    for file, problem in [
        (f"embeddings/{flipped.name}", "cannot be read"),
        (f"embeddings/{cut.name}", "cannot be read: its end is missing"),
        (f"embeddings/{other.name}", "cannot be read: it holds no audio"),
        ("embeddings/11111111.pkl.gz", "is a link, a pipe or a folder"),
        ("embeddings/22222222.pkl.gz", "is a link, a pipe or a folder"),
        ("voice_catalog.json", "is damaged"),
        ("name_mapping.json", "is missing"),
        ("stats.json", "is damaged"),
        (f"metadata/{kept.name.removesuffix('.pkl.gz')}.json", "is damaged"),
        (f"revisions/{revision.name}", "is damaged"),
        ("embeddings/.x.pkl.gz", "temporary file of a writer that died"),
        ("revisions/99999999.1.json", "about a voice that is not there"),
    ]:
        assert sum(line.startswith(file) and problem in line for line in said) == 1, (file, said)
    assert said[-1].startswith("12 problems; 4 of 7 voices are sound")

    assert run_cli(root, "repair", "--yes") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("no problems; 4 of 4 voices are sound")
    age(root)
    assert run_cli(root, "check") == 0
    sound = {name: digest for name, digest in whole.items() if name not in ("Amy", "小明", "Zoë 🎤")}
    assert digests(root) == sound
    for path, content in damaged.items():
        assert (root / "quarantine" / path.name).read_bytes() == content
        assert not path.exists()
    about = read_json(root / "quarantine" / f"{cut.name}.about.json")
    assert (about["voice"]["speaker_name"], about["voice"]["tags"]) == ("小明", ["a"])
    assert "its end is missing" in about["problem"]
    assert (root / "quarantine" / "11111111.pkl.gz").is_symlink()
    assert kept.is_file()
    assert (root / "quick_index.json").read_text() == "another program's"
    assert VoiceStore(root).metadata(name="Carla")["description"] == "warm, 温暖"


def test_a_replacement_that_was_cut_short_is_finished(root, library, monkeypatch):
    path = file_of(library, root, "Amy")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        library.put(make_waveform(70), "Amy", overwrite=True)
    age(root)
    assert [problem for problem in problems(root) if "was deleted" in problem] == [
        f"embeddings/{path.name}: the voice was deleted or replaced, and its file is still there"
    ]
    assert run_cli(root, "repair", "--yes") == 0
    assert not path.exists()
    assert names(VoiceStore(root)) == names(library)
    assert VoiceStore(root).get(name="Amy").digest == make_waveform(70).digest()


def test_two_voices_of_one_name_are_a_note(root, library, capsys):
    for voice_id, year in [("aaaa0000", 2020), ("bbbb0000", 2040)]:
        content = {"audio": make_waveform(year).samples, "voice_name": "Twin", "created_at": f"{year}-01-01"}
        write_plain_file(root, voice_id, content)
    age(root)
    assert run_cli(root, "repair", "--yes") == 0
    said = capsys.readouterr().out
    assert 'note: 2 voices are named "Twin": the name means bbbb0000; aaaa0000 can be had by id' in said


def test_a_file_that_has_just_changed_is_left(root, library, capsys):
    path = file_of(library, root, "Amy")
    path.write_bytes(path.read_bytes()[:500])
    assert run_cli(root, "repair", "--yes") == 1
    said = capsys.readouterr().out
    assert f"left: embeddings/{path.name} has just changed" in said
    assert path.exists()
    age(root)
    assert run_cli(root, "repair", "--yes") == 0
    assert not path.exists()


def test_the_quarantine_overwrites_nothing(root, library):
    contents = [bytes([number]) * 100 for number in range(3)]
    for content in contents:
        (root / "embeddings" / "deadbeef.pkl.gz").write_bytes(content)
        age(root)
        assert run_cli(root, "repair", "--yes") == 0
    quarantined = sorted((root / "quarantine").glob("deadbeef.pkl.gz*"))
    kept = [path.read_bytes() for path in quarantined if not path.name.endswith(".about.json")]
    assert kept == contents


def test_a_damaged_voice_whose_file_is_restored_is_back_with_all_that_was_known(root, library):
    path = file_of(library, root, "Carla")
    sound = path.read_bytes()
    before = library.metadata(name="Carla")
    path.write_bytes(b"torn")
    age(root)
    assert run_cli(root, "repair", "--yes") == 0
    assert "Carla" not in names(VoiceStore(root))
    path.write_bytes(sound)
    assert VoiceStore(root).metadata(name="Carla") == before


@pytest.mark.parametrize("folder", ["embeddings", "metadata", "revisions", "deleted", "conditionals"])
def test_a_folder_that_is_a_link_is_told_and_left_to_a_person(root, library, tmp_path, folder, capsys):
    (root / folder).mkdir(exist_ok=True)
    (root / folder).rename(tmp_path / "elsewhere")
    (root / folder).symlink_to(tmp_path / "elsewhere")
    age(root)
    before = snapshot(tmp_path / "elsewhere")
    assert any(problem.startswith(f"{folder}: is a link") for problem in problems(root))
    assert run_cli(root, "repair", "--yes") == 1
    assert f"left: {folder} is a link" in capsys.readouterr().out
    assert snapshot(tmp_path / "elsewhere") == before


def test_a_volume_that_is_not_there_takes_no_indexes_along(root, library, capsys):
    (root / "embeddings").rename(root / "unmounted")
    (root / "embeddings").mkdir()
    age(root)
    before = snapshot(root)
    assert run_cli(root, "repair", "--yes") == 1
    assert snapshot(root) == before
    assert "is the volume mounted?" in capsys.readouterr().out


def test_a_no_leaves_everything(root, library, monkeypatch):
    (root / "embeddings" / "deadbeef.pkl.gz").write_bytes(b"torn")
    age(root)
    before = snapshot(root)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert run_cli(root, "repair") == 1
    assert snapshot(root) == before


def test_the_report_is_ordered_and_whole_whatever_the_number_of_processes(root, library):
    for name in ("Amy", "Ben"):
        file_of(library, root, name).write_bytes(b"torn")
    age(root)
    alone, together = check(root), check(root, jobs=2)
    assert alone == together
    assert (alone.voices, alone.sound_voices, alone.audio_s) == (7, 5, 1.25)
    assert [problem.file for problem in alone.problems] == sorted(
        f"embeddings/{library.metadata(name=name)['voice_id']}.pkl.gz" for name in ("Amy", "Ben")
    )
