"""What a job says: markup, turns, pronunciations, times of words."""

from __future__ import annotations

import io

import numpy as np
import pysubs2
import pytest
import webvtt

from errors import InvalidRequest, TextTooLong, UnsupportedLanguage, VoiceNotFound
from operations.script import TURN_SEED_STEP
from speech.contract import ModelInfo
from speech.models.spec import MULTILINGUAL, TURBO
from tests.fakes import FAKE_REVISION, FakeSynthesizer, build_services
from tests.operations.conftest import run_operation

RATE_HZ = 24_000
DIALOGUE = [
    {"voice_name": "Ada", "text": "Where were you last night?", "seed": 11},
    {"voice_name": "Bo", "text": "At the harbour.", "pause_after_s": 1.25},
    {"voice_name": "Ada", "text": "All night?"},
    {"text": "She did not believe him.", "parameters": {"temperature": 0.3}},
]


@pytest.fixture
def voices(services, recording, other_recording):
    """Two stored voices: Ada and Bo."""
    for name, sound, more in (
        ("Ada", recording, {}),
        ("Bo", other_recording, {"default_parameters": {"exaggeration": 0.9}}),
    ):
        fields = {"voice_name": name, "reference_audio": sound, "preview": False, **more}
        run_operation(services, "clone_voice", **fields)
    return services


def speak(services, **fields):
    return run_operation(services, "tts", **fields)


def part_of(reply, segment):
    """The samples of a segment."""
    start, end = (round(segment[key] * RATE_HZ) for key in ("start", "end"))
    return reply["samples"][start:end]


# --- turns


def test_each_turn_sounds_as_the_job_that_says_it_alone(voices):
    reply = speak(voices, turns=DIALOGUE, seed=5)
    assert [segment["turn"] for segment in reply["segments"]] == [0, 1, 2, 3]
    assert [segment["voice"] for segment in reply["segments"]] == ["Ada", "Bo", "Ada", None]
    for index, (turn, segment) in enumerate(zip(DIALOGUE, reply["segments"], strict=True)):
        alone = speak(
            voices,
            text=turn["text"],
            seed=turn.get("seed", 5 + index * TURN_SEED_STEP),
            **({"voice_name": turn["voice_name"]} if "voice_name" in turn else {}),
            **turn.get("parameters", {}),
        )
        assert np.array_equal(part_of(reply, segment), alone["samples"])


def test_turns_are_one_call_of_the_model_with_each_voices_parameters(voices, synthesizer):
    speak(voices, turns=DIALOGUE, temperature=0.7)
    said = [utterance.text for utterance in synthesizer.calls[-4:]]
    assert said == [turn["text"] for turn in DIALOGUE]
    assert [each.params.temperature for each in synthesizer.calls[-4:]] == [0.7, 0.7, 0.7, 0.3]
    assert [each.params.exaggeration for each in synthesizer.calls[-4:]] == [None, 0.9, None, None]


def test_the_pause_after_a_turn_is_exact_at_any_speed(voices):
    for speed in (1.0, 2.0):
        reply = speak(voices, turns=DIALOGUE, seed=1, speed=speed)
        first, second, third, last = reply["segments"]
        assert third["start"] - second["end"] == pytest.approx(1.25, abs=1e-3)
        assert second["start"] - first["end"] == pytest.approx(0.5 / speed, abs=2e-3)
        assert last["end"] == pytest.approx(reply["duration"], abs=1e-3)


def test_all_unknown_voices_are_named_at_once(voices):
    turns = [
        {"voice_name": "Ada", "text": "One."},
        {"voice_name": "Nobody", "text": "Two."},
        {"voice_id": "0badf00d", "text": "Three."},
        {"text": "[voice:Noone]Four."},
    ]
    with pytest.raises(VoiceNotFound) as refused:
        speak(voices, turns=turns)
    fields = [problem.field for problem in refused.value.problems]
    assert fields == ["turns[1].voice_name", "turns[2].voice_id", "turns[3].text"]
    assert all(name in refused.value.message for name in ("Nobody", "0badf00d", "Noone"))


