"""Folders of other programs that ``import`` knows: voices of ElevenLabs, the predecessor's repository."""

import json
import tarfile

import pytest

from tests.voice_store.conftest import make_waveform, names, snapshot, write_json, write_plain_file
from tests.voice_store.terminal import run_cli, write_recording

# As the API answers, with what of it is used; see the types Voice and VoiceSample of the package elevenlabs.
VOICE = {
    "voice_id": "21m00Tcm4TlvDq8ikWAM",
    "name": "Amélie",
    "samples": [
        {"sample_id": "VW7YKqPnjY4h39yTbx2L", "file_name": "first take.mp3", "mime_type": "audio/mpeg"},
        {"sample_id": "pMsXgVXv3BLzUgSXRplE", "file_name": "second take.mp3", "mime_type": "audio/mpeg"},
    ],
    "category": "cloned",
    "labels": {"accent": "american", "gender": "female", "age": "young", "language": "en"},
    "description": "warm",
    "settings": {"stability": 0.5, "similarity_boost": 0.75, "speed": 1.1},
    "created_at_unix": 1_714_650_306,
}
PREMADE = {"voice_id": "pNInz6obpgDQGcFmaJgB", "name": "Adam", "samples": None, "labels": {}}


def check_amelie(store):
    voice = store.metadata(name="Amélie")
    assert voice["voice_id"] == store.metadata(name="21m00Tcm4TlvDq8ikWAM")["voice_id"]
    assert voice["gender"] == "female"
    assert voice["language"] == "en"
    assert voice["tags"] == ["american", "young"]
    assert voice["description"] == "warm"
    assert voice["default_parameters"] == {"speed": 1.1}
    assert voice["created_at"] == "2024-05-02T11:45:06"
    assert store.get(name="Amélie").waveform.duration_s > 7


