import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.voice_store.conftest import make_waveform, names, snapshot
from tests.voice_store.terminal import REPOSITORY, run_cli, run_program, write_recording
from voice_store import VoiceStore


@pytest.fixture
def recording(tmp_path):
    return write_recording(tmp_path / "小明 recording.flac")


def test_it_keeps_lists_shows_and_removes(root, store, recording, capsys):
    assert run_cli(root, "list") == 0
    assert capsys.readouterr().out == "no voices\n"
    assert run_cli(root, "add", recording, "--name", "小明", "--gender", "male", "--description", "warm") == 0
    voice = store.get(name="小明")
    added = capsys.readouterr()
    assert added.out == f"added: 小明 ({voice.voice_id}), {voice.waveform.duration_s:.1f} s\n"
    assert "10 to 30 s make a closer likeness" in added.err
    assert run_cli(root, "add", recording, "--name", "小明") == 0
    assert capsys.readouterr().out.startswith("already there: 小明")

    assert run_cli(root, "list") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "ID",
        "NAME",
        "GENDER",
        "LANGUAGE",
        "SECONDS",
        "CREATED",
        "TAGS",
        "DESCRIPTION",
    ]
    assert row.split()[:3] == [voice.voice_id, "小明", "male"]

    for key in ("小明", voice.voice_id):
        assert run_cli(root, "show", key) == 0
        assert json.loads(capsys.readouterr().out)["description"] == "warm"
    assert run_cli(root, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["voice_id"] == voice.voice_id

    assert run_cli(root, "remove", voice.voice_id, "--yes") == 0
    assert capsys.readouterr().out == f"removed: 小明 ({voice.voice_id})\n"
    assert store.list() == []


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("YES", 0), ("", 1), ("n", 1), ("yesterday", 1)])
def test_it_asks_before_removing(root, store, monkeypatch, answer, left):
    store.put(make_waveform(1), "Amy")
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert run_cli(root, "remove", "Amy") == 0
    assert len(store.list()) == left


def test_it_overwrites_on_request_alone(root, store, recording, capsys):
    store.put(make_waveform(1), "Amy")
    assert run_cli(root, "add", recording, "--name", "Amy") == 1
    assert 'a voice named "Amy" exists' in capsys.readouterr().err
    assert run_cli(root, "add", recording, "--name", "Amy", "--overwrite") == 0
    assert store.get(name="Amy").digest != make_waveform(1).digest()


