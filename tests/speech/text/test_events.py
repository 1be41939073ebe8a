"""Event tags in a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.text.events import EVENT_TAGS, event_tags, tag_spans, with_known_tags, without_tags


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well [laugh] that was fun.", "Well that was fun."),
        ("[sigh] Fine.", "Fine."),
        ("Stop it! [Clear Throat]", "Stop it!"),
        ("Stop it [LAUGH].", "Stop it."),
        ("[laugh] [sigh] Fine.", "Fine."),
        ("one[cough]two", "onetwo"),
        ("[laugh][sigh] [gasp]", ""),
        ("line\n[laugh]\nline", "line\n\nline"),
        ("Well [clear  throat] go on.", "Well go on."),
        ("Well [clear\n\u00a0throat] go on.", "Well go on."),
        ("[yawn] and [ laugh ] are none", "[yawn] and [ laugh ] are none"),
    ],
)
def test_tags_go_with_the_space_before_them(text, expected):
    assert without_tags(text) == expected


def test_tags_are_listed_once_in_small_letters():
    assert event_tags("[Laugh] a [sigh] b [laugh]") == ["[laugh]", "[sigh]"]
    assert event_tags("[Clear\u00a0 Throat] [clear throat]") == ["[clear throat]"]
    assert with_known_tags("A [LAUGH] b [Yawn]") == "A [laugh] b [Yawn]"


def test_there_are_nineteen():
    assert len(set(EVENT_TAGS)) == 19


@given(st.text("ab []\n") | st.lists(st.sampled_from([*EVENT_TAGS, " ", "a", "[", "]"])).map("".join))
def test_what_is_no_tag_stays(text):
    left = without_tags(text)
    if not event_tags(text):
        assert left == text
    else:
        assert not set(left.replace(" ", "")) - set(text)


def test_what_only_becomes_a_tag_by_leaving_one_out_is_a_word():
    assert event_tags(without_tags("Hi [la[laugh]ugh] x")) == []
    nested = "[lau" * 20_000 + "[laugh]" + "gh]" * 20_000
    assert event_tags(without_tags(nested)) == []


def test_spaces_without_a_tag_take_linear_time():
    text = "Hi [laugh] x" + " " * 200_000 + "y"  # minutes, were each space looked at from each before it
    assert tag_spans(text) == [(2, 10)]
