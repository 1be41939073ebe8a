import unicodedata
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speech.text.pronunciations import Pronunciation, find_pronunciations
from speech.text.replacements import Replacement, SpokenText, without_overlaps


def spoken(text, *levels, fixed=()):
    """The text with what is said, in brackets, in place of what is found."""
    marked = [[replace(entry, say=f"<{entry.say}>") for entry in level] for level in levels]
    return SpokenText(text, find_pronunciations(text, marked, fixed)).text


def entry(text, say="x", **options):
    return Pronunciation(text, say, **options)


def part(text, say="x", **options):
    return Pronunciation(text, say, whole_word=False, **options)


NAMES = [entry("Nguyen", "win"), entry("Siobhan", "shivawn")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Nguyen met Siobhan.", "<win> met <shivawn>."),
        ("NGUYEN, nguyen", "<win>, <win>"),
        ("Nguyen's and ‘Nguyen’", "<win>'s and ‘<win>’"),
        ("Nguyens, aNguyen, Nguyen_1, Nguyen2", "Nguyens, aNguyen, Nguyen_1, Nguyen2"),
        ("Nguyen-Siobhan", "<win>-<shivawn>"),
        ("", ""),
    ],
)
def test_names_are_found_as_whole_words_in_any_case(text, wanted):
    assert spoken(text, NAMES) == wanted


@pytest.mark.parametrize(
    ("text", "entries", "wanted"),
    [
        ("us and US", [entry("US", "you ess", case_sensitive=True)], "us and <you ess>"),
        ("Ärger ÄRGER", [entry("ärger")], "<x> <x>"),
        ("ΣΊΣΥΦΟΣ Σίσυφος", [entry("σίσυφος")], "<x> <x>"),
        ("Straße STRASSE", [entry("strasse")], "Straße <x>"),  # simple folding
        ("STRAẞE", [entry("straße")], "<x>"),
        ("vitamins, amine", [part("amin")], "vit<x>s, <x>e"),
        ("New York, NEW\nYORK, new\u00a0york", [entry("New York")], "<x>, <x>, <x>"),
        ("O’Brien O'Brien", [entry("O'Brien")], "<x> <x>"),
        ("a e\u2011mail", [entry("e-mail")], "a <x>"),
    ],
)
def test_case_and_kinds_of_spaces_make_no_difference_unless_asked_for(text, entries, wanted):
    assert spoken(text, entries) == wanted


@pytest.mark.parametrize(
    ("text", "entries", "wanted"),
    [
        ("C, C++ and C++11", [entry("C++", "see plus plus")], "C, <see plus plus> and <see plus plus>11"),
        ("ObjC++", [entry("C++")], "ObjC++"),
        ("ASP.NET on .NET, .networks", [entry(".NET", "dot net")], "ASP<dot net> on <dot net>, .networks"),
        ("@home @homes", [entry("@home", "at home")], "<at home> @homes"),
        ("24, 3.24, 1,024 24.5 24. x24", [entry("24")], "<x>, 3.24, 1,024 24.5 <x>. x24"),
    ],
)
def test_an_edge_that_is_no_letter_may_stand_beside_anything(text, entries, wanted):
    assert spoken(text, entries) == wanted


@pytest.mark.parametrize(
    ("text", "word", "wanted"),
    [
        ("我在重庆工作", "重庆", "我在<x>工作"),
        ("東京タワーへ", "タワー", "東京<x>へ"),
        ("ฉันรักกรุงเทพมาก", "กรุงเทพ", "ฉันรัก<x>มาก"),
        ("使用AI技术, AIX", "AI", "使用<x>技术, AIX"),
        ("서울 서울에서", "서울", "<x> 서울에서"),  # Korean has spaces
        ("हिन्दी हिन्दीx", "हिन्दी", "<x> हिन्दीx"),
    ],
)
def test_scripts_without_spaces_have_no_edges_of_words(text, word, wanted):
    assert spoken(text, [entry(word)]) == wanted


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written_form", ["NFC", "NFD"])
def test_unicode_forms_are_compared_alike_and_places_are_those_of_the_text(form, written_form):
    text = unicodedata.normalize(written_form, "Un café, 각하 é.")
    levels = [[entry(unicodedata.normalize(form, word)) for word in ("café", "각하")]]
    found = find_pronunciations(text, levels)
    words = [unicodedata.normalize("NFC", text[each.start : each.end]) for each in found]
    assert words == ["café", "각하"]


