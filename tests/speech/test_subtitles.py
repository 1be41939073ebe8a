"""Subtitles, read by libraries that are not ours: pysubs2 and webvtt-py."""

import html
from itertools import pairwise

import pysubs2
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from characters import drop_invisible
from speech.subtitles import TimedSegment, subtitles
from speech.text.replacements import SpokenText
from speech.text.words import words_of
from speech.word_times import WordTime, times_by_weight, word_times

PARAGRAPH = (
    "The harbour was quiet when the first boat came home. Someone had left a lamp burning in the window, "
    "and by its light we counted the crates. Would you believe the tide waited for us?"
)


def timed(text, start_s, end_s, **fields):
    words = words_of(SpokenText(text), fields.get("language"))
    return TimedSegment(
        text, start_s, end_s, word_times(words, times_by_weight(words, start_s, end_s), 0), **fields
    )


def read_srt(content):
    """[(start_ms, end_ms, lines)]"""
    events = pysubs2.SSAFile.from_string(content, format_="srt", keep_html_tags=True).events
    return [(event.start, event.end, event.text.split(r"\N")) for event in events]


def read_vtt(content):
    """[(start_ms, end_ms, lines, speaker)]"""
    captions = webvtt.from_string(content).captions

    def ms(clock):
        hours, minutes, seconds = clock.split(":")
        return round(1000 * (3600 * int(hours) + 60 * int(minutes) + float(seconds)))

    return [
        (ms(each.start), ms(each.end), html.unescape(each.text).split("\n"), each.voice) for each in captions
    ]


def cue_texts(cues):
    return [" / ".join(cue[2]) for cue in cues]


def test_cues_end_with_sentences_and_clauses():
    cues = read_srt(subtitles([timed(PARAGRAPH, 0.0, 12.0)], "srt"))
    assert cue_texts(cues) == [
        "The harbour was quiet when / the first boat came home.",
        "Someone had left a lamp / burning in the window,",
        "and by its light we counted the crates. / Would you believe the tide waited for us?",
    ]
    assert (cues[0][0], cues[-1][1]) == (0, 12_000)


def test_an_srt_file_to_the_letter():
    segments = [
        TimedSegment("Good morning.", 0.5, 1.75, speaker="Ann"),
        TimedSegment("Hello.", 2.0, 2.4, speaker="Bo"),
    ]
    assert subtitles(segments, "srt") == (
        "1\n00:00:00,500 --> 00:00:01,750\nAnn: Good morning.\n\n"
        "2\n00:00:02,000 --> 00:00:03,000\nBo: Hello.\n"
    )


def test_a_vtt_file_to_the_letter():
    segments = [
        TimedSegment("A < B & C --> D.", 3600.0, 3602.0, speaker="R&D <x>"),
        TimedSegment("Yes.", 3602.5, 3604.0),
    ]
    assert subtitles(segments, "vtt") == (
        "WEBVTT\n\n01:00:00.000 --> 01:00:02.000\n<v R&amp;D &lt;x&gt;>A &lt; B &amp; C --&gt; D.\n\n"
        "01:00:02.500 --> 01:00:04.000\nYes.\n"
    )


@pytest.mark.parametrize(
    "segments", [[], [TimedSegment("", 0, 1)], [TimedSegment("...", 0, 1), TimedSegment("a", 1, 2, [])]]
)
def test_no_words_give_a_valid_file_without_cues(segments):
    assert read_srt(subtitles(segments, "srt")) == []
    assert read_vtt(subtitles(segments, "vtt")) == []


def test_speakers_are_named_where_they_change():
    turns = [("Ann", "First."), ("Ann", "Second."), ("Bo", "Third."), (None, "Fourth."), ("Ann", "Fifth.")]
    segments = [timed(text, 3.0 * n, 3.0 * n + 1.5, speaker=name) for n, (name, text) in enumerate(turns)]
    assert cue_texts(read_srt(subtitles(segments, "srt"))) == [
        "Ann: First.",
        "Second.",
        "Bo: Third.",
        "Fourth.",
        "Ann: Fifth.",
    ]
    voices = [voice for *_, voice in read_vtt(subtitles(segments, "vtt"))]
    assert voices == ["Ann", "Ann", "Bo", None, "Ann"]


def test_a_long_name_leaves_room_for_words():
    (cue,) = read_srt(
        subtitles([timed("Yes, of course.", 0, 2, speaker="The Right Honourable Lord " * 5)], "srt")
    )
    assert cue[2] == ["The Right Honourable Lord The …:", "Yes, of course."]


@pytest.mark.parametrize(
    ("gap_s", "expected"),
    [(0.2, ["Yes. And then they went home."]), (1.5, ["Yes.", "And then they went home."])],
)
def test_a_short_sentence_joins_its_neighbour_but_not_over_a_pause(gap_s, expected):
    segments = [timed("Yes.", 0.0, 0.4), timed("And then they went home.", 0.4 + gap_s, 3.0 + gap_s)]
    assert cue_texts(read_srt(subtitles(segments, "srt"))) == expected


def test_a_short_cue_stays_until_a_second_is_over_or_somebody_else_speaks():
    long_gap = [timed("Yes.", 0.0, 0.4, speaker="A"), timed("No.", 2.0, 2.3, speaker="B")]
    assert [(start, end) for start, end, _ in read_srt(subtitles(long_gap, "srt"))] == [
        (0, 1000),
        (2000, 3000),
    ]
    no_gap = [timed("Yes.", 0.0, 0.4, speaker="A"), timed("No.", 0.6, 0.9, speaker="B")]
    assert [(start, end) for start, end, _ in read_srt(subtitles(no_gap, "srt"))] == [(0, 600), (600, 1600)]


