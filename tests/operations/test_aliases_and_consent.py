"""Further names of a voice, and who agreed to its clone."""

import base64
from dataclasses import replace

import pytest

from errors import InvalidRequest, VoiceExists, VoiceNotFound
from tests.operations.conftest import run_operation
from tests.recordings import speech_like, wav_bytes
from voice_store import VoiceStore
from voice_store.live import Timing

CONSENT = {"by": "Anna Müller", "date": "2026-11-27", "statement": "I agree."}


def recording(seed=1):
    return base64.b64encode(wav_bytes(speech_like(6.0, 24_000, seed), 24_000)).decode()


def clone(services, name="Anna", seed=1, **fields):
    return run_operation(
        services,
        "clone_voice",
        voice_name=name,
        reference_audio=recording(seed),
        preview=False,
        **fields,
    )


def speaker(services, name):
    return run_operation(services, "tts", text="Hello.", voice_name=name)["voice"]["voice_id"]


def test_a_voice_is_found_by_its_aliases_however_they_are_spelled(services):
    voice_id = clone(services, aliases=["alloy", "Änne"])["voice_id"]
    for name in ("Anna", "alloy", "ALLOY", "änne", "A\u0308nne"):
        assert speaker(services, name) == voice_id
    (listed,) = run_operation(services, "list_voices")["voices"]
    assert listed["aliases"] == ["alloy", "Änne"]


def test_aliases_survive_another_worker_and_an_export(services, tmp_path):
    voice_id = clone(services, aliases=["alloy"], consent=CONSENT)["voice_id"]
    other = VoiceStore(tmp_path / "voice_embeddings", Timing(settle_s=0))
    assert other.metadata(name="alloy")["voice_id"] == voice_id
    assert other.metadata(name="alloy")["consent"] == CONSENT


def test_aliases_are_replaced_and_forgotten(services):
    clone(services, aliases=["alloy", "echo"])
    changed = run_operation(services, "update_voice", voice_name="echo", aliases=["nova"])
    assert changed["voice_info"]["aliases"] == ["nova"]
    with pytest.raises(VoiceNotFound):
        speaker(services, "alloy")
    run_operation(services, "update_voice", voice_name="Anna", gender="female")
    assert speaker(services, "nova")
    run_operation(services, "update_voice", voice_name="Anna", aliases=[])
    with pytest.raises(VoiceNotFound):
        speaker(services, "nova")


def test_a_name_goes_before_an_alias_and_a_warning_says_so(services):
    first = clone(services, "Nova")["voice_id"]
    second = clone(services, "Berta", seed=2, aliases=["nova"])
    assert speaker(services, "nova") == first
    assert any(f'"nova" means the voice "Nova" ({first})' in warning for warning in second["warnings"])


def test_of_two_voices_with_one_alias_one_has_it_and_a_warning_says_so(services):
    voices = [
        clone(services, "Anna", aliases=["nova"]),
        clone(services, "Berta", seed=2, aliases=["Nova"]),
    ]
    has_it = speaker(services, "nova")
    assert has_it in [voice["voice_id"] for voice in voices]
    (warning,) = [warning for warning in voices[1]["warnings"] if "Nova" in warning]
    whom = "this one" if has_it == voices[1]["voice_id"] else f"the voice {has_it}"  # in the same second
    assert f'"Anna" ({voices[0]["voice_id"]})' in warning
    assert f"it means {whom}" in warning


@pytest.mark.parametrize(
    ("aliases", "says"),
    [
        (["a", "A"], r"aliases holds the same name at \[0\] and \[1\]"),
        (["a/b"], "slash"),
        ([""], "shows nothing"),
        (["a"] * 17, "at most 16"),
    ],
)
def test_aliases_that_are_no_names_are_refused(services, aliases, says):
    with pytest.raises(InvalidRequest, match=says):
        clone(services, aliases=aliases)


def test_each_alias_that_is_no_name_is_named_with_its_place(services):
    with pytest.raises(InvalidRequest) as caught:
        clone(services, aliases=["", "fine", "a/b", "x" * 65])
    said = {problem.field: problem.reason for problem in caught.value.problems}
    assert said == {
        "aliases[0]": "shows nothing",
        "aliases[2]": "holds a slash",
        "aliases[3]": "is too long",
    }


def test_consent_is_kept_and_returned(services):
    clone(services, consent=CONSENT)
    voice = run_operation(services, "get_voice", voice_name="Anna")
    assert voice["voice"]["consent"] == CONSENT
    run_operation(services, "update_voice", voice_name="Anna", consent={"by": "B", "date": "2026-11-28"})
    voice = run_operation(services, "get_voice", voice_name="Anna")
    assert voice["voice"]["consent"] == {"by": "B", "date": "2026-11-28"}


@pytest.mark.parametrize("consent", [{}, {"by": "A"}, {"by": "A", "date": "x", "why": "y"}, "yes"])
def test_consent_that_says_too_little_is_refused(services, consent):
    with pytest.raises(InvalidRequest, match="consent"):
        clone(services, consent=consent)


def test_where_consent_is_required_no_clone_is_made_without_it(services):
    strict = replace(services, require_consent=True)
    with pytest.raises(InvalidRequest, match="consent is required on this endpoint"):
        clone(strict)
    assert run_operation(strict, "list_voices")["voices"] == []
    assert clone(strict, consent=CONSENT)["created"]


def test_an_alias_can_be_taken_as_a_name_when_asked_for(services):
    first = clone(services, "Nova", aliases=["narrator"])["voice_id"]
    for seed in (1, 2):  # the same recording, and another
        with pytest.raises(VoiceExists, match='is an alias of the voice "Nova"'):
            clone(services, "Narrator", seed=seed)
        taken = clone(services, "Narrator", seed=seed, overwrite=True)
        assert taken["voice_name"] == "Narrator"
        assert speaker(services, "narrator") == taken["voice_id"] != first
        assert speaker(services, "Nova") == first
        services.voices.delete(name="Narrator")
