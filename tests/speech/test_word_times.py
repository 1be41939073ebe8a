"""When words are spoken: by an alignment, and as estimated from sound and from text."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.decode import decode_audio
from benchmarks.word_times import errors_s, hand_alignment
from speech.text.replacements import Replacement, SpokenText
from speech.text.words import words_of
from speech.word_times import estimate_word_times, times_by_weight, times_from_boundaries, word_times
from tests.recordings import silence, speech_like, white_noise

RATE_HZ = 24_000


def check(spans, first_s, last_s):
    assert all(first_s <= start_s < end_s <= last_s + 1e-9 for start_s, end_s in spans)
    assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(spans))


def tone(duration_s):
    return (0.3 * np.sin(np.arange(round(duration_s * RATE_HZ)) * 0.06)).astype(np.float32)


def quiet(duration_s):
    return np.zeros(round(duration_s * RATE_HZ), np.float32)


def estimate(text, *parts):
    return estimate_word_times(words_of(SpokenText(text)), np.concatenate(parts), RATE_HZ)


@pytest.mark.parametrize(
    ("text", "parts", "expected"),
    [
        ("Yes.", (quiet(0.5), tone(0.6), quiet(0.4)), [(0.5, 1.1)]),
        ("One, two.", (quiet(0.2), tone(0.5), quiet(0.5), tone(0.3), quiet(0.1)), [(0.2, 0.7), (1.2, 1.5)]),
        # The pause is where a mark is, though it is nearer to another border.
        ("A word, and more words.", (tone(0.55), quiet(0.4), tone(0.9)), [None, (None, 0.55), (0.95, None)]),
        ("Some even words", (tone(0.9),), [(0.0, None), None, (None, 0.9)]),
    ],
)  # fmt: skip
def test_words_lie_between_pauses(text, parts, expected):
    spans = estimate(text, *parts)
    check(spans, 0.0, sum(map(len, parts)) / RATE_HZ)
    for span, wanted in zip(spans, expected, strict=False):
        for time_s, wanted_s in zip(span, wanted or (), strict=False):
            assert wanted_s is None or time_s == pytest.approx(wanted_s, abs=0.03)


def test_a_border_is_put_where_the_level_dips():
    dip = tone(0.05) * np.float32(0.2)
    (_, end_s), _ = estimate("ready steady", quiet(0.2), tone(0.5), dip, tone(0.4), quiet(0.2))
    assert end_s == pytest.approx(0.725, abs=0.03)


def test_what_is_spoken_counts_and_not_what_is_written():
    spoken = SpokenText("1998 only", (Replacement(0, 4, "nineteen hundred ninety-eight"),))
    (_, end_s), _ = estimate_word_times(words_of(spoken), white_noise(2.0), RATE_HZ)
    assert end_s > 1.3


@pytest.mark.parametrize(
    "samples",
    [silence(1.0), quiet(0.001), quiet(1.0), white_noise(3.0), tone(0.02), np.full(5, 0.5, np.float32)],
    ids=["nearly silent", "a millisecond", "zeros", "noise", "a blip", "five samples"],
)
@pytest.mark.parametrize("text", ["word", "two words", "a b c d e f g h i j " * 30, ""])
def test_odd_sounds_give_times_all_the_same(samples, text):
    words = words_of(SpokenText(text))
    spans = estimate_word_times(words, samples, RATE_HZ)
    assert len(spans) == len(words)
    check(spans, 0.0, len(samples) / RATE_HZ)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "word,", "extraordinarily", "end.", "—", "4"]), min_size=1, max_size=40),
    st.integers(0, 1000),
    st.floats(0.05, 4.0),
)
def test_times_are_in_order_within_the_sound(texts, seed, duration_s):
    words = words_of(SpokenText(" ".join(texts)))
    samples = speech_like(duration_s, seed=seed)
    spans = estimate_word_times(words, samples, RATE_HZ)
    assert len(spans) == len(words)
    check(spans, 0.0, len(samples) / RATE_HZ)


def test_estimates_are_near_a_hand_alignment():
    """docs/subtitles.md has the figures, and those of speech by a person."""
    recording = decode_audio(Path("samples/reference.flac").read_bytes())
    text, spans = hand_alignment()
    errors = errors_s(text, spans, recording)
    assert np.median(errors) < 0.03
    assert np.percentile(errors, 90) < 0.25


def test_aligned_times_are_those_of_letters_with_marks_left_out():
    spoken = SpokenText("In 1998, yes.", (Replacement(3, 7, "ninety-eight"),))
    # "In" and its space to 0.3 s, the number to 1.5, comma and space to 2.0, "yes" to 2.6, the end to 3.0.
    boundaries = [(0, 0.1), (3, 0.4), (15, 1.6), (17, 2.0), (20, 2.6), (21, 3.0)]
    spans = times_from_boundaries(words_of(spoken), boundaries)
    assert spans == [pytest.approx(each) for each in ((0.1, 0.3), (0.4, 1.6), (2.0, 2.6))]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 9)), min_size=1, max_size=12), st.floats(0.05, 1.0)
)
def test_aligned_times_are_in_order_even_where_an_alignment_stands_still(points, tail_s):
    words = words_of(SpokenText("one a b c, d eleven 12 thirteen"))
    indexes, times_s = zip(*points, strict=True)
    boundaries = list(zip(sorted(indexes), sorted(times_s), strict=True))
    boundaries.append((31, boundaries[-1][1] + tail_s))
    check(times_from_boundaries(words, boundaries), boundaries[0][1], boundaries[-1][1])


def test_by_weight_alone_longer_words_are_longer_and_marks_are_pauses():
    words = words_of(SpokenText("a longest, one. b"))
    spans = times_by_weight(words, 10.0, 12.0)
    check(spans, 10.0, 12.0)
    assert (spans[0][0], spans[-1][1]) == (10.0, pytest.approx(12.0))
    (a, longest, one, b) = spans
    assert longest[1] - longest[0] > 2 * (a[1] - a[0])
    assert a[1] == pytest.approx(longest[0])
    assert b[0] - one[1] > one[0] - longest[1] > 0


def test_word_times_are_those_of_the_whole_audio():
    words = words_of(SpokenText("Two words"))
    first, second = word_times(words, [(0.0, 0.5), (0.5, 1.0)], segment=3, offset_s=10.0)
    assert (first.text, first.start_s, first.end_s, first.segment, first.space_after) == (
        "Two",
        10.0,
        10.5,
        3,
        True,
    )
    assert (second.start_s, second.space_after) == (10.5, False)