@pytest.mark.parametrize(
    ("json_file", "first", "second"),
    [
        ("voice.json", "first take.mp3", "second take.mp3"),
        ("voice.json", "samples/VW7YKqPnjY4h39yTbx2L.mp3", "samples/pMsXgVXv3BLzUgSXRplE.mp3"),
        ("voices.json", "21m00Tcm4TlvDq8ikWAM/first take.mp3", "21m00Tcm4TlvDq8ikWAM/second take.mp3"),
        ("voices.json", "Amélie/VW7YKqPnjY4h39yTbx2L.wav", "Amélie/samples/second take.mp3"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_voice_of_elevenlabs_with_its_samples_is_one_voice(
    root, store, tmp_path, capsys, json_file, first, second, kind
):
    folder = tmp_path / "in"
    write_recording(folder / first, 1, duration_s=3.0)
    write_recording(folder / second, 2, duration_s=8.0)
    write_json(folder / json_file, VOICE if json_file == "voice.json" else {"voices": [PREMADE, VOICE]})
    source = folder
    if kind == "tar":
        source = tmp_path / "in.tar"
        with tarfile.open(source, "w", format=tarfile.USTAR_FORMAT) as tar:
            tar.add(folder, arcname=".")
    assert run_cli(root, "import", source) == 0
    assert names(store) == {"Amélie"}
    check_amelie(store)
    said = capsys.readouterr()
    assert ("no sample of Adam is beside it" in said.err) == (json_file == "voices.json")
    before = snapshot(root)
    assert run_cli(root, "import", source) == 0
    assert snapshot(root) == before


def test_an_answer_of_the_javascript_client_is_known_too(root, store, tmp_path):
    write_recording(tmp_path / "in" / "first take.mp3", 2, duration_s=8.0)
    sample = {"sampleId": "VW7YKqPnjY4h39yTbx2L", "fileName": "first take.mp3"}
    voice = {"voiceId": VOICE["voice_id"], "createdAtUnix": VOICE["created_at_unix"], "samples": [sample]}
    same = {key: VOICE[key] for key in ("name", "labels", "description", "settings")}
    write_json(tmp_path / "in" / "voices.json", {"voices": [{**voice, **same}], "hasMore": False})
    assert run_cli(root, "import", tmp_path / "in") == 0
    check_amelie(store)


def test_a_preview_stands_for_samples_that_were_not_downloaded(root, store, tmp_path):
    write_recording(tmp_path / "in" / "Adam.mp3", 1)
    write_recording(tmp_path / "in" / "other.mp3", 2)
    write_json(tmp_path / "in" / "voices.json", [PREMADE])
    assert run_cli(root, "import", tmp_path / "in") == 0
    assert names(store) == {"Adam", "other"}
    assert store.metadata(name="Adam")["aliases"] == [PREMADE["voice_id"]]


def test_samples_that_are_missing_or_damaged_are_told(root, store, tmp_path, capsys):
    folder = tmp_path / "in"
    write_recording(folder / "second take.mp3", 1)
    (folder / "first take.mp3").write_bytes(b"no audio")
    gone = {**VOICE, "voice_id": "x" * 20, "name": "Gone", "samples": [{"sample_id": "y" * 20}]}
    write_json(folder / "voices.json", {"voices": [VOICE, gone]})
    assert run_cli(root, "import", folder) == 1
    assert names(store) == {"Amélie"}
    said = capsys.readouterr().err
    assert "left out of Amélie" in said
    assert "voices.json: no sample of Gone is beside it" in said


def test_samples_beyond_the_fifth_are_no_voices_of_their_own(root, store, tmp_path, capsys):
    folder = tmp_path / "in"
    files = [f"take {number}.wav" for number in range(1, 8)]
    for seed, file in enumerate(files):
        write_recording(folder / file, seed)
    samples = [{"sample_id": str(number), "file_name": file} for number, file in enumerate(files)]
    write_json(folder / "voices.json", {"voices": [{**VOICE, "samples": samples}]})
    assert run_cli(root, "import", folder) == 0
    assert names(store) == {"Amélie"}
    said = capsys.readouterr()
    for file in files[5:]:
        assert f"passed over: {folder / file}: Amélie has more than 5 samples\n" in said.err
    assert said.out.endswith("1 added, 0 already there, 0 left out, 2 passed over\n")


def test_a_sample_without_a_file_is_named(root, store, tmp_path, capsys):
    folder = tmp_path / "in"
    write_recording(folder / "second take.mp3", 1)
    gone = {**VOICE, "voice_id": "x" * 20, "name": "Gone", "samples": [{"sample_id": "y" * 20}]}
    write_json(folder / "voices.json", {"voices": [VOICE, gone]})
    assert run_cli(root, "import", folder) == 1
    assert names(store) == {"Amélie"}
    said = capsys.readouterr().err
    assert "voices.json: the sample first take.mp3 of Amélie is missing\n" in said
    assert f"voices.json: no sample of Gone is beside it: {'y' * 20}\n" in said


def test_entries_that_are_no_voices_are_told(root, store, tmp_path, capsys):
    folder = tmp_path / "in"
    write_recording(folder / "first take.mp3", 1)
    write_json(folder / "voices.json", {"voices": [5, VOICE, {"name": "Nobody"}]})
    assert run_cli(root, "import", folder) == 0
    assert names(store) == {"Amélie"}
    said = capsys.readouterr().err
    assert "voices.json: entry 1 is no voice" in said
    assert "voices.json: entry 3 is no voice" in said
    assert "entry 2" not in said


@pytest.mark.parametrize("speed", ["fast", 9, True, [], 1e308])
def test_a_speed_that_cannot_be_used_is_told(root, store, tmp_path, capsys, speed):
    folder = tmp_path / "in"
    write_recording(folder / "first take.mp3", 1)
    write_json(folder / "voice.json", {**VOICE, "settings": {"speed": speed}})
    assert run_cli(root, "import", folder) == 0
    assert store.metadata(name="Amélie")["default_parameters"] == {}
    assert "settings.speed of Amélie is no number from 0.25 to 4" in capsys.readouterr().err


def test_one_answer_about_all_voices_and_one_about_each_are_the_same_voices(root, store, tmp_path):
    folder = tmp_path / "in"
    write_json(folder / "voices.json", {"voices": [VOICE]})
    write_json(folder / "Amélie (cloned)" / "voice.json", VOICE)
    write_recording(folder / "Amélie (cloned)" / "first take.mp3", 2, duration_s=8.0)
    assert run_cli(root, "import", folder) == 0
    check_amelie(store)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["x"], "settings": 5, "verified_languages": {}, "created_at_unix": 10**30},
        {"labels": {"gender": {}, "language": []}, "verified_languages": [5], "created_at_unix": {}},
        {"labels": {"gender": 1e308, "language": True, "accent": []}, "description": 5},
        {"settings": {"speed": "fast"}, "description": {"a": 1}},
        {"samples": [None, 5, {"sample_id": {}, "file_name": "../../../etc/passwd"}]},
        {"name": "Amélie", "voice_id": "../.."},
    ],
)
def test_what_an_answer_claims_is_not_believed(root, store, tmp_path, changes):
    folder = tmp_path / "in"
    write_json(folder / "voice.json", {**VOICE, **changes})
    write_recording(folder / "first take.mp3")
    run_cli(root, "import", folder)
    assert len(store.list()) == 1  # or the recording alone, where no sample is meant by it
    json.dumps(store.list())
    assert not {path for path in tmp_path.rglob("*") if path.parts[: len(root.parts)] != root.parts} - {
        *(folder, folder / "voice.json", folder / "first take.mp3")
    }


