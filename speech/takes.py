"""The check of takes: what is wrong with a reading of a chunk, by its tokens and T3's attention.

numpy alone. The check changes no sampling: it only tells which reading to use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from speech.contract import FAULTS
from speech.models.spec import SPEECH_TOKENS_PER_S
from speech.t3.alignment import LEAST_SHARE_ON_TRACK, STEP_S, Scores, follow, share_on
from speech.text.duration import UNITS_PER_S, duration_units, estimate_duration_s
from speech.text.events import EVENT_TAGS, event_tags
from speech.text.spans import Span

# A reading is faulty outside these multiples of the estimated duration, with some slack on both sides: a
# single word is said slowly, with the model's silence around it.
SHORTEST, LONGEST = 0.4, 2.5
SHORT_SLACK_S, LONG_SLACK_S = 0.2, 1.5
EVENT_S = 2.0  # a laugh may take longer than its tag

JUMP_WORDS = 3  # words that are said again, or left out
LONGEST_STAY_S = 1.0  # on one text token, with sound
LONGEST_WORD_S = 1.4  # within one word, with sound
# What stands for much, such as a long word, may take as many times its estimated duration.
LONGEST_STAY = 2.5

# How bad faults are, beside each other: the take with the least sum is used when none is good.
WEIGHTS = {
    "empty": 100.0,
    "ran_on": 8.0,
    "end_missing": 6.0,
    "too_short": 5.0,
    "skips": 5.0,
    "repeats": 4.0,
    "too_long": 3.0,
    "stuck": 3.0,
}

# Words, and pairs of the characters of scripts that put no space between words.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]{1,2}|[^\s\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]*[\p{L}\p{N}]"
    r"[^\s\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]*"
)


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a take."""

    code: str  # a key of ``FAULTS``
    excess: float = 0.0  # 0 to 1, by how much it is worse than what is just still good

    @property
    def predicate(self) -> str:
        """What is wrong, as the end of a sentence."""
        return FAULTS[self.code]

    @property
    def weight(self) -> float:
        """How bad it is."""
        return WEIGHTS[self.code] + min(1.0, self.excess)


@dataclass(frozen=True, eq=False)
class TextOfTokens:
    """What each text token of a chunk stands for."""

    words: NDArray[np.int64]  # [N], the number of the word that each belongs to, from 0
    longest_steps: NDArray[np.float64]  # [N], how long a reading may stay on each with sound
    longest_word_steps: NDArray[np.float64]  # [words], and within each word

    @classmethod
    def of(cls, text: str, spans: Sequence[Span]) -> TextOfTokens:
        """spans: of each text token, in the text."""
        starts = [match.start() for match in _WORD.finditer(text)] or [0]
        begins = np.array([start for start, _ in spans], np.int64)
        words = np.maximum(np.searchsorted(starts, begins, side="right") - 1, 0)
        units = np.concatenate([[0.0], np.cumsum(duration_units(text))])
        lengths = np.array([units[end] - units[start] for start, end in spans])
        longest = _longest_steps(lengths, LONGEST_STAY_S)
        longest_word = _longest_steps(np.diff(units[[*starts, len(text)]]), LONGEST_WORD_S)
        for number, (start, end) in enumerate(spans):
            if text[start:end].strip().lower() in EVENT_TAGS:
                longest[number] = longest_word[words[number]] = np.inf
        return cls(words, longest, longest_word)


def _longest_steps(units: NDArray[np.float64], least_s: float) -> NDArray[np.float64]:
    return np.maximum(least_s, LONGEST_STAY / UNITS_PER_S * units) * SPEECH_TOKENS_PER_S


