import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from cancel import CancelToken
from errors import Cancelled, InvalidRequest, OutOfMemory, ReferenceInvalid, ReferenceTooShort, VoiceExists
from operations.clone_voice import MAX_PREVIEW_CHARS
from speech.contract import ModelInfo
from speech.models.spec import TURBO
from tests.fakes import FAKE_REVISION, WATERMARK, FakeSynthesizer, build_services
from tests.operations.conftest import run_operation, start_operation
from tests.recordings import music, silence, speech_like, tone, wav_bytes


def clone(services, recording, **fields):
    return run_operation(
        services, "clone_voice", **{"voice_name": "Ada", "reference_audio": recording, **fields}
    )


def preview(services, recording, **fields):
    """The samples of the preview, None when there is none."""
    fields = {"voice_name": "Ada", "reference_audio": recording, **fields}
    result = start_operation(services, "clone_voice", **fields)
    return None if result.preview is None else result.preview.samples


def encoded(samples):
    return base64.b64encode(wav_bytes(samples, 24_000)).decode()


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_cloned_voice_is_stored_with_what_was_said_of_it(services, recording):
    reply = clone(services, recording, voice_description="Reads the news.", gender="female", language="en-GB")
    assert reply["voice_name"] == "Ada"
    assert reply["created"] is True
    assert reply["saved_to_library"] is True
    assert reply["voice_info"]["speaker_name"] == "Ada"
    assert reply["voice_info"]["gender"] == "female"
    assert reply["voice_info"]["language"] == "en-GB"
    assert reply["voice_info"]["description"] == "Reads the news."
    assert services.voices.get(voice_id=reply["voice_id"]).name == "Ada"


def test_the_preview_speaks_in_the_new_voice(services, synthesizer, recording):
    samples = preview(services, recording, preview_text="Good evening.")
    assert len(samples) > 0
    assert samples.mean() == pytest.approx(WATERMARK, abs=WATERMARK)
    (call,) = synthesizer.calls
    assert call.text == "Good evening."
    stored = services.voices.get(name="Ada")
    assert call.voice.waveform_digest == stored.digest
    assert stored.sidecar.read(synthesizer.conditionals_key) is not None


def test_without_a_preview_nothing_is_spoken(services, synthesizer, recording):
    assert preview(services, recording, preview=False) is None
    assert synthesizer.calls == []


def test_a_voice_that_is_not_to_be_saved_leaves_nothing_behind(services, tmp_path, recording):
    reply = clone(services, recording, save_to_library=False)
    assert reply["saved_to_library"] is False
    assert reply["created"] is False
    assert reply["voice_id"] is None
    assert reply["voice_info"] is None
    assert preview(services, recording, save_to_library=False) is not None
    assert files_below(tmp_path) == []


def test_quality_is_measured_and_finite(services, recording):
    quality = clone(services, recording, preview=False)["quality"]
    assert quality["duration_s"] == pytest.approx(12, abs=0.5)
    assert quality["speech_s"] > 5
    assert quality["warnings"] == []
    json.dumps(quality, allow_nan=False)


def test_little_speech_is_stored_with_a_warning(services):
    reply = clone(services, encoded(speech_like(4.5, 24_000, 1)), preview=False)
    assert reply["saved_to_library"]
    assert reply["quality"]["warnings"]
    assert reply["quality"]["warnings"][0] in reply["warnings"]


def test_music_is_stored_with_a_warning(services):
    reply = clone(services, encoded(music(8.0)), preview=False)
    assert [warning for warning in reply["warnings"] if "holds music or other sounds, not speech" in warning]
    assert reply["saved_to_library"]


