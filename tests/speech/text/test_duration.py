import pytest
from hypothesis import given

from speech.text import estimate_duration_s, max_speech_tokens, split_text
from tests.speech.text.language_sentences import SENTENCES
from tests.speech.text.texts import ANY_TEXT

# Audiobooks are read at 150 to 160 words a minute, news faster; 100 is a slow orator, 75 a dictation.
PANGRAM = "The quick brown fox jumps over the lazy dog and sleeps in the warm sun all day."


@pytest.mark.parametrize("words_per_minute", [130, 150, 180])
def test_the_estimate_is_near_that_of_an_ordinary_reader(words_per_minute):
    reading_s = len(PANGRAM.split()) * 60 / words_per_minute
    assert estimate_duration_s(PANGRAM) == pytest.approx(reading_s, rel=0.35)


@pytest.mark.parametrize("words_per_minute", [75, 100, 150])
def test_the_cap_lets_a_slow_reader_finish(words_per_minute):
    reading_s = len(PANGRAM.split()) * 60 / words_per_minute
    assert max_speech_tokens(PANGRAM) > 25 * reading_s


@pytest.mark.parametrize(
    ("text", "slow_reading_s"),
    [
        ("Hi.", 2.5),
        ("Nooooo!", 4.0),
        ("1999", 3.5),  # nineteen ninety-nine
        ("1,234,567", 8.0),  # one million two hundred thirty-four thousand five hundred sixty-seven
        ("Call 555-0123 now.", 7.0),
        ("The FBI, the CIA and NASA.", 7.0),
        ("WWW", 4.0),
        ("你好，世界。", 3.5),
        ("To be, or not to be, that is the question.", 6.0),
        ("Four score and seven years ago our fathers brought forth a new nation.", 11.0),
    ],
)
def test_the_cap_is_above_slow_readings(text, slow_reading_s):
    assert max_speech_tokens(text) > 25 * slow_reading_s


def test_a_runaway_on_a_short_text_is_caught_long_before_upstreams_limit():
    assert max_speech_tokens("Yes.") <= 100
    assert max_speech_tokens(PANGRAM) < 500


@given(text=ANY_TEXT)
def test_the_cap_never_exceeds_upstreams(text):
    assert 75 <= max_speech_tokens(text) <= 1000


def test_every_chunk_of_a_page_can_be_read_twice_as_slowly():
    for chunk in split_text((PANGRAM + " In 1984 the U.S. paid $1,234.56. ") * 40):
        assert max_speech_tokens(chunk.text) >= min(1000, 25 * 2 * estimate_duration_s(chunk.text))
        assert 2 * estimate_duration_s(chunk.text) < 40


# Letters a minute read aloud, the source as in ``speech.text.duration``.
READ_ALOUD = {
    "ar": 612, "de": 920, "el": 1049, "en": 987, "es": 1025, "fi": 1078, "fr": 998, "he": 833, "it": 950,
    "ja": 357, "nl": 978, "pl": 916, "pt": 913, "ru": 986, "sv": 917, "tr": 1054, "zh": 255,
}  # fmt: skip


@pytest.mark.parametrize("language", READ_ALOUD)
def test_languages_take_as_long_as_readers_take_beside_english(language):
    def read_s(language):
        return sum(map(str.isalpha, "".join(SENTENCES[language]))) * 60 / READ_ALOUD[language]

    estimates_s = {each: estimate_duration_s(" ".join(SENTENCES[each]), each) for each in (language, "en")}
    assert estimates_s[language] / estimates_s["en"] == pytest.approx(
        read_s(language) / read_s("en"), rel=0.08
    )


def test_a_language_whose_pace_is_not_known_is_read_as_fast_as_english():
    for language in (None, "en", "sw", "eo"):
        assert estimate_duration_s(PANGRAM, language) == estimate_duration_s(PANGRAM)
        assert max_speech_tokens(PANGRAM, language) == max_speech_tokens(PANGRAM)


def test_a_slow_language_has_shorter_chunks_and_more_time_for_each():
    text = "slowo " * 300
    assert len(split_text(text, language="pl")[0].text) < len(split_text(text, language="en")[0].text)
    assert max_speech_tokens(PANGRAM, "pl") > max_speech_tokens(PANGRAM, "en")


@pytest.mark.parametrize("language", SENTENCES)
def test_a_full_chunk_takes_about_19_seconds_in_each_language(language):
    chunks = split_text(" ".join(SENTENCES[language] * 3), language=language)
    assert 14 < max(estimate_duration_s(chunk.text, language) for chunk in chunks) < 19