@dataclass(frozen=True, eq=False)
class TakeCheck:
    """What the check knows of a chunk's text."""

    shortest_s: float = 0.0
    longest_s: float = math.inf
    spans: tuple[Span, ...] | None = None  # of each text token, in the text; None: attention tells nothing
    tokens: TextOfTokens | None = None  # of these spans
    silence: frozenset[int] = frozenset()  # speech tokens without sound

    @classmethod
    def of(
        cls,
        text: str,
        spans: tuple[Span, ...] | None = None,
        silence: frozenset[int] = frozenset(),
        language: str | None = None,
    ) -> TakeCheck:
        """spans: of each text token, in the text; None where the model's attention tells nothing."""
        estimate_s = estimate_duration_s(text, language)
        return cls(
            shortest_s=SHORTEST * estimate_s - SHORT_SLACK_S,
            longest_s=LONGEST * estimate_s + LONG_SLACK_S + EVENT_S * len(event_tags(text)),
            spans=spans,
            tokens=None if spans is None else TextOfTokens.of(text, spans),
            silence=silence,
        )

    def faults(self, speech: NDArray[np.int64], scores: Scores | None, *, stopped: bool) -> tuple[Fault, ...]:
        """Returns what is wrong with a take, the worst first.

        speech: int64 [T], the tokens that are rendered. scores: [T, N], their attention; None: not known.
        stopped: whether T3 ended by itself.
        """
        if len(speech) == 0:
            return (Fault("empty"),)
        found = [] if stopped else [Fault("ran_on")]
        duration_s = STEP_S * len(speech)
        if duration_s < self.shortest_s:
            found.append(Fault("too_short", 1 - duration_s / self.shortest_s))
        elif duration_s > self.longest_s and stopped:
            found.append(Fault("too_long", duration_s / self.longest_s - 1))
        if self.tokens is not None and scores is not None:
            has_sound = ~np.isin(speech, list(self.silence))
            found += alignment_faults(scores, self.tokens, has_sound)
        return tuple(sorted(found, key=lambda fault: -fault.weight))


UNCHECKED = TakeCheck()  # finds a take that is empty or ran on, and nothing else


def alignment_faults(scores: Scores, tokens: TextOfTokens, has_sound: NDArray[np.bool_]) -> list[Fault]:
    """Returns what a reading's way through the text shows.

    scores: [T, N]. has_sound: [T], whether a speech token is more than silence.
    """
    track = follow(scores, goes_back=True)
    if share_on(track, scores) < LEAST_SHARE_ON_TRACK:
        return []
    words, last_word = tokens.words[track], int(tokens.words[-1])
    found = []
    missing = last_word - int(words.max())
    if missing > 0:
        found.append(Fault("end_missing", missing / (last_word + 1)))
    moves = np.diff(words)
    if (again := -int(moves.min(initial=0))) >= JUMP_WORDS:
        found.append(Fault("repeats", again / (last_word + 1)))
    # A move to the next word leaves none out. What is left out before the first place counts as well.
    if (left_out := max(int(words[0]), int(moves.max(initial=0)) - 1)) >= JUMP_WORDS:
        found.append(Fault("skips", left_out / (last_word + 1)))
    excess = max(
        _longest_stay(track, has_sound, tokens.longest_steps),
        _longest_stay(words, has_sound, tokens.longest_word_steps),
    )
    if excess > 1:
        found.append(Fault("stuck", excess - 1))
    return found


def _longest_stay(
    places: NDArray[np.int64], has_sound: NDArray[np.bool_], longest_steps: NDArray[np.float64]
) -> float:
    """Returns the longest stay at one place with sound, as a multiple of what is allowed there.

    places: [T]. longest_steps: of each place.
    """
    stays = np.split(np.arange(len(places)), np.flatnonzero(np.diff(places)) + 1)
    return float(max(has_sound[stay].sum() / longest_steps[places[stay[0]]] for stay in stays))


def badness(faults: Sequence[Fault]) -> float:
    """Returns how bad a take is: 0 for a good one."""
    return sum(fault.weight for fault in faults)


def describe(faults: Sequence[Fault]) -> str:
    """Returns what is wrong, as the predicate of a sentence."""
    return " and ".join(fault.predicate for fault in faults)