def test_the_store_in_a_copy_of_the_predecessors_repository_comes_in(root, store, tmp_path, capsys):
    repository = tmp_path / "repository"
    library = repository / "voice_embeddings"
    write_plain_file(library, "de16e46c", make_waveform(1).samples)
    entry = {
        "voice_id": "de16e46c",
        "speaker_name": "Amy",
        "gender": "female",
        "original_file": "clip-Amy - Female Southern drawl-2025_07_27.wav",
        "embedding_file": "embeddings\\de16e46c.pkl.gz",
        "duration": 0.25,
        "sample_rate": 24000,
        "created_at": "2025-07-27T14:07:55.721467",
        "type": "chattts_embedding",
    }
    write_json(library / "voice_catalog.json", {"de16e46c": entry})
    write_json(library / "name_mapping.json", {"Amy": "de16e46c"})
    write_recording(repository / "voices" / entry["original_file"])
    (repository / "handler.py").write_text("")
    before = snapshot(repository)
    assert run_cli(root, "import", repository) == 0
    assert snapshot(repository) == before
    (voice,) = store.list()
    kept = {key: voice[key] for key in ("voice_id", "speaker_name", "gender", "original_file")}
    assert kept == {key: entry[key] for key in kept}
    assert capsys.readouterr().out.endswith("1 added, 0 already there, 0 left out, 1 passed over\n")


def test_the_predecessors_recordings_are_called_as_it_called_their_voices(root, store, tmp_path):
    folder = tmp_path / "repository" / "voices"
    write_recording(folder / "clip-Amy - Female Southern drawl-2025_07_27.wav", 1)
    write_recording(folder / "clip-Blake - Male, authoritative news anchor-2025_07_26(1).wav", 2)
    write_recording(folder / "clip-Charles - enthusiastic Frenchman-2025_07_27.wav", 3)
    write_recording(folder / "clip of something - else.wav", 4)
    assert run_cli(root, "import", tmp_path / "repository") == 0
    told = {voice["speaker_name"]: (voice["gender"], voice["description"]) for voice in store.list()}
    assert told == {
        "Amy": ("female", "Female Southern drawl"),
        "Blake": ("male", "Male, authoritative news anchor"),
        "Charles": ("unknown", "enthusiastic Frenchman"),
        "clip of something - else": ("unknown", None),
    }
