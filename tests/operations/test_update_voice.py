import json

import pytest

from errors import InvalidRequest, VoiceExists, VoiceNotFound
from operations.voice_details import VoiceDetails
from tests.fakes import build_services

KNOWN = {
    "description": "Reads the news.",
    "gender": "female",
    "language": "en-GB",
    "tags": ["news", "calm"],
    "default_parameters": {"temperature": 0.3, "top_k": 40},
}


@pytest.fixture
def ada(services, waveform):
    return services.voices.put(waveform, "Ada", **KNOWN).voice


def details(voice_info):
    return {key: voice_info[key] for key in KNOWN}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"voice_description": "Reads tales."}, {"description": "Reads tales."}),
        ({"voice_description": "One line\n and another"}, {"description": "One line and another"}),
        ({"gender": "divers"}, {"gender": "divers"}),
        ({"language": "fr"}, {"language": "fr"}),
        (
            {"tags": ["Märchen", "有声书", "👩‍🚀", "می\u200cخواهم"]},
            {"tags": ["Märchen", "有声书", "👩‍🚀", "می\u200cخواهم"]},
        ),
        ({"default_parameters": {"top_p": 1}}, {"default_parameters": {"top_p": 1.0}}),
        (
            {"default_parameters": {"temperature": None, "top_k": 5}},
            {"default_parameters": {"top_k": 5}},
        ),
        ({"gender": "male", "tags": None}, {"gender": "male"}),
        ({"voice_description": ""}, {"description": None}),
        ({"gender": ""}, {"gender": "unknown"}),
        ({"language": ""}, {"language": None}),
        ({"tags": []}, {"tags": []}),
        ({"default_parameters": {}}, {"default_parameters": {}}),
    ],
)
def test_what_is_sent_changes_what_is_empty_is_forgotten_and_the_rest_stays(run, ada, sent, stored):
    reply = run("update_voice", voice_name="ada", **sent)
    assert (reply["voice_id"], reply["voice_name"]) == (ada.voice_id, "Ada")
    assert reply["warnings"] == []
    assert details(reply["voice_info"]) == KNOWN | stored
    assert details(run("get_voice", voice_id=ada.voice_id)["voice"]) == KNOWN | stored


def test_the_same_change_again_changes_nothing(run, ada):
    change = {"voice_id": ada.voice_id, "new_voice_name": "Ida", "tags": ["tales"], "gender": ""}
    assert run("update_voice", **change) == run("update_voice", **change)


@pytest.mark.parametrize("name", ["Ida", "ADA", "李雷", "مریم\u200cها", "👩‍🚀 Zoë", "שלום"])
def test_a_renamed_voice_speaks_under_its_new_name_on_every_worker(
    run, services, tmp_path, waveform, ada, name
):
    run("get_voice", voice_name="Ada")
    other_worker = build_services(tmp_path)
    other_worker.voices.list()
    reply = run("update_voice", voice_name="Ada", new_voice_name=name)
    assert reply["voice_name"] == name
    assert details(reply["voice_info"]) == KNOWN
    for worker in (services, other_worker, build_services(tmp_path)):
        voice = worker.voices.get(name=name)
        assert voice.voice_id == ada.voice_id
        assert voice.digest == waveform.digest()
    assert run("tts", text="Hello.", voice_name=name)["voice"] == {
        "voice_id": ada.voice_id,
        "voice_name": name,
    }


def test_the_old_name_leads_to_the_new_one_only_as_a_suggestion(run, ada):
    run("update_voice", voice_name="Ada", new_voice_name="Adam")
    with pytest.raises(VoiceNotFound, match='"Adam"'):
        run("tts", text="Hello.", voice_name="Ada")


def test_the_old_name_is_free_for_another_recording(run, services, ada, other_recording):
    run("update_voice", voice_name="Ada", new_voice_name="Ida")
    cloned = run("clone_voice", voice_name="Ada", reference_audio=other_recording, preview=False)
    assert cloned["created"]
    assert services.voices.get(name="Ida").voice_id == ada.voice_id != cloned["voice_id"]


def test_a_name_that_another_voice_has_is_refused(run, services, ada, other_waveform):
    services.voices.put(other_waveform, "Bob")
    with pytest.raises(VoiceExists, match='new_voice_name.*"bob"'):
        run("update_voice", voice_name="Ada", new_voice_name="bob", gender="male")
    assert services.voices.metadata(name="Ada")["gender"] == "female"