def test_faults_of_several_turns_come_together(services):
    turns = [{"text": "[pause:99s] One."}, {"text": "Two."}, {"text": "[rate:9]Three."}]
    with pytest.raises(InvalidRequest) as refused:
        speak(services, turns=turns)
    assert [problem.field for problem in refused.value.problems] == ["turns[0].text", "turns[2].text"]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "text is required; send the text to speak, or turns of a dialogue"),
        ({"text": "a", "turns": [{"text": "b"}]}, "text and turns exclude each other; send one of them"),
        ({"turns": []}, "turns is empty; send at least 1"),
        ({"turns": [{"voice_name": "Ada"}]}, "turns[0].text is required"),
        ({"turns": [{"text": "a", "sped": 2}]}, "turns[0].sped is not a field of"),
        ({"turns": [{"text": "a", "parameters": {"temperature": 9}}]}, "turns[0].parameters"),
        ({"turns": [{"text": "a"}] * 1001}, "turns has 1001 members; send at most 1000"),
        (
            {"turns": [{"text": "a", "voice_name": "b", "voice_id": "0badf00d"}]},
            "turns[0].voice_name and turns[0].voice_id exclude each other",
        ),
        ({"turns": [{"text": "…"}]}, "turns[0].text has nothing in it to say"),
        ({"text": "[pause:1s]"}, "text has nothing in it to say"),
    ],
)
def test_bad_turns_are_refused_by_name(services, fields, what):
    with pytest.raises(InvalidRequest) as refused:
        speak(services, **fields)
    assert what in str(refused.value)


def test_the_pauses_of_a_job_are_limited_in_all(services):
    turns = [{"text": "One.", "pause_after_s": 60}] * 61
    with pytest.raises(InvalidRequest, match="turns has pauses of 3660 s in all; ask for at most 3600 s"):
        speak(services, turns=turns)


def test_texts_of_turns_count_together(services):
    with pytest.raises(Exception, match="turns has 5004 characters and at most 5000"):
        speak(services, turns=[{"text": "word " * 417}, {"text": "word " * 583 + "more"}])


# --- markup


def test_pauses_are_exact_to_the_sample(services):
    reply = speak(services, text="[pause:300ms]One.[pause:1.5s]Two.[pause:0.25s]", seed=3)
    first, second = reply["segments"]
    assert first["start"] == 0.3
    assert not reply["samples"][: round(0.3 * RATE_HZ)].any()
    plain = speak(services, text="One.", seed=3)
    assert np.array_equal(part_of(reply, first), plain["samples"])
    pause = reply["samples"][round(first["end"] * RATE_HZ) : round(second["start"] * RATE_HZ)]
    assert len(pause) == 36_000
    assert not pause[480:].any()
    assert len(reply["samples"]) == round(second["end"] * RATE_HZ) + 6_000


def test_voice_and_rate_change_within_a_text(voices, synthesizer):
    reply = speak(voices, text="She said: [voice:Ada]Come in![voice:] [rate:2]And he went.", seed=1)
    assert [segment["voice"] for segment in reply["segments"]] == [None, "Ada", None]
    assert [segment["text"] for segment in reply["segments"]] == ["She said:", "Come in", "And he went"]
    usual = speak(voices, text="She said: [voice:Ada]Come in![voice:] And he went.", seed=1)
    lengths = [segment["end"] - segment["start"] for segment in reply["segments"]]
    others = [segment["end"] - segment["start"] for segment in usual["segments"]]
    assert lengths[:2] == pytest.approx(others[:2], abs=2e-3)
    assert lengths[2] == pytest.approx(others[2] / 2, abs=2e-3)


def test_ssml_is_spoken_with_aliases_and_readings(services, synthesizer):
    text = (
        '<speak>The <sub alias="World Wide Web">WWW</sub> has '
        '<say-as interpret-as="cardinal">12</say-as> doors.<break time="2s"/>Shut one.</speak>'
    )
    reply = speak(services, text=text, markup="ssml")
    first, second = reply["segments"]
    assert first["text"] == "The WWW has 12 doors"
    assert first["replaced"] == [
        {"text": "WWW", "spoken": "World Wide Web"},
        {"text": "12", "spoken": "twelve"},
    ]
    assert synthesizer.calls[-2].text == "The World Wide Web has twelve doors."
    assert second["start"] - first["end"] == pytest.approx(2.0, abs=1e-3)


def test_plain_markup_reads_tags_as_text(services, synthesizer):
    speak(services, text="Press [pause:1s] now.", markup="plain", normalize_text=False)
    assert synthesizer.calls[-1].text == "Press [pause:1s] now."


