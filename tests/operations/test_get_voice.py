import numpy as np
import pytest

from audio.waveform import Waveform
from errors import InvalidRequest, StoreCorrupt, VoiceNotFound
from tests.operations.conftest import run_operation, start_operation
from tests.recordings import speech_like


@pytest.fixture
def ada(services, waveform):
    details = {
        "description": "calm",
        "gender": "female",
        "tags": ["news"],
        "default_parameters": {"top_k": 9},
    }
    return services.voices.put(waveform, "Ada", **details).voice


@pytest.mark.parametrize("named", ["name", "id"])
def test_a_voice_is_told_as_in_the_list(run, ada, named):
    reply = run("get_voice", **({"voice_name": "ada"} if named == "name" else {"voice_id": ada.voice_id}))
    (listed,) = run("list_voices")["voices"]
    assert reply == {"voice": {**listed, "pronunciations": []}, "warnings": []}
    assert listed["tags"] == ["news"]
    assert listed["default_parameters"] == {"top_k": 9}


def test_the_recording_comes_back_as_it_is_stored(services, ada, waveform):
    result = start_operation(services, "get_voice", voice_name="Ada", include_audio=True)
    np.testing.assert_array_equal(result.recording.samples, waveform.samples)
    assert result.recording.sample_rate_hz == 24_000
    assert result.facts["duration"] == 3.0
    assert result.facts["voice"]["speaker_name"] == "Ada"
    assert result.facts["warnings"] == []


def test_a_recording_beyond_full_scale_is_turned_down_and_not_clipped(services):
    loud = Waveform(6.0 * speech_like(3.0, 24_000, 5), 24_000)
    peak = np.abs(loud.samples).max()
    assert peak > 1
    services.voices.put(loud, "Loud")
    result = start_operation(services, "get_voice", voice_name="Loud", include_audio=True)
    np.testing.assert_allclose(result.recording.samples * peak, loud.samples, rtol=0, atol=peak * 2**-22)
    (warning,) = result.facts["warnings"]
    assert f"{20 * np.log10(peak):.1f} dB" in warning


def test_of_a_damaged_voice_everything_is_told_but_its_recording(run, ada, tmp_path):
    (path,) = (tmp_path / "voice_embeddings" / "embeddings").glob("*.pkl.gz")
    path.write_bytes(path.read_bytes()[:-1000])
    assert run("get_voice", voice_name="Ada")["voice"]["description"] == "calm"
    with pytest.raises(StoreCorrupt, match=ada.voice_id):
        run("get_voice", voice_name="Ada", include_audio=True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "voice_name is required"),
        ({"voice_name": None, "voice_id": None}, "voice_id"),
        ({"voice_name": "Ada", "voice_id": "01234567"}, "voice_name and voice_id exclude each other"),
        ({"voice_name": ""}, "voice_name must be"),
        ({"voice_name": 3}, "voice_name must be"),
        ({"voice_id": "../../etc/passwd"}, "voice_id"),
        ({"voice_name": "Ada", "include_audio": 1}, "include_audio must be true or false"),
        ({"voice_name": "Ada", "format": "wav"}, "format is not a field of get_voice"),
    ],
)
def test_a_bad_field_is_named(run, ada, fields, named):
    with pytest.raises(InvalidRequest, match=named):
        run("get_voice", **fields)


def test_an_unknown_voice_is_answered_with_the_nearest_names(run, ada):
    with pytest.raises(VoiceNotFound, match='"Ada"'):
        run("get_voice", voice_name="Adah")
    with pytest.raises(VoiceNotFound, match="00000000"):
        run("get_voice", voice_id="00000000", include_audio=True)


@pytest.mark.parametrize("name", ["李雷", "مریم\u200cها", "👩‍🚀 Zoë", "שלום"])
def test_names_in_any_script(services, waveform, name):
    services.voices.put(waveform, name)
    reply = run_operation(services, "get_voice", voice_name=name)
    assert reply["voice"]["speaker_name"] == name
