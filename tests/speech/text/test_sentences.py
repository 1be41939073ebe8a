import pytest

from speech.text.sentences import sentence_ends
from tests.speech.text.sentence_cases import CASES


def marked(text):
    ends = set(sentence_ends(text))
    return "".join("|" * (index in ends) + char for index, char in enumerate(text))


@pytest.mark.parametrize("case", CASES)
def test_sentences_end_where_a_reader_pauses(case):
    assert marked(case.replace("|", "")) == case


@pytest.mark.parametrize("case", CASES)
def test_company_changes_no_sentence(case):
    text = "The day was long. " + case.replace("|", "") + " The night was short."
    assert marked(text) == "The day was long.| " + case + "| The night was short."


def test_ends_are_in_order_and_never_the_end_of_the_text():
    assert list(sentence_ends("One. Two! Three?")) == [4, 9]
    assert list(sentence_ends("")) == []
