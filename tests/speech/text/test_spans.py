"""Where in a text its chunks come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.text import clean_text, split_text
from speech.text.spans import chunk_spans


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