def test_update_changes_what_is_given_and_nothing_else(root, store, capsys):
    voice_id = store.put(make_waveform(1), "Amy", gender="female", language="en").voice.voice_id
    assert run_cli(root, "update", "Amy", "--new-name", "Zoë", "--tag", "a", "--tag", "b") == 0
    assert run_cli(root, "update", voice_id, "--language", "", "--description", "warm") == 0
    assert capsys.readouterr().out == f"updated: Zoë ({voice_id})\n" * 2
    voice = store.metadata(name="Zoë")
    kept = {key: voice[key] for key in ("gender", "language", "tags", "description")}
    assert kept == {"gender": "female", "language": None, "tags": ["a", "b"], "description": "warm"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["update", "Amy"],
        ["add", "a.wav", "b.wav", "--name", "x"],
        ["add", ".", "--name", "x"],
        ["add", "a.wav", "--jobs", "0"],
        ["export", "--to", "x.tar.gz"],
        ["frobnicate"],
        [],
    ],
)
def test_what_is_mistyped_ends_with_status_2(root, arguments):
    with pytest.raises(SystemExit) as caught:
        run_cli(root, *arguments)
    assert caught.value.code == 2
    assert not root.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "Amu"], 'the nearest names are "Amy"'),
        (["show", "../../x"], "no voice is named"),
        (["remove", "00000000", "--yes"], 'no voice is named "00000000"'),
        (["update", "Amu", "--gender", "x"], 'the nearest names are "Amy"'),
        (["export", "Amy", "Amu", "--to", "never"], 'the nearest names are "Amy"'),
        (["add", "nothing.wav", "--name", "x"], "nothing.wav cannot be opened: no such file"),
        (["import", "nothing.tar"], "nothing.tar: no such file"),
        (["--dir", "/no/such/volume", "list"], "the folder /no/such is missing"),
        (["--dir", "/no/such/volume", "check"], "the folder /no/such is missing"),
        (["--dir", "/no-such-store", "check"], "there is no such store"),
        (["--dir", "/dev/null", "list"], "there is no such store"),
    ],
)
def test_it_fails_with_one_line(root, store, arguments, says):
    store.put(make_waveform(1), "Amy")
    done = run_program(root, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (REPOSITORY / "never").exists()


@pytest.mark.parametrize(
    ("name", "columns"),
    [("Amy", 3), ("小明", 4), ("Zoë", 3), ("👩\u200d🚀 x", 4), ("❤\ufe0f on", 5), ("محمد", 4), ("नमस्ते", 4)],
)
def test_tables_line_up_whatever_the_script(root, store, capsys, name, columns):
    store.put(make_waveform(1), name, gender="someone")
    store.put(make_waveform(2), "a long name", gender="someone")
    run_cli(root, "list")
    (row,) = (line for line in capsys.readouterr().out.splitlines() if name in line)
    assert row.index("someone") - len(name) == row.index(name) + len("a long name") + 2 - columns


def test_list_filters(root, store, capsys):
    store.put(make_waveform(1), "Amy", gender="Female", language="en", tags=["News", "calm"])
    store.put(make_waveform(2), "小明", gender="male", language="zh", description="Für Ämter")
    for arguments, expected in [
        (["--gender", "FEMALE"], {"Amy"}),
        (["--language", "zh"], {"小明"}),
        (["--tag", "news", "--tag", "calm"], {"Amy"}),
        (["--tag", "news", "--tag", "loud"], set()),
        (["--query", "äMTER"], {"小明"}),
        (["--query", "明"], {"小明"}),
        (["--gender", "male", "--query", "amy"], set()),
    ]:
        assert run_cli(root, "list", "--json", *arguments) == 0
        assert {voice["speaker_name"] for voice in json.loads(capsys.readouterr().out)} == expected


def test_stats_count_voices_seconds_bytes_and_words(root, store, capsys):
    for seed, (gender, tags) in enumerate([("female", ["a"]), ("female", ["a", "b"]), ("male", [])]):
        store.put(make_waveform(seed), f"Voice {seed}", gender=gender, language="en", tags=tags)
    damaged = root / "embeddings" / "deadbeef.pkl.gz"
    damaged.write_bytes(b"x" * 7)
    assert run_cli(root, "stats", "--json") == 0
    sizes = sum(path.stat().st_size for path in (root / "embeddings").iterdir())
    assert json.loads(capsys.readouterr().out) == {
        "total_voices": 4,
        "damaged_voices": 1,
        "audio_seconds": 0.75,
        "bytes_on_disk": sizes,
        "genders": {"female": 2, "male": 1},
        "languages": {"en": 3},
        "tags": {"a": 2, "b": 1},
    }
    assert run_cli(root, "stats") == 0
    assert "voices   4, of which 1 damaged" in capsys.readouterr().out


def test_a_damaged_voice_that_no_list_shows_can_be_removed(root, store):
    store.put(make_waveform(1), "Amy")
    damaged = root / "embeddings" / "deadbeef.pkl.gz"
    damaged.write_bytes(b"x")
    done = run_program(root, "remove", "deadbeef", "--yes")
    assert (done.returncode, done.stdout) == (0, "removed: deadbeef\n")
    assert not damaged.exists()


def test_a_reader_that_has_seen_enough_ends_it_quietly(root, store):
    for seed in range(3):
        store.put(make_waveform(seed), f"Voice {seed}", description="long " * 300)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "voice_store", "--dir", str(root), "list"]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_ctrl_c_ends_it_with_one_line(root, monkeypatch, capsys):
    def interrupt(_: str) -> str:
        raise KeyboardInterrupt

    VoiceStore(root).put(make_waveform(1), "Amy")
    monkeypatch.setattr("builtins.input", interrupt)
    assert run_cli(root, "remove", "Amy") == 128 + signal.SIGINT
    assert capsys.readouterr().err == "voice_store: stopped; what was done so far stays\n"
    assert names(VoiceStore(root)) == {"Amy"}


def test_a_question_without_anybody_to_answer_is_a_no(root, store, monkeypatch, capsys):
    store.put(make_waveform(1), "Amy")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run_cli(root, "remove", "Amy") == 0
    assert capsys.readouterr().out.endswith("kept\n")


TRICKS = "\u202egnp.\x1b[2J\u200e\u2066\x9b1m\u2028"


def reaches_the_terminal(text: str) -> bool:
    return any(character in text for character in TRICKS if not character.isascii() or character == "\x1b")


