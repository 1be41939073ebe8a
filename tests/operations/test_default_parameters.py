"""Parameters that are kept with a voice, for the jobs that do not send them."""

import json

import pytest

from audio.waveform import Waveform
from tests.fakes import build_services
from tests.operations.conftest import run_operation
from tests.operations.test_tts import MODEL_PARAMETERS, OTHER_PARAMETERS, speak
from tests.recordings import speech_like

DEFAULTS = {"exaggeration": 1.5, "cfg_weight": 0.0, "temperature": 0.0, "top_p": 0.9, "top_k": 40}


@pytest.fixture
def described(services):
    """A voice that is to be spoken with DEFAULTS."""
    waveform = Waveform(speech_like(3.0, 24_000, 3), 24_000)
    return services.voices.put(waveform, "Ada", default_parameters=DEFAULTS).voice


def params_of(call):
    return {name: getattr(call.params, name) for name in MODEL_PARAMETERS}


def test_a_stored_voice_is_spoken_with_its_default_parameters(services, synthesizer, described):
    for voice in ({"voice_name": "Ada"}, {"voice_id": described.voice_id}):
        reply = speak(services, **voice)
        assert params_of(synthesizer.calls[-1]) == {"min_p": None, "repetition_penalty": None} | DEFAULTS
        assert reply["parameters"]["temperature"] == 0
        assert reply["parameters"]["min_p"] == 0.05  # the model's own
        assert reply["warnings"] == ["top_k has no effect on the chatterbox model"]


def test_what_the_job_sends_goes_before_the_voices_defaults_and_null_is_not_sent(
    services, synthesizer, described
):
    reply = speak(services, voice_name="Ada", temperature=0.7, cfg_weight=None, top_k=0)
    assert params_of(synthesizer.calls[-1]) == (
        {"min_p": None, "repetition_penalty": None} | DEFAULTS | {"temperature": 0.7, "top_k": 0}
    )
    assert reply["parameters"]["temperature"] == 0.7
    assert reply["parameters"]["cfg_weight"] == 0


def test_the_defaults_of_one_voice_do_not_reach_another(services, synthesizer, described):
    services.voices.put(Waveform(speech_like(3.0, 24_000, 4), 24_000), "Bob")
    for voice in ({"voice_name": "Bob"}, {}):
        speak(services, voice_name="Ada")
        assert speak(services, **voice)["parameters"] == MODEL_PARAMETERS | OTHER_PARAMETERS


def test_changed_defaults_count_from_the_next_job_on(services, described):
    run_operation(services, "update_voice", voice_name="Ada", default_parameters={"top_p": 0.5})
    assert speak(services, voice_name="Ada")["parameters"] == MODEL_PARAMETERS | OTHER_PARAMETERS | {
        "top_p": 0.5
    }


def test_stored_defaults_that_mean_nothing_here_are_ignored_with_a_warning(services, synthesizer):
    waveform = Waveform(speech_like(3.0, 24_000, 3), 24_000)
    stored = {"temperature": 9.0, "pitch": 2, "top_k": 2.5, "repetition_penalty": 1, "\u200b" * 200: 1}
    services.voices.put(waveform, "Ada", default_parameters=stored)
    reply = speak(services, voice_name="Ada")
    assert reply["parameters"]["temperature"] == 0.8
    assert reply["parameters"]["repetition_penalty"] == 1
    assert len(reply["warnings"]) == 4
    for words in ("default_parameters.temperature must be a number from 0 to 5, not 9.0", "pitch", "top_k"):
        assert any(words in warning for warning in reply["warnings"])
    assert all(warning.isprintable() and len(warning) < 300 for warning in reply["warnings"])


def test_defaults_that_another_program_wrote_into_the_catalog_are_used_where_they_can_be(services, tmp_path):
    services.voices.put(Waveform(speech_like(3.0, 24_000, 3), 24_000), "Ada")
    path = tmp_path / "voice_embeddings" / "voice_catalog.json"
    catalog = json.loads(path.read_text())
    for entry in catalog.values():
        entry["default_parameters"] = {"cfg_weight": 1, "temperature": "hot", "top_p": [0.5], "min_p": -1}
    path.write_text(json.dumps(catalog))
    reply = speak(build_services(tmp_path), voice_name="Ada")
    assert reply["parameters"] == MODEL_PARAMETERS | OTHER_PARAMETERS | {"cfg_weight": 1}
    (warning,) = reply["warnings"]
    assert "default_parameters.min_p" in warning
