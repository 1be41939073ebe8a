"""The ears: what they say of speech that people understand, and of what nobody does."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio.decode import decode_audio
from audio.waveform import Waveform
from benchmarks import ears, flite, hear
from tests.recordings import speech_like

SAMPLES = Path(__file__).parent / "speech_samples"
FERRY = "The ferry was late again, and nobody minded."
RATE_HZ = 24_000


def sample(name):
    return decode_audio((SAMPLES / f"{name}.flac").read_bytes())


def noise(duration_s=3.0):
    return Waveform(speech_like(duration_s, RATE_HZ, seed=1), RATE_HZ)


@pytest.fixture(scope="module")
def recogniser():
    return ears.Recogniser()


@pytest.mark.parametrize(
    ("said", "meant", "errors"),
    [
        ("the ferry was late", "the ferry was late", 0),
        ("the fairy was late", "the ferry was late", 1),
        ("ferry was so late", "the ferry was late", 2),
        ("", "the ferry was late", 4),
        ("the ferry", "", 2),
    ],
)
def test_word_errors_are_words_to_insert_delete_and_replace(said, meant, errors):
    assert ears.word_errors(said.split(), meant.split()) == errors


def test_every_test_sentence_is_one_of_its_kind_and_known_to_the_recogniser(recogniser):
    sentences = ears.sentences()
    assert len(set(sentences)) == 200
    assert all(recogniser.knows(sentence) for sentence in sentences)
    assert not recogniser.knows("The zzxq was late.")


def test_speech_is_written_down_whatever_was_heard_before(recogniser):
    recogniser.transcribe(noise())
    first = recogniser.transcribe(sample("slt-ferry"))
    assert ears.word_errors(ears.words_of(first), ears.words_of(FERRY)) <= 1
    recogniser.transcribe(sample("rms-ferry"))
    assert recogniser.transcribe(sample("slt-ferry")) == first


def test_a_sentence_is_told_from_49_others(recogniser):
    choices = ears.sentences(50)
    assert choices[recogniser.choose(sample("slt-ferry"), choices)] == FERRY
    assert choices[recogniser.choose(sample("rms-ferry"), choices)] == FERRY
    others = ears.sentences()[100:150]
    assert recogniser.choose(sample("rms-ferry"), others) is None
    silence = Waveform(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert recogniser.choose(silence, choices) is None
    assert recogniser.transcribe(Waveform(silence.samples[:0], RATE_HZ)) == ""
    with pytest.raises(ValueError, match="JSGF"):
        recogniser.choose(sample("slt-ferry"), ["zzxq"])
    assert choices[recogniser.choose(sample("slt-ferry"), choices)] == FERRY


def test_a_sentence_that_can_be_written_down_is_found_among_others(recogniser):
    """Spoken by the small model: the beams of dictation lose it among whole sentences."""
    text = "I forgot to water the plants on the balcony."
    assert ears.words_of(recogniser.transcribe(sample("small-balcony"))) == ears.words_of(text)
    others = random.Random(37).sample([other for other in ears.sentences() if other != text], 49)
    assert recogniser.choose(sample("small-balcony"), [text, *others]) == 0


def test_sentences_of_one_speaker_are_more_alike_than_those_of_two():
    ferry, bridge, other = map(ears.speaker_embedding, map(sample, ("slt-ferry", "slt-bridge", "rms-ferry")))
    assert np.linalg.norm(ferry) == pytest.approx(1, abs=1e-3)
    assert ferry @ bridge > 0.8
    assert ferry @ other < 0.7


def test_silence_is_measured_before_within_and_after():
    speech = sample("slt-ferry").samples
    pause = np.zeros(RATE_HZ // 2, np.float32)
    found = ears.silences(Waveform(np.concatenate([pause, speech, pause, speech, pause, pause]), RATE_HZ))
    alone = ears.silences(Waveform(speech, RATE_HZ))
    assert found.lead_s == pytest.approx(0.5 + alone.lead_s, abs=0.02)
    assert found.tail_s == pytest.approx(1.0 + alone.tail_s, abs=0.02)
    assert found.longest_pause_s == pytest.approx(0.5 + alone.lead_s + alone.tail_s, abs=0.03)
    assert ears.silences(Waveform(np.zeros(RATE_HZ, np.float32), RATE_HZ)).lead_s == 1.0
    assert ears.silences(Waveform(pause[:5], RATE_HZ)).lead_s < 0.01


@pytest.mark.parametrize("name", ["slt-ferry", "slt-bridge", "rms-ferry"])
def test_clicks_are_found_and_consonants_are_none(name):
    clean = sample(name)
    assert ears.clicks(clean) == []
    spoiled = clean.samples.copy()
    times_s = [0.0005, 0.6, 1.0, 1.5, clean.duration_s - 0.0005]
    for time_s in times_s:
        spoiled[round(time_s * RATE_HZ)] += 0.4 * np.abs(spoiled).max()
    assert ears.clicks(Waveform(spoiled, RATE_HZ)) == pytest.approx(times_s, abs=0.003)


def test_a_voice_is_nearest_to_its_own_recording_and_silence_to_none():
    assessor = hear.Assessor({"slt": sample("slt-bridge"), "rms": sample("rms-ferry")})
    spoken = hear.SpeechSample(FERRY, sample("slt-ferry"))
    own, other = (assessor.assess(spoken, voice, []) for voice in ("slt", "rms"))
    assert (own.nearest, other.nearest) == (True, False)
    assert own.alike > 0.8 > other.alike
    silent = hear.SpeechSample(FERRY, Waveform(np.zeros(2 * RATE_HZ, np.float32), RATE_HZ))
    assert (assessor.assess(silent, "slt", []).alike, assessor.assess(silent, "slt", []).nearest) == (
        0.0,
        False,
    )
    alone = hear.Assessor({"slt": sample("slt-bridge")})
    assert alone.assess(spoken, "slt", []).nearest is None  # there is nobody else
    with pytest.raises(RuntimeError, match="nobody speaks in the recording of mute"):
        hear.Assessor({"mute": silent.waveform})


def test_words_that_the_recogniser_does_not_know_are_wrong_words_and_no_closed_set():
    assessor = hear.Assessor({})
    for text, words in (("3 cafés", 2), ("Don’t", 1), ("", 0)):
        assessment = assessor.assess(hear.SpeechSample(text, sample("slt-ferry")), None, ears.sentences(3))
        assert (assessment.words, assessment.alike) == (words, None)
        assert assessment.chosen is (False if text == "Don’t" else None)


def test_a_checkpoint_speaks_and_is_heard(smoke_checkpoint, tmp_path, capsys):
    """Noise, in the built-in voice and in a cloned one."""
    result = tmp_path / "new" / "assessments.json"
    arguments = ["--checkpoint", str(smoke_checkpoint), "--voice", str(SAMPLES / "slt-ferry.flac")]
    hear.main([*arguments, "--sentences", "1", "--json", str(result)])
    builtin, cloned = json.loads(result.read_text())["rows"]
    assert (builtin["name"], cloned["name"]) == ("built-in voice", "cloned: slt-ferry")
    assert builtin["closed_set"] == cloned["closed_set"] == 0
    assert builtin["real_time_factor"] > 0
    assert builtin["alike"] is None
    assert cloned["alike"] < 0.7
    assert "cloned: slt-ferry" in capsys.readouterr().out


def test_a_folder_is_heard_and_noise_is_not_understood(tmp_path, capsys):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "ferry.txt").write_text(FERRY)
    buffer = io.BytesIO()
    soundfile.write(buffer, noise().samples, RATE_HZ, format="WAV")
    (tmp_path / "noise" / "ferry.wav").write_bytes(buffer.getvalue())
    result = tmp_path / "assessments.json"
    hear.main(["--audio", str(SAMPLES), str(tmp_path / "noise"), "--json", str(result)])
    content = json.loads(result.read_text())
    understood, not_understood = content["rows"]
    assert understood["sentences"] == len(list(SAMPLES.glob("*.flac")))
    assert understood["closed_set"] == 1
    assert understood["word_error_rate"] < 0.3
    assert 10 < understood["letters_per_s"] < 20
    assert not_understood["closed_set"] == 0
    assert not_understood["word_error_rate"] > 0.7
    assert {each["text"] for each in content["sentences"][str(SAMPLES)]} == {
        path.read_text().strip() for path in SAMPLES.glob("*.txt")
    }
    assert "100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to hear"),
        (["--audio", "FOLDER"], "no NAME.txt"),
        (["--audio", "/no/such"], "/no/such"),
        (["--audio", "FOLDER", "FOLDER"], "two of one name"),
        (["--audio", "FOLDER", "--sentences", "0"], "1 or more"),
        (["--audio", str(SAMPLES), "--only", "nosuch"], "no row is called nosuch"),
        (["--checkpoint", "/no/such"], "lacks ve.safetensors"),
        (["--checkpoint", "/no/such", "--script"], "--voice for its second speaker"),
    ],
)
def test_what_cannot_be_heard_is_said_in_a_line(tmp_path, capsys, arguments, says):
    with pytest.raises(SystemExit) as ended:
        hear.main([str(tmp_path) if argument == "FOLDER" else argument for argument in arguments])
    assert says in str(ended.value) + capsys.readouterr().err


def one_recording(folder: Path) -> Path:
    folder.mkdir()
    for file in SAMPLES.glob("slt-ferry.*"):
        shutil.copy(file, folder)
    return folder


def test_a_row_that_fails_takes_no_other_with_it(tmp_path, capsys, monkeypatch):
    one, other = one_recording(tmp_path / "one"), one_recording(tmp_path / "other")
    result = tmp_path / "assessments.json"
    assess = hear.Assessor.assess

    def assess_the_first_row(self, spoken, voice, others):
        if result.exists():
            raise RuntimeError("the recogniser ended")
        return assess(self, spoken, voice, others)

    monkeypatch.setattr(hear.Assessor, "assess", assess_the_first_row)
    with pytest.raises(SystemExit) as ended:
        hear.main(["--audio", str(one), str(other), "--json", str(result)])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert f"{other}: the recogniser ended" in captured.err
    assert "100.0%" in captured.out
    assert [row["name"] for row in json.loads(result.read_text())["rows"]] == [str(one)]


def test_only_the_rows_that_are_named_are_assessed(tmp_path):
    one, other = one_recording(tmp_path / "one"), one_recording(tmp_path / "other")
    result = tmp_path / "assessments.json"
    hear.main(["--audio", str(one), str(other), "--only", str(other), "--json", str(result)])
    assert [row["name"] for row in json.loads(result.read_text())["rows"]] == [str(other)]


def test_a_folder_is_read_whatever_its_files_are_called(tmp_path):
    audio = (SAMPLES / "slt-ferry.flac").read_bytes()
    for name in ("a", "a.b", "take[1]"):
        (tmp_path / f"{name}.flac").write_bytes(audio)
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "a.json").write_text("{}")
    assert [spoken.text for spoken in hear.recordings(tmp_path)] == ["a.b", "a", "take[1]"]


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_flite_speaks_in_the_voice_that_was_asked_for_or_not_at_all():
    assert flite.speak("Good morning.", "slt").duration_s > 0.5
    with pytest.raises(flite.FliteFailed, match="flite has no voice nosuch"):
        flite.speak("Good morning.", "nosuch")
