"""The words of a text: which there are, what is spoken for each, and that none is lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters import has_speakable
from speech.text.replacements import Replacement, SpokenText, without_overlaps
from speech.text.words import words_of


def spoken_text(written, **spoken):
    """A text in which each of the keys of ``spoken`` is replaced where it first stands."""
    replacements = [
        Replacement(written.index(old), written.index(old) + len(old), new) for old, new in spoken.items()
    ]
    return SpokenText(written, sorted(replacements, key=lambda each: each.start))


def texts(words):
    return [word.text for word in words]


@pytest.mark.parametrize(
    ("written", "replaced", "expected"),
    [
        ("In 1998, she paid $5.", {"1998": "nineteen ninety-eight", "$5": "five dollars"},
         [("In", "In"), ("1998,", "nineteen ninety-eight"), ("she", "she"), ("paid", "paid"),
          ("$5.", "five dollars")]),
        ("On (May 3, 2024) we met.", {"May 3, 2024": "May third, twenty twenty-four"},
         [("On", "On"), ("(May", "May"), ("3, 2024)", "third, twenty twenty-four"), ("we", "we"),
          ("met.", "met")]),
        ("5 km/h now", {"5 km/h": "five kilometres an hour"},
         [("5 km/h", "five kilometres an hour"), ("now", "now")]),
        ("this & that", {"&": "and"}, [("this", "this"), ("&", "and"), ("that", "that")]),
        ("well 😀 done", {"😀": ""}, [("well", "well"), ("done", "done")]),
        ("so <b>bold</b>, yes", {"<b>": "", "</b>": ""}, [("so", "so"), ("bold,", "bold"), ("yes", "yes")]),
        ("see https://a.example/x?y, ok", {"https://a.example/x?y": "a dot example"},
         [("see", "see"), ("https://a.example/x?y,", "a dot example"), ("ok", "ok")]),
    ],
)  # fmt: skip
def test_a_word_is_as_it_is_written_with_what_is_spoken_for_it(written, replaced, expected):
    spoken = spoken_text(written, **replaced)
    words = words_of(spoken)
    assert [(word.text, spoken.text[word.spoken_start : word.spoken_end]) for word in words] == expected


@pytest.mark.parametrize(
    ("language", "written", "expected"),
    [
        ("en", "“Well-known,” it’s (3.5).", ["“Well-known,”", "it’s", "(3.5)."]),
        ("en", "for you — ask", ["for", "you —", "ask"]),
        ("en", "for you—ask...now", ["for", "you—", "ask...", "now"]),
        ("en", "- First item", ["- First", "item"]),
        ("fr", "« Oui » ! Non.", ["« Oui » !", "Non."]),
        ("zh", "他说：“走吧。”她有5个苹果。",
         ["他", "说：", "“走", "吧。”", "她", "有", "5", "个", "苹果。"]),
        ("zh", "苹果（Apple）公司", ["苹果", "（Apple）", "公司"]),
        ("ja", "私は学校に行きます。「はい」", ["私は", "学校に", "行きます。", "「はい」"]),
        (None, "コーヒーを飲む。", ["コーヒーを", "飲む。"]),
        ("th", "เราไป ไหน", ["เรา", "ไป", "ไห", "น"]),
        ("ko", "한국어 문장입니다.", ["한국어", "문장입니다."]),
        ("ar", "مرحبا، كيف؟", ["مرحبا،", "كيف؟"]),
        ("en", "...", []),
        ("en", "", []),
    ],
)  # fmt: skip
def test_words_of_scripts_with_and_without_spaces(language, written, expected):
    assert texts(words_of(SpokenText(written), language)) == expected


def test_a_range_has_its_own_words_and_positions_in_the_whole_spoken_text():
    spoken = spoken_text(
        "In 1998 he left. In 2001 he came.", **{"1998": "ninety-eight", "2001": "two thousand one"}
    )
    second = words_of(spoken, start=17)
    assert texts(second) == ["In", "2001", "he", "came."]
    assert spoken.text[second[1].spoken_start : second[1].spoken_end] == "two thousand one"


ALPHABET = "ab1.,-—“” 他苹果。、「かなカナกำ한"


@given(st.text(ALPHABET, max_size=40), st.data(), st.sampled_from([None, "en", "zh", "ja", "th"]))
def test_no_letter_is_lost_and_words_are_in_order(written, data, language):
    cuts = st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["", "x", "x y", "x, y."]))
    drawn = [
        Replacement(min(a, b, len(written)), min(max(a, b), len(written)), spoken)
        for a, b, spoken in data.draw(st.lists(cuts, max_size=4))
    ]
    spoken = SpokenText(written, without_overlaps([each for each in drawn if each.start < each.end]))
    words = words_of(spoken, language)
    at = 0
    for word in words:
        assert at <= word.spoken_start < word.spoken_end
        assert not has_speakable(spoken.text[at : word.spoken_start])
        assert has_speakable(word.spoken)
        at = word.spoken_end
    assert not has_speakable(spoken.text[at:])
    if words:  # all marks are somewhere; what is dropped is not
        kept = [True] * len(written)
        for each in spoken.replacements:
            if not each.spoken:
                kept[each.start : each.end] = [False] * (each.end - each.start)
        shown = "".join(char for char, is_kept in zip(written, kept, strict=True) if is_kept)
        assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", "".join(texts(words)))


@pytest.mark.parametrize("unit", ["a", "— ", "。", "苹果，", "“", "a. ", "ก", "かな漢字", "--", "한 "])
def test_long_texts_are_no_trouble(unit):
    words = words_of(SpokenText("a " + unit * 20_000 + "a"))
    assert texts(words)[-1].endswith("a")