# --- what is spoken


def test_numbers_are_spoken_in_words_unless_switched_off(services, synthesizer):
    reply = speak(services, text="It has 12 doors. Shut one.")
    assert synthesizer.calls[-1].text == "It has twelve doors. Shut one."
    first, second = reply["segments"]
    assert first["text"] == "It has 12 doors"
    assert first["spoken"] == "It has twelve doors"
    assert first["replaced"] == [{"text": "12", "spoken": "twelve"}]
    assert "replaced" not in second
    speak(services, text="It has 12 doors.", normalize_text=False)
    assert synthesizer.calls[-1].text == "It has 12 doors."


def test_pronunciations_of_job_voice_and_store_are_spoken(voices, synthesizer):
    entry = {"text": "Nguyen", "say": "win"}
    run_operation(voices, "update_voice", voice_name="Ada", pronunciations=[entry])
    text = "Nguyen met Siobhan."
    reply = speak(
        voices, text=text, voice_name="Ada", pronunciations=[{"text": "siobhan", "say": "shi vawn"}]
    )
    assert synthesizer.calls[-1].text == "win met shi vawn."
    assert reply["segments"][0]["text"] == "Nguyen met Siobhan"
    speak(voices, text=text, voice_name="Bo")
    assert synthesizer.calls[-1].text == text


# --- times


def test_words_have_times_in_order_within_their_segments(voices):
    reply = speak(voices, turns=DIALOGUE, timestamps="words", seed=1)
    assert reply["timing"] == "estimated"
    words = reply["words"]
    spoken = " ".join(segment["text"] for segment in reply["segments"])
    assert " ".join(word["text"] for word in words) == spoken
    for word in words:
        segment = reply["segments"][word["segment"]]
        assert segment["start"] <= word["start"] < word["end"] <= segment["end"] + 1e-3
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)
    assert "subtitles" not in reply


def test_subtitles_name_the_speakers_and_can_be_read(voices):
    srt = speak(voices, turns=DIALOGUE, subtitles="srt")["subtitles"]
    events = list(pysubs2.SSAFile.from_string(srt))
    assert events[0].plaintext.startswith("Ada: Where")
    assert "Bo: At the harbour" in [event.plaintext for event in events]
    vtt = speak(voices, turns=DIALOGUE, subtitles="vtt", seed=1)
    captions = list(webvtt.from_buffer(io.StringIO(vtt["subtitles"])))
    assert [caption.voice for caption in captions] == ["Ada", "Bo", "Ada", None]
    for caption, segment in zip(captions, vtt["segments"], strict=True):
        assert abs(caption.start_in_seconds - segment["start"]) <= 1  # of whole seconds
    assert "words" not in vtt


def test_turns_of_one_voice_have_cues_of_their_own(services):
    turns = [{"text": "Is it late?"}, {"text": "It is nine."}]
    srt = speak(services, turns=turns, subtitles="srt")["subtitles"]
    assert [event.plaintext for event in pysubs2.SSAFile.from_string(srt)] == ["Is it late?", "It is nine"]


def test_one_speaker_is_not_named(voices):
    srt = speak(voices, text="It is late.", voice_name="Ada", subtitles="srt")["subtitles"]
    assert "Ada" not in srt


def test_a_preview_is_read_as_a_job_is(services, synthesizer, recording):
    entry = {"text": "Nguyen", "say": "win"}
    fields = {"reference_audio": recording, "preview_text": "Nguyen has 12 boats."}
    run_operation(services, "clone_voice", voice_name="Ada", pronunciations=[entry], **fields)
    assert synthesizer.calls[-1].text == "win has twelve boats."


def test_numbers_are_read_by_the_region_that_is_sent(tmp_path):
    services = build_services(tmp_path, FakeSynthesizer(info=ModelInfo(MULTILINGUAL, FAKE_REVISION)))
    spoken = {}
    for language in ("pt", "pt-BR", "pt-PT"):
        reply = speak(services, text="Tem 16 portas.", language=language)
        spoken[language] = reply["segments"][0]["spoken"]
        assert reply["segments"][0]["language"] == "pt"
    assert spoken == {
        "pt": "Tem dezesseis portas",
        "pt-BR": "Tem dezesseis portas",
        "pt-PT": "Tem dezasseis portas",
    }


