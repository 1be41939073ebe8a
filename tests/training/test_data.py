"""What the small model is trained on: texts and speech."""

import itertools
import random
import re
import shutil

import pytest

from audio.decode import decode_audio
from benchmarks import ears, flite
from training import __main__ as training
from training import data, texts
from training.__main__ import main
from training.origins import note_finished

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (305, "three hundred five"),
        (9999, "nine thousand nine hundred ninety nine"),
        (120_000, "one hundred twenty thousand"),
    ],
)
def test_numbers_are_written_in_words(number, words):
    assert texts.spell_number(number) == words


@pytest.mark.parametrize(
    ("sentence", "is_suitable"),
    [
        ("The river froze during the night.", True),
        ("Is that so, or is it not?", True),
        ("The ferry was late again, and nobody minded.", False),  # it is of the test set
        ("THE FERRY was late again and nobody minded!", False),
        ("Too short.", False),
        ("The river froze at 3 in the morning.", False),
        ("The zzxq froze during the night.", False),
        ("the river froze during the night.", False),
        ("The river froze " + "and froze " * 20 + "again.", False),
    ],
)
def test_a_sentence_is_plain_and_none_of_the_test_set(sentence, is_suitable):
    forbidden = {" ".join(ears.words_of(each)) for each in ears.sentences()}
    assert texts.is_suitable(sentence, forbidden) is is_suitable


@pytest.mark.parametrize("source", [texts.frame_sentences, texts.trigram_sentences])
def test_sources_are_the_same_for_the_same_seed_and_mostly_suitable(source):
    first, again, other = (list(itertools.islice(source(random.Random(seed)), 60)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sum(texts.is_suitable(sentence, set()) for sentence in first) > 20


def test_documentation_gives_its_plain_sentences(tmp_path):
    docstring = (
        "Opens the door. It takes 3 keys\n    and a lamp.  Nobody\n    may enter. Some_name is not plain."
    )
    (tmp_path / "module.py").write_text(f'"""{docstring}"""\nX = 1\n')
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    assert texts.documentation_sentences([tmp_path]) == {"Opens the door.", "Nobody may enter."}


def test_texts_come_from_all_sources_and_are_as_many_as_asked_for(tmp_path, monkeypatch):
    (tmp_path / "module.py").write_text('"""Opens the door to the garden. Nobody may enter the garden."""')
    monkeypatch.setattr(texts, "package_folders", lambda: [tmp_path])
    monkeypatch.setattr(training, "LEAST_SENTENCES", 30)
    main(["texts", "--folder", str(tmp_path / "out"), "--sentences", "30"])
    found = (tmp_path / "out" / "texts.txt").read_text().splitlines()
    assert len(set(found)) == 30
    assert "Nobody may enter the garden." in found
    monkeypatch.setattr(texts, "package_folders", None)  # nothing is made twice
    main(["texts", "--folder", str(tmp_path / "out"), "--sentences", "30"])


@needs_flite
def test_speech_is_understood_in_changed_voices_and_goes_on_where_it_ended(tmp_path):
    sentences = ears.sentences(12)
    data.make_speech(sentences, tmp_path)
    spoken = {sentence.number: sentence for sentence in data.read_index(tmp_path)}
    assert [spoken[number].text for number in range(12)] == sentences
    assert any(not sentence.speaker.endswith("*1.00") for sentence in spoken.values())
    recogniser = ears.Recogniser()
    for sentence in spoken.values():
        waveform = decode_audio((tmp_path / f"{sentence.number}.flac").read_bytes())
        assert waveform.duration_s == pytest.approx(sentence.duration_s, abs=1e-3)
        assert sentence.phones[-1][1] == pytest.approx(sentence.duration_s, abs=0.2)
        assert recogniser.choose(waveform, sentences) == sentence.number
    index = tmp_path / data.INDEX
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[:7]) + lines[7][:20])  # killed while it wrote
    data.make_speech(sentences, tmp_path)
    assert {sentence.number: sentence for sentence in data.read_index(tmp_path)} == spoken


def test_speech_without_flite_or_texts_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=re.escape("texts.txt")):
        main(["speech", "--folder", str(tmp_path)])
    (tmp_path / "texts.txt").write_text("Nobody speaks.\n")
    with pytest.raises(SystemExit, match="not finished: run STAGE=texts again"):
        main(["speech", "--folder", str(tmp_path)])
    note_finished(tmp_path, "texts", {})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install flite"):
        main(["speech", "--folder", str(tmp_path)])
    assert not list(data.read_index(tmp_path / "speech"))


def test_without_flite_nothing_is_begun_that_needs_it_later(tmp_path, monkeypatch):
    flite.installed_voices.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install flite"):
        main(["--folder", str(tmp_path / "work")])
    assert not list((tmp_path / "work").iterdir())
