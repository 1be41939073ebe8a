import pytest
from hypothesis import given

from speech.text.clean import clean_text
from speech.text.paragraphs import MAX_MUTE_CHARS, paragraphs
from tests.speech.text.language_sentences import SENTENCES
from tests.speech.text.paragraph_cases import CASES
from tests.speech.text.texts import ANY_TEXT


def marked(text):
    (paragraph,) = paragraphs(text)
    ends = set(paragraph.line_ends)
    return "".join("|" * (index in ends) + char for index, char in enumerate(paragraph.text))


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_lines_are_joined_with_the_pauses_of_a_reader(text, expected):
    assert marked(text) == expected


@pytest.mark.parametrize("language", SENTENCES)
def test_prose_is_the_same_wherever_its_lines_are_wrapped(language):
    has_spaces = language not in ("ja", "zh")
    prose = (" " if has_spaces else "").join(clean_text(sentence) for sentence in SENTENCES[language])
    for width in (65, 72, 80):
        assert marked("\n".join(wrapped(prose, width, has_spaces=has_spaces))) == prose


def wrapped(prose, width, *, has_spaces):
    if not has_spaces:  # a wide character takes two columns
        return [prose[start : start + width // 2] for start in range(0, len(prose), width // 2)]
    lines = [""]
    for word in prose.split(" "):
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


@given(text=ANY_TEXT)
def test_no_letter_is_lost_and_white_space_is_single_spaces(text):
    found = list(paragraphs(text))
    for paragraph in found:
        assert paragraph.text == " ".join(paragraph.text.split())
        assert all(0 < end < len(paragraph.text) for end in paragraph.line_ends)
        assert list(paragraph.line_ends) == sorted(set(paragraph.line_ends))
    joined = "".join(paragraph.text for paragraph in found)
    assert "".join(filter(str.isalnum, joined)) == "".join(filter(str.isalnum, clean_text(text)))


def test_a_line_without_letters_ends_a_stanza():
    assert [paragraph.text for paragraph in paragraphs("a rose\n\na thorn\n***\na leaf")] == [
        "a rose",
        "a thorn",
        "a leaf",
    ]


def test_a_row_of_marks_over_a_line_end_is_shortened_and_welds_no_words():
    (paragraph,) = paragraphs("a" + "!" * MAX_MUTE_CHARS + "\n" + "!" * MAX_MUTE_CHARS + "b")
    assert len(paragraph.text) <= 2 + MAX_MUTE_CHARS
    assert paragraph.text.endswith(" b")
