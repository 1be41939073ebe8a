"""What ``add`` and ``update`` can say about a voice, and voices of several recordings."""

import pytest

from tests.voice_store.conftest import make_waveform, names, snapshot
from tests.voice_store.terminal import run_cli, write_recording

ALL_OPTIONS = (
    *("--alias", "alloy", "--alias", "Ally", "--speed", "1.25", "--pronunciation", "Nguyen=win"),
    *("--pronunciation", "C = see", "--consent-by", "Amy Adams", "--consent-date", "2026-11-27"),
    *("--consent-statement", "I agree."),
)
ALL_DETAILS = {
    "aliases": ["alloy", "Ally"],
    "default_parameters": {"speed": 1.25},
    "consent": {"by": "Amy Adams", "date": "2026-11-27", "statement": "I agree."},
    "pronunciations": [
        {"text": "Nguyen", "say": "win", "case_sensitive": False, "whole_word": True},
        {"text": "C", "say": "see", "case_sensitive": False, "whole_word": True},
    ],
}


def details_of(store, name):
    return {key: store.metadata(name=name)[key] for key in ALL_DETAILS}


def test_add_and_update_say_what_a_job_can_say(root, store, tmp_path):
    recording = write_recording(tmp_path / "Amy.wav")
    assert run_cli(root, "add", recording, *ALL_OPTIONS) == 0
    assert details_of(store, "Amy") == ALL_DETAILS
    store.put(make_waveform(1), "Ben")
    assert run_cli(root, "update", "Ben", *ALL_OPTIONS) == 0
    assert details_of(store, "Ben") == ALL_DETAILS


def test_update_keeps_other_parameters_and_forgets_what_is_given_empty(root, store):
    details = {**ALL_DETAILS, "default_parameters": {"exaggeration": 0.3, "speed": 2.0}}
    store.put(make_waveform(1), "Amy", **details)
    assert run_cli(root, "update", "Amy", "--speed", "0.5", "--consent-statement", "Yes.") == 0
    voice = details_of(store, "Amy")
    assert voice["default_parameters"] == {"exaggeration": 0.3, "speed": 0.5}
    assert voice["consent"] == {"by": "Amy Adams", "date": "2026-11-27", "statement": "Yes."}
    forget = ("--speed", "", "--alias", "", "--pronunciation", "")
    forget_consent = ("--consent-by", "", "--consent-date", "", "--consent-statement", "")
    assert run_cli(root, "update", "Amy", *forget, *forget_consent) == 0
    voice = details_of(store, "Amy")
    assert voice.pop("default_parameters") == {"exaggeration": 0.3}
    assert not any(voice.values())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--alias", "a/b"], "argument --alias: holds a slash; remove the slashes"),
        (["--speed", "9"], "argument --speed: give a number from 0.25 to 4"),
        (["--speed", "fast"], "argument --speed: give a number from 0.25 to 4"),
        (["--speed", "nan"], "argument --speed: give a number from 0.25 to 4"),
        (["--consent-by", "x" * 257], "argument --consent-by: has 257 characters; give at most 256"),
        (["--consent-by", " ", "--consent-date", "x"], "argument --consent-by: is blank"),
        (["--consent-date", "\u200b"], "argument --consent-date: is blank"),
        (["--consent-statement", "\u200d\n"], "argument --consent-statement: is blank"),
        (["--consent-by", "A\u200bmy"], "argument --consent-by: holds the invisible character U+200B"),
        (["--consent-by", "Amy"], "give --consent-by and --consent-date"),
        (["--pronunciation", "Nguyen"], "argument --pronunciation: give TEXT=SAY"),
        (["--pronunciation", "=win"], "argument --pronunciation: TEXT is missing or blank"),
        (["--pronunciation", f"a={'b' * 201}"], "argument --pronunciation: SAY has 201 characters"),
    ],
)
@pytest.mark.parametrize("command", ["add", "update"])
def test_errors_name_the_option(root, store, tmp_path, capsys, command, options, says):
    store.put(make_waveform(1), "Amy", consent=ALL_DETAILS["consent"] if "is blank" in says else None)
    before = snapshot(root)
    what = "Amy" if command == "update" else write_recording(tmp_path / "Ben.wav")
    with pytest.raises(SystemExit) as stopped:
        run_cli(root, command, what, *options)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
    assert snapshot(root) == before


@pytest.mark.parametrize("command", ["add", "update"])
def test_an_alias_that_means_another_voice_is_warned_about(root, store, tmp_path, capsys, command):
    other = store.put(make_waveform(1), "Amy", created_at="2020-01-01T00:00:00").voice.voice_id
    store.put(make_waveform(2), "Ben", created_at="2020-01-01T00:00:00")
    what = "Ben" if command == "update" else write_recording(tmp_path / "Zoë.wav")
    assert run_cli(root, command, what, "--alias", "amy", "--alias", "fine") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "the alias" in line]
    assert warnings == [
        f'warning: the alias "amy" means the voice {other}, which has it as its name, or is newer'
    ]


def test_samples_make_one_voice(root, store, tmp_path, capsys):
    short = write_recording(tmp_path / "short.wav", 1, duration_s=3.0)
    long = write_recording(tmp_path / "long.flac", 2, duration_s=8.0)
    assert run_cli(root, "add", short, long, "--name", "Amy", "--samples", "--alias", "alloy") == 0
    assert names(store) == {"Amy"}
    assert 9 < store.get(name="alloy").waveform.duration_s < 12  # of both
    assert capsys.readouterr().out.startswith("added: Amy (")
    assert run_cli(root, "add", short, long, "--name", "Amy", "--samples") == 0
    assert capsys.readouterr().out.startswith("already there: Amy (")
    assert run_cli(root, "add", tmp_path, "--name", "Ben", "--samples") == 0
    assert names(store) == {"Amy", "Ben"}


def test_a_sample_that_cannot_be_used_is_named_and_no_voice_is_made(root, store, tmp_path, capsys):
    good = write_recording(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    for bad in (tmp_path / "bad.wav", tmp_path / "nothing.wav"):
        assert run_cli(root, "add", good, bad, "--name", "Amy", "--samples") == 1
        assert str(bad) in capsys.readouterr().err
    assert not root.exists()


def test_a_folder_is_not_a_list_of_samples(root, tmp_path, capsys):
    write_recording(tmp_path / "Amy.wav")
    with pytest.raises(SystemExit) as stopped:
        run_cli(root, "add", tmp_path, "--samples")
    assert stopped.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "give its --name; a folder is not a list of samples: all recordings in it become that voice" in said
    )
    assert not root.exists()


def test_more_samples_than_five_are_too_many(root, tmp_path, capsys):
    for seed in range(6):
        write_recording(tmp_path / f"{seed}.wav", seed)
    assert run_cli(root, "add", tmp_path, "--name", "Amy", "--samples") == 1
    said = capsys.readouterr().err
    assert "--samples takes at most 5 recordings, not 6" in said
    assert "a folder is not a list of samples" in said
    assert not root.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--samples"], "give its --name"),
        (["--alias", "alloy"], "--alias names one voice"),
        (["--name", "Amy"], "--name names one voice"),
    ],
)
def test_what_names_one_voice_is_not_given_to_many(root, tmp_path, capsys, options, says):
    paths = [write_recording(tmp_path / f"{seed}.wav", seed) for seed in range(2)]
    with pytest.raises(SystemExit) as stopped:
        run_cli(root, "add", *paths, *options)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
