import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters import (
    MAX_COMBINING_MARKS,
    casefold_nfkc,
    drop_invisible,
    escape_unprintable,
    has_speakable,
    is_blank,
    is_invisible,
    is_printable,
    normalize_unicode,
    printable_excerpt,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FORMS = ("NFC", "NFD", "NFKC", "NFKD")
MARKS = st.text(st.sampled_from("a\u0301\u0323\u0344\u0f73\u0f75\uff9e\uff9fが한é\u200d "), max_size=200)


@pytest.mark.parametrize("char", "\x00\x07\u00ad\u200b\u2060\ufeff\u202e\ud83d\u3164\u2800")
def test_invisible(char):
    assert is_invisible(char)
    assert not is_printable(char)


@pytest.mark.parametrize("char", "a é\u00a0\u3000\u200c\u200d\u0301\ufe0f好😀\U0001fae8\ue000")
def test_printable_and_not_invisible(char):
    assert not is_invisible(char)
    assert is_printable(char)


@pytest.mark.parametrize("char", "\n\r\t\x1c\x85\u2028\u2029")
def test_line_breaks_and_tabs_are_white_space_that_no_line_may_hold(char):
    assert not is_invisible(char)
    assert not is_printable(char)


@pytest.mark.parametrize("text", ["", " \n\u00a0", "\u200b\u200d", "\x00", "\u3164", "\u0301", "\ud83d"])
def test_blank(text):
    assert is_blank(text)
    assert not has_speakable(text)


@pytest.mark.parametrize("text", [".", "😀", "\U0001fae8", " a "])
def test_not_blank(text):
    assert not is_blank(text)


@pytest.mark.parametrize("text", ["a", "...7", "好", "½", "؟ب", "\u3164x"])
def test_letters_and_digits_can_be_spoken(text):
    assert has_speakable(text)


def test_dropping_the_invisible_leaves_the_rest():
    assert drop_invisible("\ufeffze\u200bro \x07bell\n" + FAMILY) == "zero bell\n" + FAMILY


def test_unprintable_characters_are_escaped():
    assert escape_unprintable("a\n\u202eb\x1b[0m\ud83d" + FAMILY) == r"a\n\u202eb\x1b[0m\ud83d" + FAMILY


def test_an_excerpt_is_short_and_printable():
    assert printable_excerpt("x" * 40) == "x" * 40
    assert printable_excerpt("x" * 41) == "x" * 40 + "..."
    assert printable_excerpt("ab\ncd", 4) == r"ab\n..."
    assert len(printable_excerpt("\n" * 1_000_000)) == 43


@given(text=st.text())
def test_an_escaped_text_is_one_printable_line(text):
    assert all(map(is_printable, escape_unprintable(text)))
    assert len(escape_unprintable(text).splitlines()) <= 1


@pytest.mark.parametrize("form", FORMS)
@given(text=st.text(max_size=50))
def test_ordinary_text_is_normalized_as_python_does(form, text):
    assert normalize_unicode(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("form", FORMS)
@given(text=MARKS)
def test_normalizing_twice_is_normalizing_once(form, text):
    once = normalize_unicode(form, text)
    assert normalize_unicode(form, once) == once
    assert unicodedata.is_normalized(form, once)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0f73", "\u0344\u0323", "\uff9e\u0301"])
def test_a_million_marks_are_cut_to_what_a_letter_can_carry(form, marks):
    normalized = normalize_unicode(form, "a" + marks * (1_000_000 // len(marks)))
    assert len(normalized) <= 2 + MAX_COMBINING_MARKS


@pytest.mark.parametrize(
    "others",
    [
        ["Zoë", "zoë", "ZOË", "Zoe\u0308", "Ｚｏë", "Zo\u200bë", "\u2066Zoë\u2069", "Zo\u200dë", "Zo\u3164ë"],
        ["Straße", "STRASSE", "stra\u00adsse"],
        ["❤", "❤\ufe0f"],
    ],
)
def test_what_nobody_can_see_tells_no_two_texts_apart(others):
    assert len(set(map(casefold_nfkc, others))) == 1


def test_what_can_be_seen_does():
    assert len(set(map(casefold_nfkc, ["Zoe", "Zoë", "Zo e", "Zo-e"]))) == 4


@given(text=st.text())
def test_folding_twice_is_folding_once(text):
    assert casefold_nfkc(casefold_nfkc(text)) == casefold_nfkc(text)
