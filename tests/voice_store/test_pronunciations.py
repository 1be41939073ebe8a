"""The file of pronunciations for all voices, its command line, and what is kept with a voice."""

import json

import pytest

from errors import InvalidRequest, StoreCorrupt
from tests.voice_store.conftest import make_waveform, read_json, write_json
from tests.voice_store.terminal import run_cli
from voice_store import VoiceStore
from voice_store.health import check
from voice_store.live import Timing
from voice_store.pls import parse_pls
from voice_store.pronunciations import MAX_PRONUNCIATIONS

WIN = {"text": "Nguyen", "say": "win"}
FULL_WIN = {**WIN, "case_sensitive": False, "whole_word": True}
PLS = """<?xml version="1.0" encoding="UTF-8"?>
<lexicon version="1.0" xmlns="http://www.w3.org/2005/01/pronunciation-lexicon" xml:lang="en-US" alphabet="ipa"
    xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <metadata><rdf:RDF><rdf:grapheme>not this</rdf:grapheme></rdf:RDF></metadata>
  <lexeme><grapheme>W3C</grapheme><alias>World Wide
    Web Consortium</alias><example>The W3C met.</example></lexeme>
  <lexeme><grapheme>nguyen</grapheme><grapheme>nguyễn</grapheme>
    <alias>nwin</alias><alias prefer="true">win</alias><alias prefer="true">nyuen</alias>
    <phoneme>wɪn</phoneme></lexeme>
  <lexeme><grapheme>theater</grapheme><phoneme>ˈθɪətər</phoneme></lexeme>
  <lexeme role="a:verb"><grapheme>read</grapheme><alias>reed</alias></lexeme>
  <lexeme role="a:past"><grapheme>read</grapheme><alias>red</alias></lexeme>
  <lexeme><grapheme>empty</grapheme></lexeme>
</lexicon>"""


@pytest.fixture
def file(root):
    root.mkdir()
    return root / "pronunciations.json"


def test_a_store_without_a_file_has_none(store):
    assert store.pronunciations().entries == ()
    assert store.pronunciations().warnings == ()


def test_what_is_put_is_seen_by_another_worker_at_once(store, root):
    other = VoiceStore(root)
    assert other.pronunciations().entries == ()
    assert store.put_pronunciations([WIN, {"text": "US", "say": "you ess", "case_sensitive": True}]) == 0
    assert other.pronunciations().entries[0] == FULL_WIN
    assert store.put_pronunciations([{"text": "NGUYEN", "say": "nwin"}]) == 1
    assert [entry["say"] for entry in other.pronunciations().entries] == ["nwin", "you ess"]
    assert store.remove_pronunciations("us") == 1
    assert store.remove_pronunciations("us") == 0
    assert [entry["text"] for entry in other.pronunciations().entries] == ["NGUYEN"]


@pytest.mark.parametrize("content", [[WIN], {"pronunciations": [WIN], "note": "by hand"}])
def test_a_file_by_hand_is_read_and_what_else_it_says_stays(store, file, content):
    write_json(file, content)
    assert store.pronunciations().entries == (FULL_WIN,)
    store.put_pronunciations([{"text": "a", "say": "b", "whole_word": False}])
    assert store.pronunciations().entries[1] == {
        "text": "a",
        "say": "b",
        "case_sensitive": False,
        "whole_word": False,
    }
    assert read_json(file).get("note") == (content.get("note") if isinstance(content, dict) else None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON, line 1"),
        ('"text"', "is neither a list nor an object"),
        ('{"pronunciations": 5}', "is neither a list nor an object"),
        ("[" * 100_000, "is no JSON"),
        (" " * (2**21 + 1), "larger than 2 MiB"),
    ],
)
def test_a_damaged_file_is_a_warning_and_is_not_replaced(store, file, content, said):
    file.write_text(content)
    for _ in range(2):
        known = store.pronunciations()
        assert known.entries == ()
        assert said in known.warnings[0]
    for change in (lambda: store.put_pronunciations([WIN]), lambda: store.remove_pronunciations("a")):
        with pytest.raises(StoreCorrupt, match="correct the file, or remove it"):
            change()
    assert file.read_text() == content
    file.write_text(json.dumps([WIN]))
    assert store.pronunciations().entries == (FULL_WIN,)


def test_a_link_or_a_folder_in_the_place_of_the_file_is_a_warning(store, file, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps([WIN]))
    file.symlink_to(tmp_path / "other.json")
    assert "is no file" in store.pronunciations().warnings[0]
    file.unlink()
    file.mkdir()
    assert "is no file" in store.pronunciations().warnings[0]


