"""The characters of a chunk that each text token stands for, by each text front end."""

from __future__ import annotations

import pytest

TEXTS = ["Well, it’s “fine”; and  the boats—nine of them—lay still…", "Yes.", "no", "A 7½ [laugh] 🙂 ok"]


def spans_of(model, text: str, language: str) -> list[str]:
    """What each token stands for; checked that there is one for each and that they are in order."""
    spans = model.tokenizer.spans(text, language)
    assert len(spans) == len(model.tokenizer.encode(text, language))
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize("text", TEXTS)
def test_english_and_turbos_tokens_cover_the_letters(our_model, turbo, text):
    for model in (our_model, turbo):
        covered = "".join(spans_of(model, text, "en"))
        assert [char for char in covered if char.isalpha()] == [char for char in text if char.isalpha()]


def test_a_letter_is_the_place_of_its_token(our_model):
    assert spans_of(our_model, "no it’s", "en")[:7] == list("no it’s")


def test_byte_pairs_and_tags_are_whole(turbo):
    assert spans_of(turbo, "Oh the [laugh] in", "en")[:5] == ["O", "h", " the", " ", "[laugh]"]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The weather, it’s fine"),
        ("fr", "Où êtes-vous ? À l’école."),
        ("ko", "아침에 우리는 항구에 갔습니다."),
        ("hi", "सुबह हम बंदरगाह गए"),
        ("ar", "في الصباح ذهبنا"),
    ],
)
def test_multilingual_tokens_cover_the_letters(multilingual, language, text):
    tag, *spans = spans_of(multilingual, text, language)
    assert tag == ""
    covered = "".join(dict.fromkeys(char for span in spans for char in span))
    assert set(covered) >= {char for char in text if char.isalpha()}


def test_cangjie_codes_are_interpolated_between_marks(multilingual):
    text = "早上，我们走"
    _, *spans = spans_of(multilingual, text, "zh")
    assert "，" in spans
    before = spans[: spans.index("，")]
    assert set("".join(before)) <= set("早上")
