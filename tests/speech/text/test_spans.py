"""Places in a text before and after a front end has rewritten it."""

from __future__ import annotations

import unicodedata

import pytest

from speech.text.spans import spans_before


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