def test_a_voice_too_short_for_a_model_of_the_worker_is_stored_with_a_warning(tmp_path):
    turbo = FakeSynthesizer(info=ModelInfo(TURBO, FAKE_REVISION))
    services = build_services(tmp_path, [FakeSynthesizer(), turbo])
    reply = clone(services, encoded(speech_like(4.5, 24_000, 1)), preview=False)
    assert reply["saved_to_library"]
    assert reply["warnings"][-1] == (
        "the recording is 4.5 s long, and models that need more than 5 s refuse the voice: turbo"
    )
    longer = clone(services, encoded(speech_like(5.5, 24_000, 1)), voice_name="Bob", preview=False)
    assert not [warning for warning in longer["warnings"] if "turbo" in warning]


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (speech_like(1.2, 24_000, 1), ReferenceTooShort),
        (silence(6.0), ReferenceInvalid),
        (tone(6.0), ReferenceInvalid),
    ],
)
def test_what_is_no_voice_is_not_stored(services, tmp_path, samples, error):
    with pytest.raises(error, match="reference_audio"):
        clone(services, encoded(samples))
    assert files_below(tmp_path) == []


def test_the_same_recording_and_name_again_is_the_same_voice(services, recording):
    first = clone(services, recording, preview=False)
    again = clone(services, recording, preview=False)
    assert again["voice_id"] == first["voice_id"]
    assert again["created"] is False
    assert again["saved_to_library"] is True


def test_a_taken_name_is_refused_unless_it_is_to_be_replaced(services, recording, other_recording):
    first = clone(services, recording, preview=False)
    with pytest.raises(VoiceExists):
        clone(services, other_recording, preview=False)
    assert services.voices.get(name="Ada").voice_id == first["voice_id"]
    second = clone(services, other_recording, preview=False, overwrite=True)
    assert second["created"] is True
    assert services.voices.get(name="Ada").voice_id == second["voice_id"] != first["voice_id"]


def test_longer_recordings_are_cut_and_leading_silence_goes_first(services):
    late = np.concatenate([silence(4.0), speech_like(12.0, 24_000, 1)])
    clone(services, encoded(late), preview=False, max_reference_duration_sec=6)
    stored = services.voices.get(name="Ada").waveform
    assert stored.duration_s == pytest.approx(6.0, abs=0.01)
    assert np.abs(stored.samples[:24_000]).max() > 0.05


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (OutOfMemory("the GPU is full; try again"), "the GPU is full"),
        (RuntimeError("/secret/path"), "internal"),
    ],
)
def test_a_failing_preview_does_not_unsay_the_saved_voice(services, synthesizer, recording, failure, said):
    synthesizer.failure = failure
    reply = clone(services, recording)
    assert reply["saved_to_library"] is True
    assert preview(services, recording) is None
    (warning,) = reply["warnings"]
    assert "the voice is saved" in warning
    assert said in warning
    assert "secret" not in warning
    assert services.voices.get(name="Ada").voice_id == reply["voice_id"]