def test_fast_speech_stays_long_enough_to_be_read():
    text = "Sixty columns of words that are spoken much too fast to read."
    ((start_ms, end_ms, _),) = read_srt(subtitles([timed(text, 0.0, 1.5)], "srt"))
    assert end_ms - start_ms >= 1000 * len(text) / 21 - 50


def test_slow_speech_is_divided_after_seven_seconds():
    cues = read_srt(subtitles([timed("one two three four five six seven eight", 0.0, 30.0)], "srt"))
    assert len(cues) >= 5
    assert all(end - start <= 7000 for start, end, _ in cues)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "zh",
            "他说：“走吧。”她有五个苹果，还有很多很多很多别的东西，要在市场上卖掉，然后回家去做饭，因为孩子们都饿了。",
        ),
        (
            "ja",
            "私は毎日学校に行きますが、今日は休みなので、家でゆっくりコーヒーを飲みながら、新しい本を読んでいます。",
        ),
        ("th", "สวัสดีครับเราไปตลาดกันเถอะวันนี้อากาศดีมากและเราจะซื้อผลไม้หลายอย่าง" * 2),
        ("en", "Donaudampfschifffahrtsgesellschaftskapitän" * 4),
        ("ko", "한국어문장입니다" * 12),
    ],
)
def test_lines_are_as_wide_as_they_may_be(language, text):
    cues = read_vtt(subtitles([timed(text, 0.0, len(text) / 5, language=language)], "vtt"))
    lines = [line for cue in cues for line in cue[2]]
    assert all(wcswidth(line) <= 42 for line in lines)
    assert max(map(wcswidth, lines)) > 20
    assert "".join(lines) == text
    assert not any(line[0] in "，。、：”" for line in lines)


def test_words_of_a_language_without_spaces_are_put_together_without_any():
    parts = [timed("他说走吧。", 0.0, 1.5, language="zh"), timed("她有五个苹果。", 1.6, 3.5, language="zh")]
    assert (
        "".join(line for cue in read_srt(subtitles(parts, "srt")) for line in cue[2])
        == "他说走吧。她有五个苹果。"
    )


def test_what_players_take_for_commands_is_shown_as_it_looks_in_srt():
    (cue,) = read_srt(subtitles([timed(r"<i>a</i> {\an8} b\Nc --> d", 0.0, 3.0)], "srt"))
    assert cue[2] == ["‹i›a‹/i› {⧵an8} b⧵Nc --› d"]


WORD_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.sampled_from(
        [
            "word",
            "Dr.",
            "end.",
            "clause,",
            "苹果，",
            "-->",
            "<b>",
            "&amp;",
            "{\\an8}",
            "x" * 100,
            "5",
            "3, 2024",
        ]
    ),
)
LABELS = {
    None: "",
    "Ann": "Ann:",
    "Bo & Co": "Bo&Co:",
    "<v>": "<v>:",
    "A\nB -->": "AB-->:",
    "名" * 40: "名" * 15 + "…:",
}


@st.composite
def timed_segments(draw):
    at_s, segments = 0.0, []
    for number in range(draw(st.integers(0, 4))):
        at_s += draw(st.sampled_from([0.0, 0.2, 1.5]))
        start_s, words = at_s, []
        for text in draw(st.lists(WORD_TEXTS, min_size=1, max_size=15)):
            at_s += draw(st.sampled_from([0.0, 0.0, 0.3, 2.0]))
            end_s = at_s + draw(st.sampled_from([0.001, 0.05, 0.3, 0.6, 9.0]))
            words.append(WordTime(text, at_s, end_s, number, space_after=draw(st.booleans())))
            at_s = end_s
        written = "".join(word.text + " " * word.space_after for word in words)
        segments.append(TimedSegment(written, start_s, at_s, words, draw(st.sampled_from(list(LABELS)))))
    # pysubs2 takes a last line of digits for the number of a cue.
    return [*segments, TimedSegment("End.", at_s + 3, at_s + 4, [WordTime("End.", at_s + 3, at_s + 4, 9)])]


def visible(text):
    return "".join(drop_invisible(text).split())


@settings(max_examples=150, deadline=None)
@given(timed_segments())
def test_both_formats_hold_every_word_in_order_within_the_limits(segments):
    words = visible("".join(word.text for each in segments for word in each.words))
    for format in ("srt", "vtt"):
        cues = (read_srt if format == "srt" else read_vtt)(subtitles(segments, format))
        lines = [line for cue in cues for line in cue[2]]
        assert all(1 <= len(cue[2]) <= 2 for cue in cues)
        assert all(start < end <= start + 7001 for start, end, *_ in cues)
        assert all(before[1] <= after[0] for before, after in pairwise(cues))
        for (start, end, text, *_), following in zip(cues, [*cues[1:], None], strict=False):
            if following is None or following[0] - start >= 1000:
                assert end - start >= 1000
            if following is None or following[0] - end > 1:
                assert end - start >= min(1000 * sum(map(columns, text)) / 21 - 1, 7000)
        assert all(columns(line) <= 42 for line in lines)
        if format == "vtt":
            assert visible("".join(lines)) == words
        else:
            assert visible("".join(lines)) == with_labels(segments).translate(SRT_LOOKALIKES)


def columns(line):
    return max(wcswidth(line), 0)  # -1 for what a terminal cannot show


SRT_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "\\": "⧵"})


def with_labels(segments):
    """The visible words of the segments, with "Name:" where another one speaks."""
    parts, speaker = [], None
    for segment in segments:
        words = visible("".join(word.text for word in segment.words))
        if words:
            parts += [LABELS[segment.speaker] if segment.speaker != speaker else "", words]
            speaker = segment.speaker
    return "".join(parts)
