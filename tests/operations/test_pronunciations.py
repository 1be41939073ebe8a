"""Pronunciations that are sent with a voice or a job, and those of the store."""

import base64
import json

import pytest

from errors import InvalidRequest
from operations.pronunciations import PronunciationEntry, Pronunciations, levels_for
from operations.request import Request, parse_request
from speech.text.pronunciations import Pronunciation, find_pronunciations
from tests.operations.conftest import run_operation
from tests.recordings import speech_like, wav_bytes
from voice_store import VoiceStore
from voice_store.live import Timing

WIN = {"text": "Nguyen", "say": "win"}
FULL_WIN = {**WIN, "case_sensitive": False, "whole_word": True}


class Job(Request):
    pronunciations: Pronunciations = None


def parse(*entries):
    return parse_request(Job, "tts", {"pronunciations": list(entries)}).pronunciations


def refusal(*entries):
    with pytest.raises(InvalidRequest) as caught:
        parse(*entries)
    return caught.value.message


def clone(services, name="Anna", **fields):
    audio = base64.b64encode(wav_bytes(speech_like(6.0, 24_000, 1), 24_000)).decode()
    return run_operation(
        services, "clone_voice", voice_name=name, reference_audio=audio, preview=False, **fields
    )


def test_an_entry_needs_a_text_and_what_to_say():
    assert parse({"text": " Nguyen ", "say": "win", "case_sensitive": None}) == [PronunciationEntry(**WIN)]
    assert parse(*({"text": f"w{number}", "say": "x"} for number in range(500)))[499].text == "w499"
    assert parse() == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"text": "a"}, "pronunciations[0].say is required; send a text of 1 to 200 visible characters"),
        ({"text": "a", "say": ""}, "pronunciations[0].say is blank"),
        ({"text": " ", "say": "b"}, "pronunciations[0].text is blank"),
        ({"text": "a" * 101, "say": "b"}, "pronunciations[0].text has 101 characters; send at most 100"),
        ({"text": "a", "say": "b" * 201}, "pronunciations[0].say has 201 characters; send at most 200"),
        ({"text": "a\u200bb", "say": "b"}, "pronunciations[0].text holds the invisible character U+200B"),
        ({"text": "a", "say": "b", "whole_world": True}, "did you mean 'whole_word'?"),
        ({"text": "a", "say": "b", "case_sensitive": "no"}, "case_sensitive must be true or false, not 'no'"),
        ("Nguyen", "pronunciations[0] is 'Nguyen'; pronunciations must be a list of at most 500 objects"),
    ],
)
def test_what_is_wrong_with_an_entry_is_named_with_its_place(entry, said):
    assert said in refusal(entry)


def test_two_entries_for_one_text_are_refused():
    assert "pronunciations holds the same text at [0] and [2]; send it once" in refusal(
        WIN, {"text": "café", "say": "a"}, {"text": "NGUYEN", "say": "b"}
    )
    assert "at [0] and [1]" in refusal({"text": "café", "say": "a"}, {"text": "cafe\u0301", "say": "b"})
    assert parse({"text": "us", "say": "us"}, {"text": "US", "say": "you ess", "case_sensitive": True})
    assert parse({"text": "Straße", "say": "a"}, {"text": "Strasse", "say": "b"})


def test_more_entries_than_fit_are_refused_with_their_number():
    assert "has 501 members; send at most 500" in refusal(*[WIN] * 501)


def test_a_voice_keeps_them_and_get_voice_returns_them(services):
    cloned = clone(services, pronunciations=[WIN])
    assert cloned["voice_info"]["pronunciations"] == [FULL_WIN]
    assert run_operation(services, "get_voice", voice_name="Anna")["voice"]["pronunciations"] == [FULL_WIN]
    (listed,) = run_operation(services, "list_voices")["voices"]
    assert "pronunciations" not in listed
    run_operation(services, "update_voice", voice_name="Anna", gender="female")
    assert run_operation(services, "get_voice", voice_name="Anna")["voice"]["pronunciations"] == [FULL_WIN]
    other = {"text": "C++", "say": "see plus plus", "case_sensitive": True, "whole_word": False}
    changed = run_operation(services, "update_voice", voice_name="Anna", pronunciations=[other])
    assert changed["voice_info"]["pronunciations"] == [other]
    cleared = run_operation(services, "update_voice", voice_name="Anna", pronunciations=[])
    assert cleared["voice_info"]["pronunciations"] == []


def test_other_pronunciations_of_a_voice_that_is_there_are_a_warning(services):
    clone(services, pronunciations=[WIN])
    assert clone(services, pronunciations=[WIN])["warnings"] == clone(services)["warnings"]
    again = clone(services, pronunciations=[{"text": "a", "say": "b"}])
    assert any("with another pronunciations" in warning for warning in again["warnings"])


def test_levels_are_the_job_the_voice_and_the_store(tmp_path):
    store = VoiceStore(tmp_path / "voices", Timing(settle_s=0))
    store.put_pronunciations([{"text": "a", "say": "store"}])
    levels, warnings = levels_for(parse({"text": "a", "say": "job"}), [{**FULL_WIN, "text": "a"}], store)
    assert levels == [
        (Pronunciation("a", "job"),),
        (Pronunciation("a", "win"),),
        (Pronunciation("a", "store"),),
    ]
    assert warnings == []
    assert [each.spoken for each in find_pronunciations("a", levels)] == ["job"]
    assert [each.spoken for each in find_pronunciations("a", levels[1:])] == ["win"]
    levels, _ = levels_for(None, [], store)
    assert [each.spoken for each in find_pronunciations("a", levels)] == ["store"]


def test_what_cannot_be_used_of_the_voice_or_the_store_is_a_warning(services, tmp_path):
    voice_id = clone(services, pronunciations=[WIN])["voice_id"]
    catalog = tmp_path / "voice_embeddings" / "voice_catalog.json"
    content = json.loads(catalog.read_text())
    content[voice_id]["pronunciations"] = [5, WIN, {"text": "a", "say": "b" * 201}, {"text": "c"}]
    catalog.write_text(json.dumps(content))
    (tmp_path / "voice_embeddings" / "pronunciations.json").write_text("{")
    store = VoiceStore(tmp_path / "voice_embeddings", Timing(settle_s=0))
    of_voice = store.metadata(voice_id=voice_id)["pronunciations"]
    levels, (voice_warning, store_warning) = levels_for(None, of_voice, store)
    assert levels == [(), (Pronunciation("Nguyen", "win"),), ()]
    assert voice_warning.startswith(
        "ignored, though stored with the voice: pronunciations[0].text is missing"
    )
    assert "and 1 more" in voice_warning
    assert "pronunciations.json of the store is no JSON" in store_warning


def test_a_store_that_is_not_there_has_no_pronunciations(tmp_path):
    store = VoiceStore(tmp_path / "not" / "mounted", Timing(settle_s=0))
    assert levels_for(None, [], store) == ([(), (), ()], [])
