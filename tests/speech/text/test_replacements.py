"""Written and spoken texts, and how positions of one are found in the other."""

from hypothesis import given
from hypothesis import strategies as st

from speech.text.replacements import Replacement, SpokenText, without_overlaps


def test_a_text_is_spoken_with_its_replacements() -> None:
    spoken = SpokenText(
        "In 1998, 5 km.", (Replacement(3, 7, "nineteen ninety-eight"), Replacement(9, 10, "five"))
    )
    assert spoken.text == "In nineteen ninety-eight, five km."


def test_positions_inside_a_replacement_are_those_of_its_ends() -> None:
    spoken = SpokenText("In 1998, go.", (Replacement(3, 7, "nineteen ninety-eight"),))
    inside = spoken.text.index("ninety")
    assert (spoken.written_start(inside), spoken.written_end(inside)) == (3, 7)
    comma = spoken.text.index(",")
    assert (spoken.written_start(comma), spoken.written_end(comma)) == (7, 7)
    assert spoken.written_end(comma + 1) == 8


@given(st.text("ab 1", max_size=30), st.data())
def test_every_unchanged_character_is_found_where_it_was(written: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8, unique=True)))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    replacements = [Replacement(start, end, data.draw(st.text("xyz", max_size=5))) for start, end in pairs]
    spoken = SpokenText(written, replacements)
    for index, char in enumerate(spoken.text):
        start, end = spoken.written_start(index), spoken.written_end(index + 1)
        if char in "xyz":
            assert any(
                (each.start, each.end) == (start, end) and char in each.spoken for each in replacements
            )
        else:
            assert written[start:end] == char


def test_replacements_inside_a_range_are_found() -> None:
    one, two = Replacement(0, 2, "a"), Replacement(5, 6, "b")
    spoken = SpokenText("0123456789", (one, two))
    assert spoken.within(2, 5) == []
    assert spoken.within(1, 6) == [one, two]
    assert spoken.within(5, 9) == [two]


def test_what_overlaps_a_fixed_replacement_is_left_out() -> None:
    fixed = [Replacement(4, 6, "x")]
    others = [
        Replacement(5, 8, "over"),
        Replacement(0, 2, "a"),
        Replacement(1, 3, "twice"),
        Replacement(6, 7, "b"),
    ]
    assert without_overlaps(others, fixed) == [Replacement(0, 2, "a"), *fixed, Replacement(6, 7, "b")]
