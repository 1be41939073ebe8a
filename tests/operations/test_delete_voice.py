import pytest

from errors import InvalidRequest, VoiceNotFound
from tests.fakes import build_services


@pytest.fixture
def ada(services, waveform):
    return services.voices.put(waveform, "Ada").voice


def voice_files(tmp_path):
    return list((tmp_path / "voice_embeddings" / "embeddings").glob("*.pkl.gz"))


@pytest.mark.parametrize("named", ["name", "id"])
def test_a_deleted_voice_is_gone_on_every_worker(run, services, tmp_path, ada, named):
    other_worker = build_services(tmp_path)
    assert other_worker.voices.get(name="Ada").voice_id == ada.voice_id
    voice = {"voice_name": "ada"} if named == "name" else {"voice_id": ada.voice_id}
    reply = run("delete_voice", confirm=True, **voice)
    assert reply == {"voice_id": ada.voice_id, "voice_name": "Ada", "deleted": True}
    assert voice_files(tmp_path) == []
    for worker in (services, other_worker, build_services(tmp_path)):
        assert worker.voices.list() == []
        with pytest.raises(VoiceNotFound):
            worker.voices.get(name="Ada")
    with pytest.raises(VoiceNotFound):
        run("tts", text="Hello.", voice_id=ada.voice_id)


@pytest.mark.parametrize("named", ["name", "id"])
def test_a_job_that_comes_twice_succeeds_twice(run, tmp_path, ada, named):
    voice = {"voice_name": "Ada"} if named == "name" else {"voice_id": ada.voice_id}
    first = run("delete_voice", confirm=True, **voice)
    assert run("delete_voice", confirm=True, **voice) == first | {"deleted": False}


def test_deleting_by_id_never_reaches_a_later_voice_of_that_name(
    run, services, ada, recording, other_waveform
):
    run("delete_voice", voice_id=ada.voice_id, confirm=True)
    again = services.voices.put(ada.waveform, "Ada").voice
    assert again.voice_id != ada.voice_id
    assert run("delete_voice", voice_id=ada.voice_id, confirm=True)["deleted"] is False
    assert services.voices.get(name="Ada").voice_id == again.voice_id


@pytest.mark.parametrize(
    "confirm", [{}, {"confirm": None}, *({"confirm": no} for no in (False, "true", 1, []))]
)
def test_without_a_confirmation_nothing_is_deleted_and_the_error_says_what_it_means(
    run, services, ada, confirm
):
    with pytest.raises(InvalidRequest, match=r"confirm .* true.* deleting a voice cannot be undone"):
        run("delete_voice", voice_name="Ada", **confirm)
    assert services.voices.get(name="Ada").voice_id == ada.voice_id


def test_a_voice_that_never_was_is_not_found(run, services, ada):
    with pytest.raises(VoiceNotFound, match='"Ada"'):
        run("delete_voice", voice_name="Adah", confirm=True)
    with pytest.raises(VoiceNotFound, match="00000000"):
        run("delete_voice", voice_id="00000000", confirm=True)
    assert len(services.voices.list()) == 1


def test_a_damaged_voice_can_be_deleted(run, ada, tmp_path):
    (path,) = voice_files(tmp_path)
    path.write_bytes(b"no voice")
    assert run("delete_voice", voice_name="Ada", confirm=True)["deleted"] is True
    assert voice_files(tmp_path) == []


@pytest.mark.parametrize("name", ["李雷", "مریم\u200cها", "👩‍🚀 Zoë", "שלום"])
def test_names_in_any_script(run, services, waveform, name):
    services.voices.put(waveform, name)
    assert run("delete_voice", voice_name=name, confirm=True)["voice_name"] == name
    assert services.voices.list() == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, ["voice_name is required"]),
        ({"voice_name": "Ada", "voice_id": "01234567"}, ["voice_name and voice_id exclude each other"]),
        ({"voice_id": "../../Ada"}, ["voice_id"]),
        (
            {"voice_name": "Ada", "confirm": 0, "force": True},
            ["confirm must be true, not 0", "force is not a field"],
        ),
    ],
)
def test_bad_fields_are_named_and_nothing_is_deleted(run, services, ada, fields, named):
    with pytest.raises(InvalidRequest) as refused:
        run("delete_voice", **{"confirm": True, **fields})
    assert all(words in refused.value.message for words in named)
    assert len(services.voices.list()) == 1
