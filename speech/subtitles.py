"""Subtitles: words with their times as cues of SubRip (SRT) or WebVTT."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import Literal

import regex

from characters import drop_invisible
from speech.text.boundaries import Boundary, rank_boundaries
from speech.text.replacements import SpokenText
from speech.text.words import words_of
from speech.word_times import WordTime, times_by_weight, word_times

SubtitleFormat = Literal["srt", "vtt"]

# Of the usual guidelines for subtitles. Columns are those of a terminal: a full-width character takes two.
LINE_COLUMNS, LINES = 42, 2
WIDE = 2
EMOJI_SELECTOR = "\ufe0f"  # makes the character before it a wide one
SHORTEST_S, LONGEST_S = 1.0, 7.0
READING_COLUMNS_A_S = 21.0
LONGEST_PAUSE_S = 1.0  # within a cue
LABEL_COLUMNS = 30  # of a speaker's name in SRT; the rest is cut off

# What is weighed against each other when cues are chosen: each cue, and what a border between two divides.
_CUE_COST = 5.0
_BORDER_COSTS = {
    Boundary.SENTENCE: 0.0,
    Boundary.CLAUSE: 3.0,
    Boundary.WORD: 8.0,
    Boundary.UNSPACED: 9.0,
    Boundary.TIED: 16.0,
    Boundary.INSIDE_WORD: 30.0,
    Boundary.INSIDE_GRAPHEME: 60.0,
    Boundary.AFTER_SPACE: 60.0,
}
_STRADDLE_COST = 8.0  # of a cue that holds the end of a sentence and the start of one that goes on
_PAUSE_GAIN = 10.0  # for each second between two cues
_EMPTY_COST = 4.0  # of a cue without text, less of one that is partly full
_TOO_SHORT_COST, _TOO_LONG_COST, _TOO_FAST_COST = 40.0, 1000.0, 2.0  # a second, a second, a column a second

# SRT has no escapes, and players take these for the beginning or the end of a command.
_SRT_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "\\": "⧵"})
_GRAPHEME = regex.compile(r"\X")


@dataclass(frozen=True)
class TimedSegment:
    """A segment of speech."""

    text: str  # as it is written
    start_s: float
    end_s: float
    words: Sequence[WordTime] | None = None  # None: their times are estimated by their letters
    speaker: str | None = None  # a name to show
    language: str | None = None  # code of the text's language
    turn: int | None = None  # of a dialogue: no cue holds words of two


def subtitles(segments: Sequence[TimedSegment], format: SubtitleFormat) -> str:
    """Returns the segments' words as a file in the format.

    segments: in the order in which they are heard.

    A cue has at most two lines of 42 columns. It ends at the end of a sentence, else at a clause mark, else
    between words; inside a word only where that is longer than a line. It never holds words of two speakers
    or turns, or a pause of more than 1 s, and never takes more than 7 s. It is shown for at least 1 s, and
    long enough to be read at 21 columns a second, where the silence after it allows that. Otherwise it is
    joined with its neighbour where that makes it long enough, and else it is as short as its words. The
    last cue may reach beyond the end of the audio. Cues are in order, and none overlaps another.

    Speakers are named by a voice tag in WebVTT, and in SRT by "Name: " where another one begins to speak. SRT
    has no escapes: "<", ">" and a backslash are written with characters that look alike. No segments, or none
    with words, give a file without cues. Takes time linear in the number of words.
    """
    runs = [_with_borders(run) for run in _runs(segments)]
    cues: list[_Cue] = []
    speaker = ""
    for run, following in zip(runs, [*runs[1:], None], strict=False):
        if format == "srt" and run.speaker != speaker:
            run.pieces[:0] = _label(run)
        speaker = run.speaker
        cues += _cues_of(run, following.pieces[0].start_s if following else math.inf)
    return _write(_timed(cues), format)


@dataclass(frozen=True)
class _Piece:
    """What is never divided: a word, or a part of one that is longer than a line."""

    text: str
    start_s: float
    end_s: float
    space_after: bool
    border: Boundary = Boundary.SENTENCE  # what a cut after it divides
    is_label: bool = False  # a part of a speaker's name, which a cue never ends with
    columns: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", sum(map(_columns, self.text)))


@dataclass(frozen=True)
class _Run:
    """What one speaker says without a long pause."""

    pieces: list[_Piece]
    speaker: str
    language: str | None
    turn: int | None


@dataclass(frozen=True)
class _Cue:
    """Lines, and when they are shown."""

    lines: list[str]
    columns: int
    start_s: float
    end_s: float
    speaker: str


def _runs(segments: Sequence[TimedSegment]) -> Iterator[_Run]:
    run: _Run | None = None
    for segment in segments:
        speaker = " ".join(drop_invisible(segment.speaker or "").split())
        for number, piece in enumerate(_pieces(segment)):
            last = run.pieces[-1] if run else None
            is_another = run is None or (run.speaker, run.turn) != (speaker, segment.turn)
            if run is None or last is None or is_another or _is_pause(last, piece):
                if run is not None:
                    yield run
                run = _Run([piece], speaker, segment.language, segment.turn)
                continue
            if number == 0 and not (_columns(last.text[-1]) == _columns(piece.text[0]) == WIDE):
                run.pieces[-1] = replace(last, space_after=True)
            run.pieces.append(piece)
    if run is not None:
        yield run


def _is_pause(before: _Piece, after: _Piece) -> bool:
    return after.start_s - before.end_s > LONGEST_PAUSE_S


def _pieces(segment: TimedSegment) -> Iterator[_Piece]:
    words = segment.words
    if words is None:
        found = words_of(SpokenText(segment.text), segment.language)
        words = word_times(found, times_by_weight(found, segment.start_s, segment.end_s), 0)
    for word in words:
        parts = [
            (line, index == len(lines) - 1)
            for part in drop_invisible(word.text).split()
            for lines in [_hard_lines(part)]
            for index, line in enumerate(lines)
        ]
        total = sum(len(text) for text, _ in parts)
        at = 0
        for number, (text, ends_part) in enumerate(parts, start=1):
            start_s, end_s = (
                word.start_s + (word.end_s - word.start_s) * share / total for share in (at, at + len(text))
            )
            at += len(text)
            space_after = word.space_after if number == len(parts) else ends_part
            yield _Piece(text, start_s, end_s, space_after)


def _hard_lines(text: str) -> list[str]:
    """Returns a text without spaces in parts that fit on a line; one that does is the only part."""
    parts, columns = [""], 0
    graphemes = _GRAPHEME.findall(text)
    for grapheme in graphemes:
        own = [grapheme] if sum(map(_columns, grapheme)) <= LINE_COLUMNS else list(grapheme)
        for each in own:
            width = sum(map(_columns, each))
            if parts[-1] and columns + width > LINE_COLUMNS:
                parts.append("")
                columns = 0
            parts[-1] += each
            columns += width
    return parts


def _with_borders(run: _Run) -> _Run:
    """Returns the run with what a cut after each of its pieces divides."""
    text = "".join(piece.text + " " * piece.space_after for piece in run.pieces[:-1]) + run.pieces[-1].text
    borders = rank_boundaries(text, run.language)
    at, pieces = 0, []
    for piece in run.pieces[:-1]:
        at += len(piece.text)
        pieces.append(replace(piece, border=borders[at]))
        at += piece.space_after
    return replace(run, pieces=[*pieces, run.pieces[-1]])


def _label(run: _Run) -> list[_Piece]:
    """Returns "Name:" as pieces before the first word."""
    name, columns = "", 0
    for grapheme in _GRAPHEME.findall(run.speaker):
        columns += sum(map(_columns, grapheme))
        if columns > LABEL_COLUMNS:
            name += "…"
            break
        name += grapheme
    at_s = run.pieces[0].start_s
    return [_Piece(f"{name}:", at_s, at_s, space_after=True, is_label=True)] if name else []


def _cues_of(run: _Run, following_s: float) -> list[_Cue]:
    """Returns the cues of a run, of all the cheapest ones (dynamic programming).

    following_s: when somebody speaks again.
    """
    pieces = run.pieces
    count = len(pieces)
    line_ends = _line_ends(pieces)
    starts_s = [*(piece.start_s for piece in pieces), following_s]
    costs, before = [0.0] + [math.inf] * count, [0] * (count + 1)
    for start in range(count):
        if costs[start] == math.inf:
            continue
        columns, ends_sentence = 0, False
        most = start
        for _ in range(LINES):
            most = line_ends[most] if most < count else count
        for end in range(start + 1, most + 1):
            columns += pieces[end - 1].columns + pieces[end - 1].space_after
            if pieces[end - 1].is_label:
                continue
            is_sentence = pieces[end - 1].border is Boundary.SENTENCE
            straddles = ends_sentence and not is_sentence
            ends_sentence = ends_sentence or is_sentence
            cost = costs[start] + _cue_cost(pieces[start], pieces[end - 1], columns, starts_s[end])
            cost += _STRADDLE_COST * straddles
            if cost < costs[end]:
                costs[end], before[end] = cost, start
    ends = [count]
    while ends[-1]:
        ends.append(before[ends[-1]])
    return [_cue(pieces[start:end], run.speaker) for end, start in pairwise(ends)][::-1]


def _line_ends(pieces: Sequence[_Piece]) -> list[int]:
    """Returns for each piece the index after the last one that fits on a line which it begins."""
    ends, end, columns = [], 0, 0  # columns: of pieces[start:end], with the space after each
    for start, piece in enumerate(pieces):
        if end <= start:
            end, columns = start, 0
        while end < len(pieces) and columns + pieces[end].columns <= LINE_COLUMNS:
            columns += pieces[end].columns + pieces[end].space_after
            end += 1
        ends.append(max(end, start + 1))
        columns -= piece.columns + piece.space_after
    return ends


def _cue_cost(first: _Piece, last: _Piece, columns: int, following_s: float) -> float:
    """following_s: when the piece after the cue starts."""
    start_s = first.start_s
    spoken_s = last.end_s - start_s
    shown_s = min(max(following_s - start_s, spoken_s), LONGEST_S)
    too_fast = columns / max(shown_s, SHORTEST_S) - READING_COLUMNS_A_S
    return (
        _CUE_COST
        + _BORDER_COSTS[last.border]
        - _PAUSE_GAIN * min(max(following_s - last.end_s, 0.0), LONGEST_PAUSE_S)
        + _EMPTY_COST * (1 - columns / (LINES * LINE_COLUMNS)) ** 2
        + _TOO_SHORT_COST * max(SHORTEST_S - shown_s, 0.0)
        + _TOO_LONG_COST * max(spoken_s - LONGEST_S, 0.0)
        + _TOO_FAST_COST * max(too_fast, 0.0)
    )


def _cue(pieces: Sequence[_Piece], speaker: str) -> _Cue:
    lines = _lines(pieces)
    columns = sum(_columns(char) for line in lines for char in line)
    return _Cue(lines, columns, pieces[0].start_s, pieces[-1].end_s, speaker)


def _lines(pieces: Sequence[_Piece]) -> list[str]:
    """Returns a cue's pieces on one line if they fit, else on two: cut at a good border, near the middle."""
    widths = [0]
    for piece in pieces:
        widths.append(widths[-1] + piece.columns + piece.space_after)
    total = widths[-1] - pieces[-1].space_after
    if total <= LINE_COLUMNS:
        return [_joined(pieces)]
    cuts = [
        cut
        for cut in range(1, len(pieces))
        if widths[cut] - pieces[cut - 1].space_after <= LINE_COLUMNS and total - widths[cut] <= LINE_COLUMNS
    ]
    cut = min(
        cuts,
        key=lambda cut: _BORDER_COSTS[pieces[cut - 1].border] / 2 + abs(total - 2 * widths[cut]) / 8,
    )
    return [_joined(pieces[:cut]), _joined(pieces[cut:])]


