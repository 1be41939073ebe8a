"""Places in a text, once it is cut into chunks and once a front end has rewritten it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.text import clean_text, split_text
from speech.text.spans import chunk_spans, spans_before


@pytest.mark.parametrize(
    ("text", "chunks", "expected"),
    [
        ("One.  Two!", ["One.", "Two!"], ["One.", "Two!"]),
        (
            'He said so. "Go," she said.',
            ["He said so.", '"Go," she said.'],
            ["He said so.", '"Go," she said.'],
        ),
        ("他说。“走吧。”", ["他说。", "“走吧。”"], ["他说。", "“走吧。”"]),
        ("# Title\n\n- one", ["Title.", "one"], ["Title", "one"]),
        ("Wait ... what", ["Wait ...", "what"], ["Wait ...", "what"]),
    ],
)
def test_each_chunk_is_found_with_its_marks(text: str, chunks: list[str], expected: list[str]) -> None:
    assert [text[start:end] for start, end in chunk_spans(text, chunks)] == expected


@given(st.text(alphabet='abé1一 .,!?"“”-\n#', max_size=400))
def test_spans_are_in_order_and_hold_the_letters_of_their_chunks(text: str) -> None:
    text = clean_text(text)
    chunks = [chunk.text for chunk in split_text(text, 100)]
    spans = chunk_spans(text, chunks)
    position = 0
    for chunk, (start, end) in zip(chunks, spans, strict=True):
        assert position <= start < end
        assert not any(map(str.isalnum, text[position:start]))
        assert list(filter(str.isalnum, text[start:end])) == list(filter(str.isalnum, chunk))
        position = end
    assert not any(map(str.isalnum, text[position:]))


def each(rewritten: str) -> list[tuple[int, int]]:
    return [(index, index + 1) for index in range(len(rewritten))]


def test_letters_that_stay_keep_their_places():
    written, rewritten = "well,  it’s “fine”", 'Well, it\'s "fine".'
    spans = spans_before(written, rewritten, each(rewritten))
    for (start, end), char in zip(spans, rewritten, strict=True):
        if char.isalpha():
            assert written[start:end].lower() == char.lower()
    assert spans[-1][1] == len(written)


@pytest.mark.parametrize("written", ["Füße und Äpfel", "아침에 우리는", "Ελλάδα, ναι"])
def test_composed_characters_are_the_place_of_their_parts(written):
    rewritten = unicodedata.normalize("NFKD", written.lower())
    spans = spans_before(written, rewritten, each(rewritten))
    expected = [
        place for place, char in enumerate(written) for _ in unicodedata.normalize("NFKD", char.lower())
    ]
    assert [start for start, _ in spans] == expected


def test_what_is_rewritten_is_interpolated_between_what_stays():
    written, rewritten = "你好，世界。", "abcdefgh，ijklmnop。"
    spans = spans_before(written, rewritten, each(rewritten))
    starts = [start for start, _ in spans]
    assert starts == sorted(starts)
    assert starts[:8] == [0] * 4 + [1] * 4
    assert spans[8] == (2, 3)
    assert starts[9:17] == [3] * 4 + [4] * 4


@pytest.mark.parametrize(("written", "rewritten"), [("", ""), ("", "abc"), ("abc", ""), ("ab", "xyz")])
def test_any_texts_will_do(written, rewritten):
    for start, end in spans_before(written, rewritten, each(rewritten)):
        assert 0 <= start <= end <= len(written)