def test_nothing_that_moves_or_reorders_text_reaches_the_terminal(root, store, tmp_path, capsys):
    """Names of files, what is typed, and what other programs have put into the store."""
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    tags = [TRICKS, "a\u200fb\u061c"]
    catalog = {voice_id: {"speaker_name": "Amy\u200f", "duration": 0.25, "tags": tags, TRICKS: TRICKS}}
    (root / "voice_catalog.json").write_text(json.dumps(catalog))
    (root / "name_mapping.json").write_text(json.dumps({TRICKS: "99999999"}))
    folder = tmp_path / f"in {TRICKS}"
    folder.mkdir()
    (folder / f"{TRICKS}.wav").write_bytes(b"no audio")
    (folder / f"{TRICKS}.txt").write_bytes(b"no audio")
    for arguments in (
        *(["check"], ["list"], ["list", "--json"], ["show", "Amy"], ["stats"], ["show", TRICKS]),
        *(["add", folder], ["import", folder], ["add", folder, TRICKS], ["export", "--to", folder]),
        *([TRICKS], ["add", folder, "--jobs", TRICKS], ["--dir", folder / TRICKS, "list"]),
        *(["--dir", folder / TRICKS / "deep", "list"], ["repair", "--yes"]),
    ):
        with suppress(SystemExit):  # argparse's, at what it does not know
            run_cli(root, *arguments)
        said = capsys.readouterr()
        assert said.out + said.err, arguments
        assert not reaches_the_terminal(said.out + said.err), arguments
    done = run_program(root, "list", "--json")
    assert not reaches_the_terminal(done.stdout + done.stderr)
    shown = json.loads(done.stdout)
    assert shown == json.loads(json.dumps(VoiceStore(root).list()))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "RECORDING", "--name", "a/b"], "--name holds a slash"),
        (["add", "RECORDING", "--name", "Amy"], "--name is taken"),
        (["add", "RECORDING", "--name", "Amy"], "or set --overwrite to replace it"),
        (["add", "RECORDING"], "its name is taken"),
        (["update", "Ben", "--new-name", "Amy"], "--new-name is taken"),
        (["update", "Ben", "--new-name", "a/b"], "--new-name holds a slash"),
        (["show", "Nobody at all"], "; list shows all names"),
        (["export", "Broken", "--to", "FOLDER"], "clone the voice again with --overwrite"),
    ],
)
def test_errors_speak_of_options_and_not_of_the_api(root, store, tmp_path, capsys, arguments, says):
    for seed, name in enumerate(("Amy", "Ben", "Broken", "recording")):
        voice = store.put(make_waveform(seed), name).voice
        if name == "Broken":
            (root / "embeddings" / f"{voice.voice_id}.pkl.gz").write_bytes(b"broken")
    places = {"RECORDING": write_recording(tmp_path / "recording.wav"), "FOLDER": tmp_path / "out"}
    assert run_cli(root, *(places.get(argument, argument) for argument in arguments)) == 1
    said = capsys.readouterr().err
    assert says in said
    for term in ("voice_name", "voice_id", "list_voices", "clone_voice", " overwrite"):
        assert term not in said


@pytest.mark.parametrize(
    "command",
    [
        *(["list"], ["list", "--json"], ["show", "Amy"], ["show", "Nobody"], ["stats"], ["check"]),
        *(["export", "--to", "../out"], ["export", "Amy", "--to", "../out.tar"]),
    ],
)
def test_commands_that_only_read_write_nothing(root, store, monkeypatch, command):
    """Though indexes are torn, a file is damaged, and a voice is there that no index knows."""
    store.put(make_waveform(1), "Amy")
    store.put(make_waveform(2), "Ben")
    (root / "name_mapping.json").write_text("{torn")
    (root / "voice_catalog.json").unlink()
    (root / "embeddings" / "deadbeef.pkl.gz").write_bytes(b"torn")
    monkeypatch.chdir(root)
    before, times = snapshot(root), {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    run_cli(root, *command)
    assert snapshot(root) == before
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == times


def test_markup_in_names_is_printed_as_it_is(root, store, tmp_path, capsys):
    for seed, name in enumerate(("[red]Amy[-red]", "[link=x]", ":smile:", "[b]")):
        store.put(make_waveform(seed), name, description="[bold]not bold[-bold]")
    assert run_cli(root, "list") == 0
    shown = capsys.readouterr().out
    for name in ("[red]Amy[-red]", "[link=x]", ":smile:", "[b]", "[bold]not bold[-bold]"):
        assert name in shown


def test_a_table_is_whole_however_narrow_the_terminal_is(root, store, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    store.put(make_waveform(1), "Amy", description="long " * 100, tags=["a" * 50, "b" * 50])
    assert run_cli(root, "list") == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.endswith(("long " * 100).strip())
    assert f"{'a' * 50}, {'b' * 50}" in row
