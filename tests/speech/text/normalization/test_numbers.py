"""Number words against a library that does not make them: CLDR's rules against num2words, and the other way.

``num2words`` lacks Greek, Hindi, Malay, Swahili and Chinese: for these ``num2words2`` is asked, where it is
installed. Where two sources disagree, ``disagreements.tsv`` says which one is followed, and why.
"""

import re

import pytest
from num2words import num2words
from unicode_rbnf import RbnfEngine

from speech.text.normalization import numbers
from speech.text.normalization.languages import LANGUAGES
from tests.speech.text.normalization.cases import CASES, DISAGREEMENTS

NUMBERS = (
    0, 1, 2, 7, 10, 11, 12, 16, 19, 20, 21, 22, 30, 45, 71, 80, 90, 99, 100, 101, 110, 111, 200, 345, 999,
    1000, 1001, 1100, 1998, 2000, 2024, 10_000, 12_345, 100_000, 123_456, 1_000_000, 1_234_567, 2_000_000,
    10**9, 10**12,
)  # fmt: skip
WITHOUT_NUM2WORDS = ("el", "hi", "ms", "sw", "zh")
ORDINALS = ("da", "de", "en", "es", "fi", "fr", "it", "ko", "nl", "no", "pt", "ru", "sv", "tr")


def other_source(value: int, language: str) -> str:
    """The number in words from the library that does not make it."""
    if language == "ar":
        return "".join(RbnfEngine.for_language("ar").iter_format_number(value, "spellout-numbering"))
    if language in WITHOUT_NUM2WORDS:
        library = pytest.importorskip("num2words2")
        return library.num2words(value, lang=language)
    return num2words(value, lang="pt_BR" if language == "pt" else language)


def listed(language: str, *, ordinal: bool) -> dict[str, tuple[str, str]]:
    """The disagreements of a language by the number; an ordinal has a full stop."""
    return {
        each.number: (each.ours, each.other)
        for each in DISAGREEMENTS
        if each.language == language and each.number.endswith(".") == ordinal
    }


def letters(words: str) -> str:
    """Words without what their parts are joined with, which is a matter of style."""
    return re.sub(r"[\s,-]", "", words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_cardinals_agree_with_another_source_or_the_difference_is_listed(language):
    in_cases = {
        int(case.written)
        for case in CASES
        if case.language == language
        and case.kind == "cardinal"
        and case.written.isdecimal()
        and case.written.isascii()
    }
    found = {}
    for value in sorted({*NUMBERS, *in_cases}):
        ours, other = numbers.cardinal(value, language), other_source(value, language)
        if letters(ours) != letters(other):
            found[str(value)] = (ours, other)
    assert found == listed(language, ordinal=False)


def test_every_disagreement_says_why():
    assert all(each.why for each in DISAGREEMENTS)


@pytest.mark.parametrize("language", ORDINALS)
def test_ordinals_agree_with_num2words_or_the_difference_is_listed(language):
    found = {}
    for value in range(1, 32):  # those of a date
        ours, other = numbers.ordinal(value, language), num2words(value, lang=language, to="ordinal")
        if letters(ours) != letters(other):
            found[f"{value}."] = (ours, other)
    assert found == listed(language, ordinal=True)


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"ar", "nl"}))
def test_words_are_those_of_clear_rules_whatever_was_said_before(language):
    """The package changes a rule while it applies it: the words must not depend on it."""
    for value in (21, 101, 345, 2024, 123_456):
        numbers.cardinal.cache_clear()
        first = numbers.cardinal(value, language)
        numbers.cardinal.cache_clear()
        assert numbers.cardinal(value, language) == first


@pytest.mark.parametrize("language", LANGUAGES)
def test_largest_number_has_words(language):
    assert numbers.cardinal(numbers.LARGEST, language)
    assert numbers.cardinal(numbers.LARGEST - 1, language)
