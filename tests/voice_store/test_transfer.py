"""Voices that leave a store and come back, or come from elsewhere."""

import json
import os
import tarfile

import numpy as np
import pytest
import soundfile

from audio.waveform import Waveform
from tests.recordings import speech_like
from tests.voice_store.conftest import make_waveform, names, snapshot, write_json, write_plain_file
from tests.voice_store.terminal import run_cli, run_program, write_recording
from voice_store import VoiceStore
from voice_store.live import Timing

DETAILS = {
    "description": "warm, 温暖",
    "gender": "female",
    "language": "zh",
    "tags": ["narration", "新"],
    "default_parameters": {"exaggeration": 0.3, "top_k": 5},
    "original_file": "小明.flac",
}
NAMES = ["Amy", "小明 🎤", "محمد", 'a\'b "c" $(d)', "Zoë"]


@pytest.fixture
def library(store):
    """A store of five voices, one of them louder than full scale and one renamed."""
    for seed, name in enumerate(NAMES):
        samples = speech_like(1.0, seed=seed) * (3.0 if name == "Amy" else 1.0)
        store.put(
            Waveform(samples.astype(np.float32), 24_000),
            name,
            created_at=f"2024-0{seed + 1}-01T00:00:00",
            **DETAILS,
        )
    store.update(name="Zoë", new_name="Zoé", description="")
    return store


@pytest.fixture
def other(tmp_path):
    return VoiceStore(tmp_path / "other", Timing(settle_s=0))


def contents(store: VoiceStore) -> dict[str, tuple[str, dict]]:
    """Digest and metadata by id."""
    return {
        voice["voice_id"]: (store.get(voice_id=voice["voice_id"]).digest, voice) for voice in store.list()
    }


@pytest.mark.parametrize(("place", "jobs"), [("voices.tar", 1), ("voices.tar", 2), ("folder", 1)])
def test_wav_brings_back_the_very_voices(root, library, other, tmp_path, place, jobs, capsys):
    assert run_cli(root, "export", "--to", tmp_path / place) == 0
    assert run_cli(tmp_path / "other", "import", tmp_path / place, "--jobs", jobs) == 0
    assert contents(other) == contents(library)
    assert capsys.readouterr().out.endswith("5 added, 0 already there, 0 left out\n")
    assert run_cli(tmp_path / "other", "import", tmp_path / place) == 0
    assert capsys.readouterr().out.endswith("0 added, 5 already there, 0 left out\n")


def test_flac_keeps_ids_and_details_and_samples_to_24_bits(root, library, other, tmp_path):
    library.delete(name="Amy")  # which FLAC would clip
    assert run_cli(root, "export", "--to", tmp_path / "x.tar", "--format", "flac") == 0
    assert run_cli(tmp_path / "other", "import", tmp_path / "x.tar") == 0
    assert {voice_id: metadata for voice_id, (_, metadata) in contents(other).items()} == {
        voice_id: metadata for voice_id, (_, metadata) in contents(library).items()
    }
    for voice in library.list():
        before, after = (store.get(voice_id=voice["voice_id"]).waveform.samples for store in (library, other))
        assert np.abs(before - after).max() <= 2**-24
    # Rounded, they are the same voices all the same, there and here.
    for folder in (tmp_path / "other", root):
        before = snapshot(folder)
        assert run_cli(folder, "import", tmp_path / "x.tar") == 0
        assert snapshot(folder) == before


def test_exported_audio_is_for_any_player_and_named_by_id(root, library, tmp_path):
    assert run_cli(root, "export", "小明 🎤", "--to", tmp_path / "out") == 0
    voice = library.get(name="小明 🎤")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{voice.voice_id}.wav",
        f"{voice.voice_id}.json",
    }
    audio = tmp_path / "out" / f"{voice.voice_id}.wav"
    assert soundfile.info(audio).subtype == "FLOAT"
    samples, rate_hz = soundfile.read(audio, dtype="float32")
    assert rate_hz == 24_000
    assert np.array_equal(samples, voice.waveform.samples)
    said = json.loads((tmp_path / "out" / f"{voice.voice_id}.json").read_text(encoding="utf-8"))
    assert said["speaker_name"] == "小明 🎤"
    assert said.items() >= DETAILS.items()
    assert said["created_at"] == "2024-02-01T00:00:00"


def test_ids_of_old_programs_make_safe_file_names_and_come_back(root, store, other, tmp_path):
    for number, voice_id in enumerate(["voice_1.v2", "旁白者" * 20, "x.json"]):
        write_plain_file(root, voice_id, {"audio": make_waveform(number).samples, "voice_name": f"V{number}"})
    assert run_cli(root, "export", "--to", tmp_path / "x.tar") == 0
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert all(name.isascii() and len(name) < 80 for name in tar.getnames())
    assert run_cli(tmp_path / "other", "import", tmp_path / "x.tar") == 0
    assert contents(other).keys() == contents(store).keys()