def test_a_name_that_another_program_gives_to_a_newer_voice_at_the_same_moment_is_said(
    run, services, monkeypatch, tmp_path, ada, other_waveform
):
    bob = services.voices.put(other_waveform, "Bob", created_at="2999-01-01T00:00:00").voice
    catalog_file = tmp_path / "voice_embeddings" / "voice_catalog.json"
    update = services.voices.update

    def update_and_lose_the_name(**change):
        updated = update(**change)
        catalog = json.loads(catalog_file.read_text())
        catalog[bob.voice_id]["speaker_name"] = "Ida"
        catalog_file.write_text(json.dumps(catalog))
        return updated

    monkeypatch.setattr(services.voices, "update", update_and_lose_the_name)
    reply = run("update_voice", voice_id=ada.voice_id, new_voice_name="Ida")
    (warning,) = reply["warnings"]
    assert f"use voice_id {ada.voice_id}" in warning
    assert run("get_voice", voice_name="Ida")["voice"]["voice_id"] == bob.voice_id


def test_a_name_is_kept_in_its_canonical_form(run, ada):
    assert run("update_voice", voice_name="Ada", new_voice_name=" Zoe\u0308 ")["voice_name"] == "Zoë"


def test_a_damaged_voice_can_be_described(run, ada, tmp_path):
    (path,) = (tmp_path / "voice_embeddings" / "embeddings").glob("*.pkl.gz")
    path.write_bytes(path.read_bytes()[:-1000])
    assert run("update_voice", voice_name="Ada", tags=["damaged"])["voice_info"]["tags"] == ["damaged"]


def test_a_voice_that_is_not_there_is_not_found(run, ada):
    with pytest.raises(VoiceNotFound, match='"Ada"'):
        run("update_voice", voice_name="Adah", gender="male")
    with pytest.raises(VoiceNotFound, match="00000000"):
        run("update_voice", voice_id="00000000", gender="male")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"voice_name": None, "tags": []}, ["voice_name is required"]),
        ({"voice_id": "01234567", "tags": []}, ["voice_name and voice_id exclude each other"]),
        ({}, ["there is nothing to change", "new_voice_name", *VoiceDetails.model_fields]),
        ({"gender": None}, ["there is nothing to change"]),
        ({"new_voice_name": ""}, ["new_voice_name"]),
        ({"new_voice_name": "a/b"}, ["new_voice_name"]),
        ({"new_voice_name": "x" * 65}, ["new_voice_name"]),
        ({"voice_description": "x" * 1001}, ["voice_description"]),
        ({"gender": " "}, ["gender is blank"]),
        ({"language": "e\u202en"}, ["language", "U+202E"]),
        ({"tags": "news"}, ["tags must be a list", "not 'news'"]),
        ({"tags": {"news": 1}}, ["tags must be a list"]),
        ({"tags": [f"tag {index}" for index in range(33)]}, ["tags has 33 members", "at most 32"]),
        ({"tags": ["a", 3, None, "", "x" * 65]}, ["tags[1] is 3", "tags[2] is null", "tags[3]", "tags[4]"]),
        ({"tags": ["a", "\ud800"]}, ["tags[1] holds half a character"]),
        ({"tags": ["a\u202eb"]}, ["tags[0]", "U+202E"]),
        ({"tags": ["News", "sport", "ＮＥＷＳ"]}, ["tags", "[0] and [2]"]),
        ({"default_parameters": [0.5]}, ["default_parameters must be an object"]),
        (
            {"default_parameters": {"temperature": 6, "top_k": 1.5, "cfg_weight": "1"}},
            [
                "default_parameters.temperature must be a number from 0 to 5, not 6",
                "default_parameters.top_k must be a whole number from 0 to 1000",
                "default_parameters.cfg_weight must be a number from 0 to 1",
            ],
        ),
        ({"default_parameters": {"temprature": 1}}, ["default_parameters.temprature", "'temperature'"]),
        ({"default_parameters": {"seed": 1}}, ["default_parameters.seed is not a field"]),
        ({"default_parameters": {"min_p": float("nan")}}, ["default_parameters.min_p must be"]),
        ({"default_parameters": {"min_p": 10**400}}, ["default_parameters.min_p is too large"]),
        ({"default_parameters": {"min_p": [[[[]]]]}}, ["default_parameters.min_p must be"]),
        ({"default_parameters": {"\ud800": 1}}, ["default_parameters", "not a field's name"]),
        ({"gendre": "male", "tags": [1], "language": 5}, ["'gender'", "tags[0]", "language must be"]),
    ],
)
def test_bad_fields_are_all_named_and_nothing_changes(run, services, ada, fields, named):
    with pytest.raises(InvalidRequest) as refused:
        run("update_voice", **{"voice_name": "Ada", **fields})
    for words in named:
        assert words in refused.value.message
    json.dumps(refused.value.message, ensure_ascii=False).encode()
    assert details(services.voices.metadata(name="Ada")) == KNOWN
