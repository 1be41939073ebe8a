import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InvalidRequest
from voice_store.names import clean_name, fold_name, readable


@pytest.mark.parametrize(
    "name",
    [
        "Amy",
        "a",
        "小明",
        "👩‍👩‍👧 family",
        "شهرزاد",
        "שָׁלוֹם",
        "Zoë\u0308x",
        "न्युटन",
        "O'Neil, Jr. (2)",
        "x" * 64,
        "é́" * 60,
    ],
)
def test_names_of_any_script_are_kept(name):
    assert fold_name(clean_name(name)) == fold_name(name)


def test_names_are_composed_and_stripped():
    assert clean_name("  Zoe\u0308 ") == "Zo\u00eb"


@pytest.mark.parametrize(
    "name",
    [
        *("", "   ", "\u200d\u200d", "\u0301"),
        *("a\nb", "a\x00", "a\x1b[31m", "a\u2028b", "\ud800", "evil\u202egnp.exe"),
        *("../x", "a/b", "a\\b"),
        *("x" * 65, "a" + "\u0301" * 300),
        *("\u3164\u3164", "\u2800", "\u115f \u200b"),
    ],
)
def test_names_that_cannot_be_shown_are_refused(name):
    with pytest.raises(InvalidRequest, match="voice_name"):
        clean_name(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Amy", "aMY"),
        ("Zoë", "Zoe\u0308"),
        ("ＡＭＹ", "amy"),
        ("STRASSE", "straße"),
        ("ﬁona", "Fiona"),
        (" a ", "A"),
        ("Amy\u200b", "Amy"),
        ("A\u2060m\u00ady\ufe0f", "\ufeffamy\u200f"),
        ("Amy\u3164Lee\uffa0", "AmyLee"),
        ("Amy \u2009\u2800 Lee", "Amy Lee"),
        ("me\u034f\u0301", "m\u00e9"),
    ],
)
def test_names_that_differ_in_form_alone_fold_together(one, other):
    assert fold_name(one) == fold_name(other)


def test_names_that_differ_stay_apart():
    assert len({fold_name(name) for name in ("Amy", "Ami", "小明", "小朋", "Zoe", "Zoë")}) == 6


def test_text_of_others_becomes_readable():
    assert readable("a\x1b[2Jb\ud800\u202ec") == "a[2Jbc"
    assert readable(5) == ""
    assert len(readable("x" * 10_000_000)) == 256


@given(st.text(max_size=20))
def test_folding_twice_is_folding_once(name):
    assert fold_name(fold_name(name)) == fold_name(name)