def test_exporting_changes_nothing_in_the_store(root, library, tmp_path):
    (root / "name_mapping.json").write_text("{torn")
    before = snapshot(root)
    assert run_cli(root, "export", "--to", tmp_path / "x.tar") == 0
    assert snapshot(root) == before


def test_a_damaged_voice_is_told_and_the_rest_exported(root, library, other, tmp_path, capsys):
    damaged = library.metadata(name="Amy")["voice_id"]
    (root / "embeddings" / f"{damaged}.pkl.gz").write_bytes(b"torn")
    assert run_cli(root, "export", "--to", tmp_path / "x.tar") == 1
    captured = capsys.readouterr()
    assert f"Amy ({damaged}): " in captured.err
    assert "exported: 4 of 5 voices" in captured.out
    assert run_cli(tmp_path / "other", "import", tmp_path / "x.tar") == 0
    assert names(other) == names(library) - {"Amy"}


def test_an_export_in_which_nothing_is_sound_leaves_no_file(root, tmp_path):
    (root / "embeddings").mkdir(parents=True)
    (root / "embeddings" / "deadbeef.pkl.gz").write_bytes(b"torn")
    assert run_cli(root, "export", "--to", tmp_path / "x.tar") == 1
    assert {path.name for path in tmp_path.iterdir()} == {root.name}


def test_what_is_there_is_replaced_on_request_alone(root, library, tmp_path, capsys):
    tar = tmp_path / "x.tar"
    tar.write_bytes(b"precious")
    assert run_cli(root, "export", "--to", tar) == 1
    assert tar.read_bytes() == b"precious"
    assert "--force" in capsys.readouterr().err
    assert run_cli(root, "export", "--to", tar, "--force") == 0
    assert tarfile.is_tarfile(tar)

    folder = tmp_path / "folder"
    assert run_cli(root, "export", "--to", folder) == 0
    before = snapshot(folder)
    assert run_cli(root, "export", "--to", folder) == 0  # the same bytes are in nobody's way
    library.update(name="Amy", description="other")
    assert run_cli(root, "export", "--to", folder) == 1
    assert snapshot(folder) == before
    assert run_cli(root, "export", "--to", folder, "--force") == 0
    assert snapshot(folder) != before


def test_a_tar_that_cannot_be_finished_is_not_there(root, library, tmp_path):
    """As on a volume that runs full, which a limit on the size of files stands for."""
    script = 'ulimit -f 64; exec "$@"'
    done = run_program(root, "export", "--to", tmp_path / "x.tar", wrapper=["bash", "-c", script, "bash"])
    assert done.returncode == 1
    assert "cannot be written: file too large" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {root.name}


def test_a_taken_name_is_kept_out_unless_told_otherwise(root, library, other, tmp_path, capsys):
    other.put(make_waveform(7), "amy")
    assert run_cli(root, "export", "--to", tmp_path / "x.tar") == 0
    assert run_cli(tmp_path / "other", "import", tmp_path / "x.tar") == 1
    captured = capsys.readouterr()
    assert 'a voice named "amy" exists' in captured.err
    assert captured.out.endswith("4 added, 0 already there, 1 left out\n")
    assert other.get(name="Amy").digest == make_waveform(7).digest()
    assert run_cli(tmp_path / "other", "import", tmp_path / "x.tar", "--overwrite") == 0
    assert other.get(name="Amy").digest == library.get(name="Amy").digest


def test_an_id_that_is_taken_is_not_kept(root, library, other, tmp_path, capsys):
    voice_id = library.metadata(name="Amy")["voice_id"]
    write_plain_file(tmp_path / "other", voice_id, {"audio": make_waveform(8).samples, "voice_name": "Other"})
    assert run_cli(root, "export", "Amy", "--to", tmp_path / "x.tar") == 0
    assert run_cli(tmp_path / "other", "import", tmp_path / "x.tar") == 0
    assert f"was {voice_id})" in capsys.readouterr().out
    assert other.get(name="Amy").digest == library.get(name="Amy").digest
    assert other.get(voice_id=voice_id).metadata["speaker_name"] == "Other"