# --- event tags, and what replacements bring in


def test_a_tag_that_a_replacement_brings_in_is_left_out_and_the_receipt_stays_whole(services, synthesizer):
    entry = {"text": "Bob", "say": "[laugh] robert"}
    fields = {"text": "Hello Bob and goodbye Eve, see you.", "pronunciations": [entry]}
    reply = speak(services, **fields, timestamps="words")
    assert synthesizer.calls[-1].text == "Hello robert and goodbye Eve, see you."
    assert reply["segments"][0]["text"] == "Hello Bob and goodbye Eve, see you"
    assert reply["segments"][0]["replaced"] == [{"text": "Bob", "spoken": "robert"}]
    assert reply["words"][-1]["text"] == "you"
    assert "left out [laugh]" in " ".join(reply["warnings"])
    with pytest.raises(
        InvalidRequest, match=r"event tags that the chatterbox model does not know: \[laugh\]"
    ):
        speak(services, **fields, strict=True)


def test_what_becomes_a_tag_when_another_is_left_out_is_a_word(services, synthesizer):
    reply = speak(services, text="He said a[la[laugh]ugh] twice today.", timestamps="words")
    assert synthesizer.calls[-1].text.split() == ["He", "said", "a", "laugh", "twice", "today."]
    assert reply["words"][-1]["text"] == "today"


def test_entries_do_not_change_tags_that_the_model_knows(tmp_path):
    synthesizer = FakeSynthesizer(info=ModelInfo(TURBO, FAKE_REVISION))
    services = build_services(tmp_path, synthesizer)
    entry = {"text": "laugh", "say": "laff"}
    speak(services, text="Well [laugh] that was a laugh.", pronunciations=[entry])
    assert synthesizer.calls[-1].text == "Well [laugh] that was a laff."


def test_pauses_of_passages_that_nothing_is_left_of_stay(services):
    first = speak(services, text="[laugh][pause:5s]Hello there.", seed=1)
    assert first["segments"][0]["start"] == 5.0
    turns = [{"text": "[laugh]", "pause_after_s": 3}, {"text": "Hello there."}, {"text": "[sigh]"}]
    reply = speak(services, turns=turns, seed=1)
    (segment,) = reply["segments"]
    assert segment["start"] == 3.0
    assert reply["duration"] == segment["end"], "no pause for a turn that is left out"


def test_a_text_that_entries_make_very_long_is_refused(services):
    entry = {"text": "e", "say": "x" * 200, "whole_word": False}
    with pytest.raises(TextTooLong, match="text has more than 20000 characters as it is spoken"):
        speak(services, text="e " * 2000, pronunciations=[entry])


def test_what_is_replaced_over_the_end_of_a_chunk_is_reported_once(services):
    alias = "a long name that goes on and on. " * 14
    text = f'<speak>We say <sub alias="{alias}">W3C</sub> now.</speak>'
    reply = speak(services, text=text, markup="ssml", timestamps="words")
    assert len(reply["segments"]) > 1
    written = " ".join(filter(None, (segment["text"] for segment in reply["segments"])))
    assert written == "We say W3C now"
    assert [word["text"] for word in reply["words"]] == ["We", "say", "W3C", "now"]


# --- what has no effect, and where a fault is


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": "One.", "language": "fr"}, "language"),
        ({"text": "One. [lang:fr]Oui."}, "text"),
        ({"turns": [{"text": "One."}, {"text": "Oui.", "language": "fr"}]}, "turns[1].language"),
    ],
)
def test_a_language_that_nobody_speaks_is_named_where_it_was_sent(services, fields, field):
    with pytest.raises(UnsupportedLanguage) as refused:
        speak(services, **fields)
    assert refused.value.field == field
    assert "'fr' is not spoken by this worker" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"text": "One. [rate:4]Two.", "speed": 4}, "a speed of 4 and a rate of 4 are spoken at 4"),
        ({"text": "<speak>One.</speak>"}, "text looks like SSML and is read as text"),
        ({"text": "One.", "short_text_context": True}, "short_text_context has no effect on the chatterbox"),
        ({"text": "One.", "short_text_context": True, "mode": "streaming"}, "no effect in mode 'streaming'"),
    ],
)
def test_what_has_no_effect_is_said(services, fields, warning):
    assert any(warning in each for each in speak(services, **fields)["warnings"])