def test_entries_that_cannot_be_used_are_named_and_stay_in_the_file(store, file):
    bad = [5, {"text": "a"}, {"text": "a" * 101, "say": "b"}, {**WIN, "whole_word": "yes"}]
    write_json(file, [*bad, WIN])
    known = store.pronunciations()
    assert known.entries == (FULL_WIN,)
    assert [warning.partition("json of the store: ")[2][:3] for warning in known.warnings] == [
        "[0]",
        "[1]",
        "[2]",
        "[3]",
    ]
    assert "[1].say is missing or blank" in known.warnings[1]
    assert "[2].text has 101 characters; give at most 100" in known.warnings[2]
    store.put_pronunciations([{"text": "new", "say": "n"}])
    assert read_json(file)["pronunciations"][:2] == bad[:2]


def test_more_entries_than_are_read_are_refused_and_warned_of(store, file):
    many = [{"text": f"word{number}", "say": "w"} for number in range(MAX_PRONUNCIATIONS)]
    store.put_pronunciations(many)
    with pytest.raises(InvalidRequest, match="would have 501 pronunciations; keep at most 500"):
        store.put_pronunciations([WIN])
    write_json(file, [*many, WIN])
    known = store.pronunciations()
    assert len(known.entries) == MAX_PRONUNCIATIONS
    assert "only the first 500" in known.warnings[0]


def test_check_names_a_damaged_file_and_repair_leaves_it(store, root, capsys):
    store.put(make_waveform(1), "Amy")
    (root / "pronunciations.json").write_text("{")
    (problem,) = check(root, sleep=lambda _: None).problems
    assert problem.file == "pronunciations.json"
    assert run_cli(root, "repair", "--yes") == 1
    assert (root / "pronunciations.json").read_text() == "{"
    (root / "pronunciations.json").write_text(json.dumps([WIN]))
    assert check(root, sleep=lambda _: None).problems == ()


# --- of a voice


def test_a_voice_keeps_them_through_changes_exports_and_other_programs(store, root, tmp_path, capsys):
    entry = {
        "text": "\U00013000" * 100,
        "say": "\U00013000" * 200,
        "case_sensitive": True,
        "whole_word": False,
    }
    entries = [FULL_WIN, *({**entry, "text": f"{number:03}{entry['text'][3:]}"} for number in range(499))]
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    assert store.metadata(name="Amy")["pronunciations"] == []
    assert store.update(name="Amy", pronunciations=entries)["pronunciations"] == entries
    store.update(name="Amy", gender="female")
    other = VoiceStore(root, Timing(settle_s=0))
    assert other.metadata(name="Amy")["pronunciations"] == entries
    (root / "voice_catalog.json").unlink()
    assert VoiceStore(root, Timing(settle_s=0)).metadata(name="Amy")["pronunciations"] == entries
    assert run_cli(root, "export", "--to", tmp_path / "a.tar") == 0
    assert run_cli(tmp_path / "new", "import", tmp_path / "a.tar") == 0
    assert run_cli(tmp_path / "copy", "import", root) == 0
    for folder in ("new", "copy"):
        capsys.readouterr()
        assert run_cli(tmp_path / folder, "show", voice_id) == 0
        assert json.loads(capsys.readouterr().out)["pronunciations"] == entries
    assert store.update(name="Amy", pronunciations=[])["pronunciations"] == []
    assert VoiceStore(root, Timing(settle_s=0)).metadata(name="Amy")["pronunciations"] == []


@pytest.mark.parametrize(
    "content", [5, "win", {"a": 1}, [5, None], [{"text": 5, "say": ["x"]}], [{"text": "\ud800"}]]
)
def test_whatever_an_index_holds_is_json_safe(store, root, content):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    catalog = read_json(root / "voice_catalog.json")
    write_json(root / "voice_catalog.json", {voice_id: {**catalog[voice_id], "pronunciations": content}})
    listed = VoiceStore(root, Timing(settle_s=0)).metadata(voice_id=voice_id)["pronunciations"]
    json.dumps(listed, ensure_ascii=False).encode()
    assert all(entry["text"] == "" for entry in listed)


# --- the command line