def test_of_two_voices_of_one_name_the_newest_comes(root, other, tmp_path, capsys):
    for voice_id, year in [("aaaaaaaa", 2022), ("bbbbbbbb", 2024), ("cccccccc", 2023)]:
        audio = make_waveform(year).samples
        content = {"audio": audio, "voice_name": "Amy", "created_at": f"{year}-01-01T00:00:00"}
        write_plain_file(root, voice_id, content)
    assert run_cli(root, "export", "--to", tmp_path / "x.tar") == 0
    assert run_cli(tmp_path / "other", "import", tmp_path / "x.tar", "--overwrite") == 1
    assert [voice["voice_id"] for voice in other.list()] == ["bbbbbbbb"]
    assert capsys.readouterr().err.count("has the same name") == 2


def test_a_folder_holds_exported_voices_and_recordings_side_by_side(root, library, other, tmp_path, capsys):
    folder = tmp_path / "both"
    assert run_cli(root, "export", "--to", folder / "exported") == 0
    write_recording(folder / "Ben.wav", 9)
    write_json(folder / "Ben.json", {"about": "something else"})
    assert run_cli(tmp_path / "other", "import", folder) == 0
    assert names(other) == names(library) | {"Ben"}


def test_a_part_of_a_folder_that_is_missing_or_damaged_is_told(root, library, other, tmp_path, capsys):
    folder = tmp_path / "folder"
    assert run_cli(root, "export", "--to", folder) == 0
    missing, edited, torn, *_ = sorted(path.stem for path in folder.glob("*.wav"))
    (folder / f"{missing}.wav").unlink()
    write_recording(folder / f"{edited}.wav")
    (folder / f"{torn}.json").write_bytes((folder / f"{torn}.json").read_bytes()[:50])
    capsys.readouterr()
    assert run_cli(tmp_path / "other", "import", folder) == 1
    assert contents(other).keys() == contents(library).keys() - {missing, edited, torn}
    errors = capsys.readouterr().err
    for line in (
        f"{missing}.wav, which it describes, is missing",
        "is not what was exported",
        f"{torn}.json: it is damaged",
    ):
        assert line in errors


@pytest.fixture
def legacy(tmp_path):
    """What older programs leave: another rate, a bare array, names in the catalog alone, half an index."""
    root = tmp_path / "legacy"
    rows = make_waveform(1).samples
    write_plain_file(
        root, "voice_1.v1", {"audio": rows[::2].astype(np.float64), "sample_rate": 12_000}, protocol=2
    )
    write_plain_file(root, "0000aaaa", rows)
    write_plain_file(root, "0000bbbb", {"audio": make_waveform(3).samples, "voice_name": "Unlisted"})
    (root / "embeddings" / "0000cccc.pkl.gz").write_bytes(b"torn")
    entries = {
        voice_id: {
            "voice_id": voice_id,
            "speaker_name": name,
            "gender": "female",
            "duration": 0.25,
            "embedding_file": f"embeddings\\{voice_id}.pkl.gz",
            "created_at": "2023-05-06T07:08:09.123456",
        }
        for voice_id, name in [("voice_1.v1", "Ännchen"), ("0000aaaa", "小明"), ("0000cccc", "Torn")]
    }
    write_json(root / "voice_catalog.json", entries)
    (root / "name_mapping.json").write_text('{"torn')
    return root


def test_a_legacy_store_comes_in_and_stays_as_it_is(legacy, other, tmp_path, capsys):
    before = snapshot(legacy)
    folders = {path: path.stat().st_mtime_ns for path in [legacy, *legacy.iterdir()]}
    assert run_cli(tmp_path / "other", "import", legacy, "--jobs", 2) == 1
    assert snapshot(legacy) == before
    assert {path: path.stat().st_mtime_ns for path in [legacy, *legacy.iterdir()]} == folders
    assert {voice["voice_id"]: voice["speaker_name"] for voice in other.list()} == {
        "voice_1.v1": "Ännchen",
        "0000aaaa": "小明",
        "0000bbbb": "Unlisted",
    }
    assert other.metadata(name="小明")["created_at"] == "2023-05-06T07:08:09"
    assert other.metadata(name="小明")["gender"] == "female"
    assert other.get(name="小明").digest == make_waveform(1).digest()
    assert "Torn (0000cccc): " in capsys.readouterr().err


def test_what_was_deleted_in_the_other_store_does_not_come(root, library, other, tmp_path):
    library.delete(name="Amy")
    assert run_cli(tmp_path / "other", "import", root) == 0
    assert contents(other) == contents(library)


def test_a_store_imported_into_itself_is_all_there_already(root, library, capsys):
    before = contents(library)
    assert run_cli(root, "import", root) == 0
    assert contents(library) == before
    assert "0 added, 5 already there" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["folder", "text", "pipe"])
def test_a_path_without_voices_is_told(root, tmp_path, capsys, kind):
    path = tmp_path / "in"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("hello" * 1000)
    else:
        os.mkfifo(path)
    assert run_cli(root, "import", path) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not root.exists()