def _joined(pieces: Sequence[_Piece]) -> str:
    return "".join(piece.text + " " * piece.space_after for piece in pieces).rstrip(" ")


def _timed(cues: Sequence[_Cue]) -> list[tuple[int, int, _Cue]]:
    """Returns cues with the milliseconds in which they are shown."""
    starts_ms: list[int] = []
    for cue in cues:
        earliest_ms = starts_ms[-1] + 1 if starts_ms else 0
        starts_ms.append(max(round(1000 * cue.start_s), earliest_ms))
    timed = []
    for cue, start_ms, following_ms in zip(cues, starts_ms, [*starts_ms[1:], math.inf], strict=False):
        shown_ms = round(1000 * max(SHORTEST_S, cue.columns / READING_COLUMNS_A_S))
        wanted_ms = max(round(1000 * cue.end_s), start_ms + shown_ms)
        end_ms = min(wanted_ms, start_ms + round(1000 * LONGEST_S), following_ms)
        timed.append((start_ms, int(end_ms), cue))
    return timed


def _write(cues: Sequence[tuple[int, int, _Cue]], format: SubtitleFormat) -> str:
    if format == "srt":
        blocks = (
            f"{number}\n{_clock(start_ms, ',')} --> {_clock(end_ms, ',')}\n{_srt_text(cue)}\n"
            for number, (start_ms, end_ms, cue) in enumerate(cues, start=1)
        )
        return "\n".join(blocks)
    blocks = (
        f"{_clock(start_ms, '.')} --> {_clock(end_ms, '.')}\n{_vtt_text(cue)}\n"
        for start_ms, end_ms, cue in cues
    )
    return "\n".join(["WEBVTT\n", *blocks])


def _clock(time_ms: int, decimal_mark: str) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{decimal_mark}{milliseconds:03}"


def _srt_text(cue: _Cue) -> str:
    return "\n".join(cue.lines).translate(_SRT_LOOKALIKES)


def _vtt_text(cue: _Cue) -> str:
    text = escape("\n".join(cue.lines), quote=False)
    return f"<v {escape(cue.speaker, quote=False)}>{text}" if cue.speaker else text


@lru_cache(maxsize=4096)
def _columns(char: str) -> int:
    if char == EMOJI_SELECTOR:
        return 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return WIDE if unicodedata.east_asian_width(char) in "WF" else 1