def test_a_failing_preview_of_an_unsaved_voice_is_an_error(services, synthesizer, recording):
    synthesizer.failure = OutOfMemory("the GPU is full")
    with pytest.raises(OutOfMemory):
        clone(services, recording, save_to_library=False)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"voice_name": ""}, "voice_name"),
        ({"voice_name": " \u200b"}, "voice_name"),
        ({"voice_name": "x" * 65}, "voice_name"),
        ({"voice_name": "a/b"}, "voice_name"),
        ({"voice_name": "a\nb"}, "voice_name"),
        ({"voice_name": 7}, "voice_name"),
        ({"voice_name": None}, "voice_name"),
        ({"reference_audio": None}, "reference_audio"),
        ({"reference_audio": None, "reference_audio_url": 5}, "reference_audio_url"),
        ({"reference_audio_url": "https://x.example/a.wav"}, "reference_audio_url"),
        ({"voice_description": "x" * 1001}, "voice_description"),
        ({"gender": " "}, "gender"),
        ({"gender": "x" * 33}, "gender"),
        ({"language": "e\u202en"}, "language"),
        ({"save_to_library": "yes"}, "save_to_library"),
        ({"overwrite": 1}, "overwrite"),
        ({"preview": "false"}, "preview"),
        ({"preview_text": " "}, "preview_text"),
        ({"preview_text": "x" * (MAX_PREVIEW_CHARS + 1)}, "preview_text"),
        ({"max_reference_duration_sec": 4.9}, "max_reference_duration_sec"),
        ({"max_reference_duration_sec": 61}, "max_reference_duration_sec"),
        ({"text": "hello"}, "text"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(services, tmp_path, recording, fields, named):
    with pytest.raises(InvalidRequest) as caught:
        clone(services, recording, **fields)
    assert named in caught.value.message
    assert files_below(tmp_path) == []


def test_names_in_any_script_are_kept(services, recording):
    for name in ("José 2", "李雷", "مریم\u200cها", "👩‍🚀 Zoë"):
        assert clone(services, recording, voice_name=name, preview=False)["voice_name"] == name


def test_tags_and_default_parameters_are_kept_and_the_preview_uses_them(services, synthesizer, recording):
    given = {
        "tags": ["News", "有声书"],
        "default_parameters": {"temperature": 0.2, "top_k": 40, "top_p": None},
    }
    reply = clone(services, recording, **given)
    assert reply["warnings"] == ["top_k has no effect on the chatterbox model"]
    for voice in (reply["voice_info"], services.voices.metadata(name="Ada")):
        assert voice["tags"] == ["News", "有声书"]
        assert voice["default_parameters"] == {"temperature": 0.2, "top_k": 40}
    (call,) = synthesizer.calls
    assert (call.params.temperature, call.params.top_k) == (0.2, 40)
    unsaved = preview(services, recording, **given, save_to_library=False)
    np.testing.assert_array_equal(unsaved, preview(services, recording, **given))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tags": ["a", "A"]}, r"tags .*\[0\] and \[1\]"),
        ({"tags": ["a", 1]}, r"tags\[1\] is 1"),
        ({"default_parameters": {"temperature": 5.5}}, "default_parameters.temperature must be"),
        ({"default_parameters": {"pitch": 1}}, "default_parameters.pitch is not a field"),
    ],
)
def test_bad_tags_and_parameters_are_named_and_nothing_is_stored(
    services, tmp_path, recording, fields, named
):
    with pytest.raises(InvalidRequest, match=named):
        clone(services, recording, **fields)
    assert files_below(tmp_path) == []


def test_other_details_for_a_voice_that_is_there_are_kept_only_with_overwrite(services, recording):
    clone(services, recording, preview=False, tags=["news"], gender="female")
    other = {"tags": ["tales"], "default_parameters": {"min_p": 0.1}, "gender": "", "language": "en"}
    again = clone(services, recording, preview=False, **other)
    assert again["warnings"] == [
        "the voice was there already, with another gender, language, tags, default_parameters: "
        "set overwrite to change that"
    ]
    assert again["voice_info"]["tags"] == ["news"]
    replaced = clone(services, recording, preview=False, overwrite=True, **other)
    assert replaced["voice_info"]["tags"] == ["tales"]
    assert replaced["voice_info"]["gender"] == "unknown"
    assert replaced["warnings"] == []


def test_the_same_job_again_is_no_reason_to_warn(services, recording):
    job = {"voice_description": " Line one\nand two ", "tags": ["e\u0301te\u0301"], "gender": "female "}
    assert clone(services, recording, preview=False, **job)["warnings"] == []
    assert clone(services, recording, preview=False, **job)["warnings"] == []


def test_a_name_lost_to_another_worker_at_the_same_moment_is_said(services, monkeypatch, recording):
    put = services.voices.put
    monkeypatch.setattr(
        services.voices, "put", lambda *args, **kwargs: replace(put(*args, **kwargs), has_name=False)
    )
    reply = clone(services, recording, preview=False)
    assert reply["saved_to_library"] is True
    (warning,) = reply["warnings"]
    assert f"use voice_id {reply['voice_id']}" in warning


def test_without_a_volume_the_reply_says_that_the_voice_ends_with_the_worker(
    tmp_path, recording, synthesizer
):
    services = build_services(tmp_path, synthesizer, store_is_shared=False)
    assert "no network volume" in clone(services, recording, preview=False)["warnings"][-1]
    assert clone(services, recording, preview=False, save_to_library=False)["warnings"] == []
    changed = run_operation(services, "update_voice", voice_name="Ada", gender="female")
    assert "no network volume" in changed["warnings"][-1]


def test_a_cancelled_job_stores_nothing(services, tmp_path, recording):
    cancel = CancelToken()
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        clone(services, recording, cancel=cancel)
    assert files_below(tmp_path) == []
