"""The preview that is kept with a voice."""

import io

import numpy as np
import pytest
import soundfile

from errors import InvalidRequest, OutOfMemory, StoreUnavailable
from tests.operations.conftest import run_operation, start_operation


def clone(services, recording, **fields):
    fields = {"voice_name": "Ada", "reference_audio": recording, "keep_preview": True, **fields}
    return start_operation(services, "clone_voice", **fields)


def kept(services, **fields):
    return start_operation(services, "get_voice", **{"voice_name": "Ada", "include_preview": True, **fields})


def test_the_preview_is_kept_and_returned_as_flac(services, recording):
    made = clone(services, recording)
    assert made.facts["preview_kept"] is True
    found = kept(services)
    assert found.facts["warnings"] == []
    samples, rate_hz = soundfile.read(io.BytesIO(found.kept_preview), dtype="float32")
    assert rate_hz == 24_000
    np.testing.assert_allclose(samples, made.preview.samples, atol=2**-15)
    assert start_operation(services, "get_voice", voice_name="Ada").kept_preview is None


def test_a_preview_is_kept_without_being_returned(services, recording):
    assert clone(services, recording, preview=False).preview is None
    assert kept(services).kept_preview.startswith(b"fLaC")


def test_without_keep_preview_none_is_kept(services, recording):
    made = clone(services, recording, keep_preview=False)
    assert made.preview is not None
    assert "preview_kept" not in made.facts
    found = kept(services)
    assert found.kept_preview is None
    assert found.facts["warnings"] == ["no preview of the voice was kept: clone it with keep_preview"]


def test_the_recording_and_the_preview_come_together(services, recording):
    clone(services, recording)
    both = kept(services, include_audio=True)
    assert both.recording.duration_s == both.facts["duration"]
    assert both.kept_preview.startswith(b"fLaC")


def test_another_name_keeps_the_preview_and_deleting_the_voice_does_not(services, recording):
    clone(services, recording)
    before = kept(services).kept_preview
    run_operation(services, "update_voice", voice_name="Ada", new_voice_name="Countess")
    assert kept(services, voice_name="Countess").kept_preview == before
    run_operation(services, "delete_voice", voice_name="Countess", confirm=True)
    clone(services, recording, keep_preview=False, preview=False)
    assert kept(services).kept_preview is None


def test_only_overwrite_replaces_a_preview(services, recording, other_recording):
    clone(services, recording)
    first = kept(services).kept_preview
    assert clone(services, recording).facts["warnings"] == []
    again = clone(services, recording, preview_text="Something else.").facts
    assert again["warnings"] == ["another preview of the voice was kept already: set overwrite to replace it"]
    assert again["preview_kept"] is True
    assert kept(services).kept_preview == first
    clone(services, recording, preview_text="Something else.", overwrite=True)
    second = kept(services).kept_preview
    assert second != first
    clone(services, other_recording, overwrite=True)
    assert kept(services).kept_preview not in (first, second)
    clone(services, recording, overwrite=True, keep_preview=False)
    assert kept(services).kept_preview is None


@pytest.mark.parametrize("refusal", [False, StoreUnavailable("the volume is full")])
def test_a_voice_whose_preview_cannot_be_kept_is_saved(services, monkeypatch, recording, refusal):
    def put_preview(voice_id, flac):
        if isinstance(refusal, Exception):
            raise refusal
        return refusal

    monkeypatch.setattr(services.voices, "put_preview", put_preview)
    made = clone(services, recording)
    assert made.facts["saved_to_library"] is True
    assert made.facts["preview_kept"] is False
    assert made.preview is not None
    (warning,) = made.facts["warnings"]
    assert "its preview cannot be kept" in warning
    assert services.voices.get(name="Ada").voice_id == made.facts["voice_id"]


def test_an_older_preview_that_stays_because_the_volume_is_full_is_told_of(services, monkeypatch, recording):
    clone(services, recording)
    older = kept(services).kept_preview
    monkeypatch.setattr(services.voices, "put_preview", lambda voice_id, flac: False)
    facts = clone(services, recording, overwrite=True, preview_text="Something else.").facts
    assert facts["preview_kept"] is True
    (warning,) = facts["warnings"]
    assert warning.endswith("an older preview of the voice stays and is still served")
    assert kept(services).kept_preview == older
    assert clone(services, recording, overwrite=True).facts["warnings"] == []  # it is the same one


def test_a_preview_that_fails_is_not_kept(services, synthesizer, recording):
    synthesizer.failure = OutOfMemory("the GPU is full")
    facts = clone(services, recording).facts
    assert (facts["saved_to_library"], facts["preview_kept"]) == (True, False)
    assert len(facts["warnings"]) == 1
    synthesizer.failure = None
    clone(services, recording)
    synthesizer.failure = OutOfMemory("the GPU is full")
    facts = clone(services, recording, overwrite=True).facts
    assert facts["preview_kept"] is True
    assert facts["warnings"][1:] == ["an older preview of the voice stays and is still served"]


def test_a_voice_that_is_not_stored_has_no_place_for_a_preview(services, recording):
    with pytest.raises(InvalidRequest, match="keep_preview needs a voice that is stored; leave"):
        clone(services, recording, save_to_library=False)
