import pytest

from speech.text.clean import clean_text
from speech.text.sentences import sentence_ends
from tests.speech.text.language_sentences import SENTENCES
from tests.speech.text.sentence_cases import CASES, CASES_BY_LANGUAGE


def marked(text, language=None):
    ends = set(sentence_ends(text, language))
    return "".join("|" * (index in ends) + char for index, char in enumerate(text))


@pytest.mark.parametrize("case", CASES)
def test_sentences_end_where_a_reader_pauses(case):
    assert marked(case.replace("|", "")) == case


@pytest.mark.parametrize("case", CASES)
def test_company_changes_no_sentence(case):
    text = "The day was long. " + case.replace("|", "") + " The night was short."
    assert marked(text) == "The day was long.| " + case + "| The night was short."


@pytest.mark.parametrize(("language", "case"), CASES_BY_LANGUAGE)
def test_a_language_has_its_own_abbreviations_and_marks(language, case):
    assert marked(case.replace("|", ""), language) == case


@pytest.mark.parametrize("language", SENTENCES)
def test_a_paragraph_is_cut_between_its_sentences(language):
    space = "" if language in ("ja", "zh") else " "
    sentences = [clean_text(sentence) for sentence in SENTENCES[language]]
    assert marked(space.join(sentences), language) == f"|{space}".join(sentences)


def test_the_rules_of_english_do_not_depend_on_whether_it_is_named():
    for case in CASES:
        text = case.replace("|", "")
        if text.isascii():
            assert marked(text, "en") == marked(text)


def test_ends_are_in_order_and_never_the_end_of_the_text():
    assert list(sentence_ends("One. Two! Three?")) == [4, 9]
    assert list(sentence_ends("")) == []