def test_the_command_line_adds_lists_and_removes(root, capsys):
    assert run_cli(root, "pronunciations", "list") == 0
    assert run_cli(root, "pronunciations", "add", "Nguyen", "win") == 0
    assert run_cli(root, "pronunciations", "add", "nguyen", "nwin") == 0
    assert run_cli(root, "pronunciations", "add", "US", "you ess", "--case-sensitive", "--within-words") == 0
    assert capsys.readouterr().out.splitlines() == [
        "no pronunciations",
        "added: Nguyen is spoken as win",
        "replaced: nguyen is spoken as nwin",
        "added: US is spoken as you ess",
    ]
    assert run_cli(root, "pronunciations", "list") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["TEXT", "SAY", "OPTIONS"],
        ["nguyen", "nwin"],
        ["US", "you", "ess", "case-sensitive,", "within", "words"],
    ]
    assert run_cli(root, "pronunciations", "remove", "NGUYEN") == 0
    assert run_cli(root, "pronunciations", "remove", "NGUYEN") == 1
    assert 'no pronunciation is for "NGUYEN"' in capsys.readouterr().err
    assert run_cli(root, "pronunciations", "add", " ", "win") == 1
    assert "text is missing or blank; give 1 to 100 visible characters" in capsys.readouterr().err


def test_what_list_prints_as_json_can_be_imported_elsewhere(root, tmp_path, capsys):
    run_cli(root, "pronunciations", "add", "C++", "see plus plus")
    capsys.readouterr()
    assert run_cli(root, "pronunciations", "list", "--json") == 0
    (tmp_path / "words.json").write_text(capsys.readouterr().out)
    other = tmp_path / "other"
    assert run_cli(other, "pronunciations", "import", tmp_path / "words.json") == 0
    assert capsys.readouterr().out == "1 added, 0 replaced\n"
    assert VoiceStore(other).pronunciations().entries == VoiceStore(root).pronunciations().entries


def test_entries_that_cannot_be_imported_are_named_and_the_others_are_kept(store, root, tmp_path, capsys):
    write_json(tmp_path / "words.json", [WIN, {"text": "a", "say": ""}, 5])
    assert run_cli(root, "pronunciations", "import", tmp_path / "words.json") == 1
    out, err = capsys.readouterr()
    assert out == "1 added, 0 replaced, 2 left out\n"
    assert "a: say is missing or blank" in err
    assert "entry 3: it is no object" in err
    assert store.pronunciations().entries == (FULL_WIN,)


def test_aliases_of_a_pls_file_are_imported_and_the_rest_is_named(store, root, tmp_path, capsys):
    (tmp_path / "words.pls").write_text(PLS)
    assert run_cli(root, "pronunciations", "import", tmp_path / "words.pls") == 0
    out, err = capsys.readouterr()
    assert out == "4 added, 0 replaced, 3 passed over\n"
    assert "is for en-US" in err
    assert "passed over: theater: it has phonemes" in err
    assert "passed over: read: another lexeme" in err
    assert "passed over: empty: it has no alias" in err
    said = {
        entry["text"]: (entry["say"], entry["case_sensitive"]) for entry in store.pronunciations().entries
    }
    assert said == {
        "W3C": ("World Wide Web Consortium", True),
        "nguyen": ("win", False),
        "nguyễn": ("win", False),
        "read": ("reed", False),
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('<!DOCTYPE lexicon [<!ENTITY a "aaaa">]>' + PLS.partition("?>")[2], "has a document type"),
        ('<!DOCTYPE lexicon SYSTEM "file:///etc/passwd">' + PLS.partition("?>")[2], "has a document type"),
        (PLS.replace("pronunciation-lexicon", "other"), "is no PLS lexicon"),
        (PLS[:-10], "is no XML, line"),
        ("", "is no XML"),
        (PLS.replace("<alias>", "<alias>" + "<x>" * 100_000, 1), "is no XML, line"),
        (PLS.replace("W3C", "&unknown;", 1), "is no XML"),
    ],
)
def test_what_is_no_lexicon_is_refused(root, tmp_path, capsys, content, said):
    (tmp_path / "words.xml").write_text(content)
    assert run_cli(root, "pronunciations", "import", tmp_path / "words.xml") == 1
    assert said in capsys.readouterr().err
    assert not (root / "pronunciations.json").exists()


def test_a_lexicon_may_be_in_any_encoding_that_xml_has():
    assert (
        parse_pls(PLS.replace("UTF-8", "UTF-16").encode("utf-16")).entries == parse_pls(PLS.encode()).entries
    )


def test_a_lexicon_may_hold_elements_within_each_other_without_end():
    deep = "<example>" + "<x>" * 100_000 + "</x>" * 100_000 + "</example>"
    assert parse_pls(PLS.replace("</alias>", f"</alias>{deep}", 1).encode()) == parse_pls(PLS.encode())


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_opened_is_named(root, tmp_path, capsys, name):
    assert run_cli(root, "pronunciations", "import", tmp_path / name) == 1
    assert str(tmp_path / name) in capsys.readouterr().err
