import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.text import clean_text, has_speakable, normalize_text
from tests.speech.text.texts import ANY_TEXT, FAMILY


@pytest.fixture(scope="module")
def punc_norm():
    from chatterbox.tts import punc_norm

    return punc_norm


@pytest.mark.parametrize(
    "text",
    [
        "hello there",
        "Hello there.",
        "  leading space keeps its small letter",
        "Wait... what…?",
        "one: two; three - four — five–six , seven",
        "“Quoted,” she said; ‘really’…",
        'He said "no."',
        "ends with a dash -",
        "tabs\tand\nlines\r\n\nand   spaces",
        "ßtraße",
        "ǆ is one letter",
        "élan",
        "¿Qué?",
        "你好。",
        "नमस्ते।",
        "...",
        "....",
        "5",
        "100%",
        "(aside)",
    ],
)
def test_ordinary_text_is_what_upstream_makes_of_it(punc_norm, text):
    assert normalize_text(text) == punc_norm(text)


@settings(max_examples=400, deadline=None)
@given(text=st.text(st.sampled_from("abcXYZ éß059 ..,,;:!?-—–…“”‘’\"'()\n\t\u00a0。"), max_size=60))
def test_any_text_of_letters_and_punctuation_too(punc_norm, text):
    assert normalize_text(text) == (punc_norm(text) if text.strip() else "")


@settings(max_examples=400, deadline=None)
@given(text=ANY_TEXT)
def test_whatever_comes_is_upstreams_answer_to_the_cleaned_text(punc_norm, text):
    cleaned = clean_text(text)
    assert normalize_text(text) == (punc_norm(cleaned) if cleaned.strip() else "")


@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0", "\u200b", "\x00", "\ud83d"])
def test_blank_text_is_never_replaced_by_words(text):
    assert normalize_text(text) == ""


def test_the_invisible_is_dropped():
    assert clean_text("\ufeffze\u200bro\u00ad \x07bell\x00 \u202eleft\u202c") == "zero bell left"


def test_accents_are_joined_to_their_letters():
    assert clean_text("cafe\u0301") == "caf\u00e9"


def test_surrogate_pairs_are_joined_and_lone_halves_dropped():
    assert clean_text("a\ud83d\ude00b\ud83dc\ude00d") == "a\U0001f600bcd"


def test_a_letter_keeps_thirty_marks_and_long_rows_of_marks_are_cut():
    assert clean_text("x" + "\u0323" * 30 + "y") == "x" + "\u0323" * 30 + "y"
    assert clean_text("x" + "\u0301\u0323" * 500_000 + "y").count("\u0301") < 30


def test_fillers_that_look_like_nothing_are_dropped():
    assert clean_text("a\u3164b\u2800c") == "abc"
    assert normalize_text("\u3164") == ""


def test_joiners_that_spelling_and_emoji_need_stay():
    assert clean_text("می\u200cخواهم " + FAMILY) == "می\u200cخواهم " + FAMILY


@given(text=ANY_TEXT)
def test_cleaning_twice_is_cleaning_once_and_fits_utf_8(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    cleaned.encode("utf-8")


@pytest.mark.parametrize("text", ["a", "...7", "好", "½", "؟ب"])
def test_letters_and_digits_can_be_spoken(text):
    assert has_speakable(text)