def test_an_entry_never_ends_before_an_accent():
    assert spoken("caf\u0301e caq\u0301", [part("caf"), part("caq")]) == "caf\u0301e caq\u0301"


def test_the_longest_entry_of_all_levels_counts_then_the_earlier_level():
    job, voice, store = [entry("New", "job")], [entry("New York", "voice")], [entry("New York City", "store")]
    assert spoken("New York City, New York, New", job, voice, store) == "<store>, <voice>, <job>"
    same = [[entry("york", say)] for say in ("job", "voice", "store")]
    assert spoken("York", *same) == "<job>"
    assert spoken("York", *same[1:]) == "<voice>"
    assert spoken("YORK york", [entry("york", "any"), entry("YORK", "exact", case_sensitive=True)]) == (
        "<exact> <any>"
    )
    assert spoken("YORK", [entry("york", "any")], [entry("YORK", "exact", case_sensitive=True)]) == "<any>"


def test_the_search_goes_on_behind_what_was_found():
    assert spoken("aaaa", [part("aa")]) == "<x><x>"
    assert spoken("New York Times", [entry("New York"), entry("York Times")]) == "<x> Times"
    assert spoken("foobar", [part("foo"), entry("bar")]) == "<x>bar"
    assert spoken("catalogue cat", [entry("cat", "word"), part("cata", "part")]) == "<part>logue <word>"


def test_nothing_is_found_over_a_fixed_span_and_what_is_beside_it_is():
    text = "New York City"
    fixed = [Replacement(9, 13, "town")]
    entries = [entry("New York City", "long"), entry("New York", "short"), entry("City", "city")]
    found = find_pronunciations(text, [entries], fixed)
    assert found == [Replacement(0, 8, "short")]
    assert SpokenText(text, without_overlaps(found, fixed)).text == "short town"
    assert find_pronunciations("ab", [[part("ab")]], [Replacement(1, 1, "-")]) == []
    assert find_pronunciations("e\u0301 foo", [[entry("foo")]], [Replacement(0, 2, "")]) == [
        Replacement(3, 6, "x")
    ]


def test_blank_entries_find_nothing():
    assert find_pronunciations("a b \ufffc", [[entry(""), entry(" "), entry("\ufffc")]]) == []
    assert find_pronunciations("a b", []) == []


letters = st.text(alphabet="abAB1.'e\u0301é각 -ก我", max_size=12)
entries_of_words = st.lists(
    st.builds(
        Pronunciation,
        st.text(alphabet="abA1.'e\u0301é我 ", min_size=1, max_size=4),
        st.just("x"),
        case_sensitive=st.booleans(),
        whole_word=st.booleans(),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(
    text=letters,
    levels=st.lists(entries_of_words, max_size=3),
    cut=st.tuples(st.integers(0, 12), st.integers(0, 3)),
)
@example(text="e\u0301", levels=[[Pronunciation("e", "x", whole_word=False)]], cut=(0, 0))
def test_places_are_in_order_and_hold_an_entry(text, levels, cut):
    start = min(cut[0], len(text))
    fixed = [Replacement(start, min(start + cut[1], len(text)), "f")]
    found = find_pronunciations(text, levels, fixed)
    ends = [0, *(each.end for each in found)]
    assert all(end <= each.start < each.end for end, each in zip(ends, found, strict=False))
    assert not any(each.start < fixed[0].end and fixed[0].start < each.end for each in found)
    folded = {unicodedata.normalize("NFC", each.text).casefold() for level in levels for each in level}
    for each in found:
        assert unicodedata.normalize("NFC", text[each.start : each.end]).casefold() in folded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", ["a" * length + f"b{number}" for length in range(90, 95) for number in range(100)]),
        ("a", ["a" * length for length in range(2, 100)]),
        ("-", ["-" * length + "a" for length in range(1, 100)]),
        ("e\u0301", ["é" * length + "b" for length in range(1, 99)]),
        ("\u0301", ["é"]),
    ],
)
@pytest.mark.parametrize("whole_word", [True, False])
def test_long_texts_that_are_nearly_found_come_to_an_end(text, words, whole_word):
    """In quadratic time this would take minutes."""
    levels = [[Pronunciation(word, "x", whole_word=whole_word) for word in words]] * 3
    found = find_pronunciations(text * 100_000, levels)
    assert all(len(each.spoken) == 1 for each in found)
