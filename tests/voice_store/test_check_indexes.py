"""Indexes that do not say what the voices do: ``check`` tells how they differ, ``repair`` mends them."""

import shutil

import pytest

from tests.voice_store.conftest import make_waveform, read_json, write_json, write_plain_file
from tests.voice_store.damaged import age, digests, fill, problems
from tests.voice_store.terminal import run_cli
from voice_store import VoiceStore
from voice_store.health import check
from voice_store.live import Timing


@pytest.fixture
def library(store, root) -> VoiceStore:
    return fill(store, root)


def drop_from_catalog(root, library):
    catalog = read_json(root / "voice_catalog.json")
    del catalog[library.metadata(name="Amy")["voice_id"]]
    write_json(root / "voice_catalog.json", catalog)


def list_what_is_not_there(root, library):
    catalog = read_json(root / "voice_catalog.json")
    catalog["99999999"] = {"voice_id": "99999999", "speaker_name": "Gone", "duration": 1.0}
    write_json(root / "voice_catalog.json", catalog)


def map_to_what_is_not_there(root, library):
    write_json(root / "name_mapping.json", read_json(root / "name_mapping.json") | {"Gone": "99999999"})


def map_to_another(root, library):
    mapping = read_json(root / "name_mapping.json")
    write_json(root / "name_mapping.json", mapping | {"Amy": mapping["Ben"]})


def unmap(root, library):
    mapping = read_json(root / "name_mapping.json")
    del mapping["小明"]
    write_json(root / "name_mapping.json", mapping)


def miscount(root, library):
    write_json(root / "stats.json", read_json(root / "stats.json") | {"total_voices": 99})


def lose_metadata(root, library):
    (root / "metadata" / f"{library.metadata(name='Amy')['voice_id']}.json").unlink()


def forget_a_revision(root, library):
    voice_id = library.metadata(name="Carla")["voice_id"]
    catalog = read_json(root / "voice_catalog.json")
    del catalog[voice_id]["revision"], catalog[voice_id]["description"]
    write_json(root / "voice_catalog.json", catalog)


def lose_all_indexes(root, library):
    for path in root.glob("*.json"):
        path.unlink()
    shutil.rmtree(root / "metadata")


@pytest.mark.parametrize(
    ("damage", "file", "says"),
    [
        (drop_from_catalog, "voice_catalog.json", "lacks {Amy}"),
        (list_what_is_not_there, "voice_catalog.json", "lists what is not there: 99999999"),
        (map_to_what_is_not_there, "name_mapping.json", "lists what is not there: Gone"),
        (map_to_another, "name_mapping.json", "is out of date about Amy"),
        (unmap, "name_mapping.json", "lacks 小明"),
        (miscount, "stats.json", "is out of date about total_voices"),
        (lose_metadata, "metadata", "lacks the file of {Amy}"),
        (forget_a_revision, "voice_catalog.json", "is out of date about {Carla}"),
        (lose_all_indexes, "voice_catalog.json", "is missing"),
    ],
)
def test_an_index_that_differs_from_the_voices_is_told_and_rebuilt(root, library, damage, file, says, capsys):
    before = digests(root)
    described = library.metadata(name="Carla")
    ids = {name: library.metadata(name=name)["voice_id"] for name in ("Amy", "Carla")}
    damage(root, library)
    age(root)
    assert f"{file}: {says.format(**ids)}" in problems(root)
    assert run_cli(root, "repair", "--yes") == 0
    age(root)
    assert problems(root) == []
    assert digests(root) == before
    if damage is not lose_all_indexes:
        assert VoiceStore(root).metadata(name="Carla") == described


def test_what_an_index_said_before_a_repair_is_kept(root, library, capsys):
    list_what_is_not_there(root, library)
    age(root)
    assert run_cli(root, "repair", "--yes") == 0
    assert "99999999" not in read_json(root / "voice_catalog.json")
    assert read_json(root / "quarantine" / "voice_catalog.json")["99999999"]["speaker_name"] == "Gone"


def test_entries_and_keys_of_other_programs_are_no_problem_and_survive(root, library):
    catalog = read_json(root / "voice_catalog.json")
    catalog["theirs"] = {"speaker_name": "Remote", "firebase_storage_path": "x/y"}
    write_json(root / "voice_catalog.json", catalog)
    age(root)
    assert problems(root) == []
    drop_from_catalog(root, library)
    age(root)
    assert run_cli(root, "repair", "--yes") == 0
    assert read_json(root / "voice_catalog.json")["theirs"] == catalog["theirs"]


def test_a_busy_worker_that_is_behind_with_its_indexes_is_no_problem(root, library):
    """The indexes are looked at twice, if they have just changed: meanwhile the worker catches up."""
    write_plain_file(root, "abcd0123", {"audio": make_waveform(50).samples, "voice_name": "New"})
    waited_s = []

    def catch_up(duration_s: float) -> None:
        waited_s.append(duration_s)
        VoiceStore(root, Timing(settle_s=0)).update(voice_id="abcd0123", description="indexed")

    assert check(root, sleep=catch_up).problems == ()
    assert len(waited_s) == 1


def test_a_problem_is_what_an_index_says_wrong_both_times_that_it_is_looked_at(root, library):
    """While workers change the store, each look may find the index behind by another voice."""
    catalog = read_json(root / "voice_catalog.json")
    ids = {name: library.metadata(name=name)["voice_id"] for name in ("Amy", "Ben", "Carla")}

    def forget(*names: str) -> None:
        forgotten = {ids[name] for name in names}
        content = {key: entry for key, entry in catalog.items() if key not in forgotten}
        write_json(root / "voice_catalog.json", content)

    forget("Amy", "Ben")
    problems = check(root, sleep=lambda _: forget("Ben", "Carla")).problems
    assert [str(problem) for problem in problems] == [f"voice_catalog.json: lacks {ids['Ben']}"]


def test_an_index_that_lost_every_voice_fills_no_screen(root, store, capsys):
    for number in range(60):
        store.put(make_waveform(number, 0.01), f"Voice {number}")
    shutil.rmtree(root / "metadata")
    age(root)
    assert run_cli(root, "check") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("metadata: lacks the file of ")
    assert lines[0].endswith(" and 57 more")
    assert lines[1:] == ["1 problem; 60 of 60 voices are sound, 0.0 minutes in all"]
