"""Which voice a name or an id means, and what is said when it means none."""

import pytest

from errors import InvalidRequest, StoreUnavailable, VoiceExists, VoiceNotFound
from tests.voice_store.conftest import make_waveform, names, read_json, write_json, write_plain_file
from voice_store import Timing, VoiceStore
from voice_store.voice_file import encode_voice


@pytest.mark.parametrize("name", ["AMY ŁUKASZ", "amy łukasz", "Ａｍｙ Łukasz", " Amy Łukasz "])
def test_a_name_is_found_in_another_case_or_form(store, name):
    voice = store.put(make_waveform(1), "Amy Łukasz").voice
    assert store.get(name=name).voice_id == voice.voice_id


def test_a_composed_and_a_decomposed_name_are_one(store):
    voice = store.put(make_waveform(1), "Zoe\u0308").voice
    assert store.get(name="Zo\u00eb").voice_id == store.get(name="ZOE\u0308").voice_id == voice.voice_id


@pytest.mark.parametrize("name", ["小明", "👩‍👩‍👧", "شهرزاد", "न्युटन", "שָׁלוֹם"])
def test_a_name_of_any_script_finds_its_voice_again(store, name):
    voice = store.put(make_waveform(1), name).voice
    assert store.get(name=name).voice_id == voice.voice_id
    assert voice.name in names(store)


@pytest.mark.parametrize("part", ["Am", "my", "A", "", "Amy L", "y"])
def test_a_part_of_a_name_finds_nothing(store, part):
    store.put(make_waveform(1), "Amy")
    with pytest.raises(VoiceNotFound):
        store.get(name=part)


def test_unknown_name_is_told_with_the_nearest(store):
    for seed, name in enumerate(["Benjamin", "Amy", "Zacharias"]):
        store.put(make_waveform(seed), name)
    with pytest.raises(VoiceNotFound, match='no voice is named "Benjamim"; the nearest names are "Benjamin"'):
        store.get(name="Benjamim")
    with pytest.raises(VoiceNotFound, match="list_voices shows all names"):
        store.get(name="qqqq")


def test_unknown_name_in_an_empty_store_says_how_to_make_a_voice(store):
    with pytest.raises(VoiceNotFound, match="make one with clone_voice"):
        store.get(name="Amy")


def test_hostile_name_is_shown_harmlessly(store):
    with pytest.raises(VoiceNotFound) as caught:
        store.get(name="\x1b[2J\ud800" + "x" * 1_000_000)
    assert len(caught.value.message.encode()) < 300
    assert "\x1b" not in caught.value.message


def test_unknown_id_is_told(store):
    store.put(make_waveform(1), "Amy")
    with pytest.raises(VoiceNotFound, match="no voice has the id 00000000; list_voices shows"):
        store.get(voice_id="00000000")
    with pytest.raises(VoiceNotFound):
        store.metadata(voice_id="00000000")


@pytest.mark.parametrize(
    "voice_id",
    [
        "../../secret",
        "..",
        "",
        ".hidden",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "a\0b",
        "a" * 101,
        "a b",
        "a\n",
        "~root",
    ],
)
@pytest.mark.parametrize("method", ["get", "metadata", "delete"])
def test_an_id_that_is_none_never_becomes_a_path(store, root, voice_id, method):
    write_plain_file(root.parent, "../secret", make_waveform(1).samples)
    store.put(make_waveform(1), "Amy")
    with pytest.raises(InvalidRequest, match="voice_id"):
        getattr(store, method)(voice_id=voice_id)
    assert (root.parent / "secret.pkl.gz").exists()


def test_two_voices_of_one_name_stay_reachable_and_the_newest_has_it(store, root):
    for voice_id, seed, created_at in (
        ("aaaaaaaa", 1, "2024-01-02T00:00:00"),
        ("bbbbbbbb", 2, "2024-01-01T00:00:00"),
    ):
        (root / "embeddings").mkdir(parents=True, exist_ok=True)
        (root / "embeddings" / f"{voice_id}.pkl.gz").write_bytes(
            encode_voice(make_waveform(seed), "Amy", created_at)
        )
    assert store.get(name="Amy").voice_id == "aaaaaaaa"
    assert store.get(voice_id="bbbbbbbb").digest == make_waveform(2).digest()


def test_exact_name_goes_before_a_folded_one(store, root):
    for voice_id, name in (("aaaaaaaa", "amy"), ("bbbbbbbb", "Amy"), ("cccccccc", "AMY")):
        write_plain_file(root, voice_id, {"audio": make_waveform(1).samples, "voice_name": name})
    assert [store.get(name=name).voice_id for name in ("amy", "Amy", "AMY")] == [
        "aaaaaaaa",
        "bbbbbbbb",
        "cccccccc",
    ]


def test_further_name_of_another_program_finds_the_voice_and_is_not_taken_lightly(store, root):
    voice = store.put(make_waveform(1), "Amy").voice
    write_json(root / "name_mapping.json", {"Amy": voice.voice_id, "narrator": voice.voice_id})
    assert store.get(name="Narrator").voice_id == voice.voice_id
    with pytest.raises(VoiceExists):
        store.put(make_waveform(2), "narrator")
    store.put(make_waveform(2), "narrator", overwrite=True)
    assert store.get(name="narrator").digest == make_waveform(2).digest()
    assert store.get(name="Amy").digest == make_waveform(1).digest()


def test_names_are_near_without_their_accents(store):
    store.put(make_waveform(1), "Kénnedy")
    with pytest.raises(VoiceNotFound, match='the nearest names are "Kénnedy"'):
        store.get(name="Kenny")


def test_of_old_voices_whose_names_look_the_same_the_newest_is_meant_and_none_is_lost(store, root):
    for voice_id, name, year in (("0a", "Amy", 2024), ("0b", "Amy\u200b", 2025), ("0c", "\u3164", 2023)):
        content = {"audio": make_waveform(year).samples, "voice_name": name, "created_at": f"{year}-01-01"}
        write_plain_file(root, voice_id, content)
    for name in ("Amy", "Amy\u200b", "\u2060amy"):
        assert store.get(name=name).voice_id == "0b"
    assert [voice["voice_id"] for voice in store.list()] == ["0c", "0a", "0b"]
    for voice_id in ("0a", "0b", "0c"):
        assert store.get(voice_id=voice_id).voice_id == voice_id
    mapping = read_json(root / "name_mapping.json")  # for older programs, which know exact names alone
    assert mapping == {"Amy": "0a", "Amy\u200b": "0b", "\u3164": "0c"}
    with pytest.raises(VoiceExists):
        store.put(make_waveform(1), "A\u00admy")


def test_finding_waits_for_no_voice_that_may_be_arriving(root):
    asleep: list[float] = []
    store = VoiceStore(root, Timing(sleep=asleep.append))
    voice_id = store.put(make_waveform(1), "Amy Łukasz", aliases=["Alloy"]).voice.voice_id
    for name in ("Amy Łukasz", "AMY ŁUKASZ", "alloy"):
        assert store.find(name=name) == voice_id
    assert store.find(voice_id=voice_id) == voice_id
    assert store.find(name=voice_id) is None
    assert store.find(name="Amy") is None
    for no_voice in ("00000000", "../../secret", "Amy Łukasz", ""):
        assert store.find(voice_id=no_voice) is None
    assert not asleep


def test_finding_says_when_the_store_is_no_folder(store, root):
    root.write_text("a file")
    with pytest.raises(StoreUnavailable):
        store.find(name="Amy")
