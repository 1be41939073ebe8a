"""What holds for any text: nothing outside the spans changes, twice equals once, nothing is quadratic."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cancel import CancelToken
from errors import Cancelled
from speech.text.normalization import cldr, normalize, numbers, reading, say_as
from speech.text.normalization.languages import LANGUAGES, language_of
from speech.text.normalization.reading import Reader
from speech.text.normalization.scan import pattern_of
from speech.text.replacements import Replacement

PIECES = [
    "1998", "5", "21", "007", "1,234.5", "1.234,5", "10 000", "3.11.2", "½", "²", "③", "٣", "५",
    "５", "〇", "五", "Ⅷ", "$", "€", "kr", "zł", "USD", "₹", "¥", "%", "‰", "°C", "km", "km/h", "h",
    "Uhr", "pm", ":", "10:30", "2024-05-03", "May 3, 2024", "3. Mai", "3 мая", "года", "г.", "1/2",
    "24/7", "+1 555 123", "–", "-", "−", "+", "=", "<", ">", "&", "&amp;", "&#49;", "@", "#", "№",
    "**", "*", "_", "`", "```", "~", "|", "\\", "[a](b.c)", "<b>", "</b>", "<!-- 5 -->",
    "http://a.b/c?1", "www.x1.de", "jo@a1.com", "r.mp3", "😀", "❤️", "1️⃣", "🇩🇪", "[laugh]",
    "[sigh]", "e.g.", "etc.", "z. B.", "и т. д.", "Dr. ", "st", "nd", "º", "er", "s", "'", "’", '"',
    "(", ")", ".", ",", "!", " ", "  ", "\n", "\t", "\xa0", "a", "Z", "Ж", "ä", "年", "月", "개",
    "ke-", "B", "million", "Mio.", "ق", "ו",
]  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
CODES = st.sampled_from(sorted(LANGUAGES))


@given(TEXTS, CODES)
@settings(max_examples=400, deadline=None)
def test_text_outside_the_replacements_is_unchanged_and_each_span_is_replaced_once(text, language):
    result = normalize(text, language)
    assert result.written == text
    rebuilt, position = [], 0
    for each in result.replacements:
        assert position <= each.start < each.end <= len(text)
        assert text[each.start : each.end] != each.spoken
        rebuilt += [text[position : each.start], each.spoken]
        position = each.end
    assert result.text == "".join([*rebuilt, text[position:]])


@given(TEXTS, CODES)
@settings(max_examples=400, deadline=None)
def test_twice_equals_once(text, language):
    once = normalize(text, language).text
    again = normalize(once, language)
    assert again.text == once


@given(TEXTS, CODES)
@settings(max_examples=300, deadline=None)
def test_digits_remain_only_where_a_warning_names_them(text, language):
    result = normalize(text, language)
    if re.search(r"\d", result.text):
        assert result.warnings


@given(TEXTS, CODES, st.data())
@settings(max_examples=200, deadline=None)
def test_earlier_replacements_stay_as_they_are(text, language, data):
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    fixed = Replacement(start, end, data.draw(st.sampled_from(["win", "5 km", "", "$5", "1"])))
    result = normalize(text, language, [fixed])
    assert fixed in result.replacements
    assert all(each == fixed or each.end <= start or each.start >= end for each in result.replacements)


@given(
    st.sampled_from(["characters", "cardinal", "ordinal", "date", "time", "telephone", "currency", "x"]),
    TEXTS,
    CODES,
)
@settings(max_examples=300, deadline=None)
def test_say_as_returns_words_or_none(interpret_as, text, language):
    spoken = say_as(interpret_as, text, language)
    assert spoken is None or (spoken and not re.search(r"\d", spoken))


@pytest.mark.parametrize("language", LANGUAGES)
def test_prose_without_signs_is_left_alone(language):
    text = "Harbour 'quiet', \"still\" — and (so) on… well; no? Yes!\n\nNew paragraph: fine."
    assert normalize(text, language).replacements == ()


def test_event_tags_stay():
    text = "Well [laugh] then [clear throat] 5 [SIGH]"
    assert normalize(text, "en").text == "Well [laugh] then [clear throat] five [SIGH]"


def test_language_without_rules_is_a_warning():
    result = normalize("5 xx", "xx")
    assert result.text == "5 xx"
    assert "xx" in result.warnings[0]


def test_warnings_are_few():
    result = normalize(" ".join(f"${letter}" for letter in "abcdefghij") + " ₴ ₸ ₼ ₾ ₵ ₲ ₭ ₮ ₠", "en")
    assert len(result.warnings) == 6
    assert "more could not be read" in result.warnings[-1]


def forget() -> None:
    """Empties all caches, so that the packages are asked again."""
    for cached in (
        cldr._locale, cldr.month_names, cldr.months_by_name, cldr.unit_pattern, cldr.full_months, pattern_of,
        reading.reader_of, numbers.cardinal, numbers.ordinal, numbers.year,
    ):  # fmt: skip
        cached.cache_clear()


@pytest.mark.parametrize("module", ["babel", "unicode_rbnf", "num2words"])
def test_missing_package_leaves_things_as_written_with_a_warning(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    forget()
    monkeypatch.setattr(numbers, "_engines", {})
    try:
        for language in ("ar", "en", "pl"):
            result = normalize("5 km, 3. 10:30, $5, 1998", language)
            assert result.warnings or "5" not in result.text
    finally:
        monkeypatch.undo()
        forget()


def test_threads_may_read_at_once():
    texts = [(f"{number} km, ${number}", language) for number in range(40) for language in ("ar", "pl", "en")]
    alone = [normalize(*each).text for each in texts]
    forget()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda each: normalize(*each).text, texts)) == alone


def test_cancelled_between_matches():
    token = CancelToken()
    token.cancel(Cancelled("enough"))
    with pytest.raises(Cancelled):
        normalize("5 " * 1000, "en", cancel=token)


@pytest.mark.parametrize(
    "unit", ["1-", "1.", "$1", "½", "a@", "1/", "[", "<a ", "05 ", "**", "&a", "1998 ", "a.b ", "http://a "]
)
def test_work_grows_with_the_text_and_no_faster(unit, monkeypatch):
    calls = 0
    read = Reader.read

    def counted(self, match, text):
        nonlocal calls
        calls += 1
        return read(self, match, text)

    monkeypatch.setattr(Reader, "read", counted)
    counts = []
    for repeats in (500, 1000, 2000):
        calls = 0
        normalize(unit * repeats, "en")
        counts.append(calls)
    assert counts[2] - counts[1] <= 2 * (counts[1] - counts[0]) + 16


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_repeat_of_the_pattern_can_be_tried_in_more_ways_than_a_bounded_number(language):
    """Every repeat is possessive or bounded, so that a search never goes back over a long text."""
    rules = language_of(language)
    pattern = pattern_of(rules).pattern
    pattern = re.sub(r"\\[pP]\{[^}]*\}|\\.", "a", pattern)
    pattern = re.sub(r"\(\?P<\w+>|\(\?P=\w+\)", "(", pattern)
    pattern = re.sub(r"\[[^\]]*\]", "a", pattern)
    pattern = re.sub(r"(?:[*+?]|\{\d+(?:,\d*)?\})\+", "", pattern)
    assert not re.search(r"[*+]|\{\d+,\}", pattern)
