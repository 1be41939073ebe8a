"""What the markup of a text describes: passages to speak one after another, with pauses between them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from characters import has_speakable, printable_excerpt
from errors import InvalidRequest
from speech.text.replacements import Replacement

# Of one pause, and of pauses in a row together.
MAX_PAUSE_S = 60
# Of all pauses of a text. Without a limit a few letters and many tags are days of silence.
MAX_PAUSES_S = 3600
# The range of the field ``speed``.
MIN_RATE, MAX_RATE = Decimal("0.25"), Decimal(4)
# Of a stored voice's name. Marks and joiners are drawn with the character before them and are not counted.
MAX_NAME_CHARS = 64
_NOT_COUNTED = frozenset({"Mn", "Me", "Cf"})

_BEYOND_ALL_RANGES = Decimal(1_000_000)
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
_NUMBER = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
_DURATION = re.compile(rf"([+-]?(?:{_NUMBER}))(m?s)", re.IGNORECASE | re.ASCII)
_FACTOR = re.compile(rf"[+-]?(?:{_NUMBER})")


@dataclass(frozen=True)
class SayAs:
    """How a stretch of a passage's text is to be read."""

    start: int  # index of its first character
    end: int  # index after its last one
    interpret_as: str  # characters, cardinal, ordinal, date, time, telephone or currency
    format: str | None  # of a date, the order of its parts such as "dmy"; of others as it was sent


@dataclass(frozen=True)
class Passage:
    """A stretch of a text in one voice, one language and at one rate. It has a letter or digit to say."""

    text: str  # as written, without markup; where there was any, without white space at its ends
    replacements: tuple[Replacement, ...] = ()  # what is spoken instead; spans of ``text``, in order
    say_as: tuple[SayAs, ...] = ()  # in order; none overlaps another or a replacement
    voice: str | None = None  # a stored voice's name or id; None: the job's
    language: str | None = None  # a tag such as "de" or "pt-BR", not checked; None: the job's
    rate: float | None = None  # factor on the speed, 0.25 to 4; None: 1
    pause_after_s: float | None = None  # 0 to 60; None: as usual after what the text ends with
    ends_paragraph: bool = False  # a blank line follows in the text, or a paragraph of SSML begins or ends


@dataclass(frozen=True)
class Script:
    """Passages to speak one after another."""

    passages: tuple[Passage, ...]  # at least one
    pause_before_s: float = 0.0  # silence before the first, 0 to 60
    warnings: tuple[str, ...] = ()  # sentences for the caller


class Style(NamedTuple):
    """What may change within a text."""

    voice: str | None = None
    language: str | None = None
    rate: Decimal = Decimal(1)


def read_duration(text: str) -> Decimal | None:
    """Returns the seconds of a duration such as "1.5s" or "300ms"; None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    number = _read_number(match[1])
    return number / 1000 if match[2].lower() == "ms" else number


def read_factor(text: str) -> Decimal | None:
    """Returns a decimal number such as "1.2"; None for anything else."""
    return _read_number(text) if _FACTOR.fullmatch(text) else None


def is_pause(seconds: Decimal) -> bool:
    """True for seconds that a pause may last."""
    return 0 <= seconds <= MAX_PAUSE_S


def is_rate(rate: Decimal) -> bool:
    """True for a factor on the speed that speech can have."""
    return MIN_RATE <= rate <= MAX_RATE


def is_language_tag(text: str) -> bool:
    """True for what is written as a language tag is. Whether a model speaks it is not looked at."""
    return _LANGUAGE_TAG.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """True for what is not too long to be a voice's name."""
    if len(text) > 4 * MAX_NAME_CHARS:
        return False
    return sum(unicodedata.category(char) not in _NOT_COUNTED for char in text) <= MAX_NAME_CHARS


def nothing_to_say(field: str) -> InvalidRequest:
    """The error for a text without a letter or digit outside its markup."""
    return InvalidRequest(
        "has nothing in it to say", field=field, hint="send at least one letter or digit besides markup"
    )


class ScriptBuilder:
    """Collects what a parser reads, in the order of the text, and makes a ``Script`` of it.

    What stands in one style without a pause becomes one passage, however many tags are in it. A stretch
    without a letter or digit, such as a full stop after a tag, joins the passage before it if no pause is
    between them; after a pause and before the first passage it is dropped.
    """

    def __init__(self, field: str) -> None:
        """field: where the text was sent, for errors."""
        self._field = field
        self._stretches: list[_Stretch] = []
        self._space = ""  # between the last words and the next ones
        self._pause_before = Decimal(0)
        self._pause_before_place = ""

    def add_space(self, space: str) -> None:
        """Adds white space. Of several without words between, the one with most line breaks stays."""
        if not self._space or _count_line_breaks(space) > _count_line_breaks(self._space):
            self._space = space

    def add_words(
        self,
        words: str,
        style: Style,
        *,
        spoken: str | None = None,
        say_as: tuple[str, str | None] | None = None,
    ) -> None:
        """Adds text that neither begins nor ends with white space.

        spoken: what is spoken instead, with a letter or digit. say_as: ``interpret_as`` and ``format``.
        """
        last = self._stretches[-1] if self._stretches else None
        if last is None or last.style != style or last.pause_s is not None:
            last = _Stretch(style, self._space)
            self._stretches.append(last)
        else:
            last.add(self._space)
        self._space = ""
        start = last.length
        last.add(words)
        if spoken is not None:
            last.replacements.append(Replacement(start, last.length, spoken))
        if say_as is not None:
            last.say_as.append(SayAs(start, last.length, *say_as))

    def add_pause(self, seconds: Decimal, place: str) -> None:
        """Adds a pause to those before it since the last words. place: where it stands, for errors."""
        if self._stretches:
            self._stretches[-1].add_pause(seconds, place)
        else:
            self._pause_before += seconds
            self._pause_before_place = place

    def script(self, warnings: Iterable[str] = ()) -> Script:
        """Returns the script. Raises InvalidRequest for too long pauses in a row and for nothing to say."""
        opening = _Stretch(Style(), "")  # without words: it has the pause before the first ones
        opening.add_pause(self._pause_before, self._pause_before_place)
        kept = [opening]
        for stretch in self._stretches:
            last, is_speakable = kept[-1], stretch.is_speakable()
            if last.pause_s is None and (stretch.style == last.style or not is_speakable):
                last.join(stretch)
                continue
            last.ends_paragraph |= _count_line_breaks(stretch.space_before) > 1
            if is_speakable:
                kept.append(stretch)
            elif stretch.pause_s is not None:
                last.add_pause(stretch.pause_s, stretch.pause_place)
        kept[-1].ends_paragraph |= _count_line_breaks(self._space) > 1
        self._check_pauses(kept)
        passages = tuple(stretch.passage() for stretch in kept[1:])
        if not passages:
            raise nothing_to_say(self._field)
        return Script(passages, float(opening.pause_s or 0), tuple(warnings))

    def _check_pauses(self, stretches: Iterable[_Stretch]) -> None:
        total_s = Decimal(0)
        for stretch in stretches:
            pause_s = stretch.pause_s or Decimal(0)
            total_s += pause_s
            if not is_pause(pause_s):
                raise InvalidRequest(
                    f"has pauses in a row of {_plain(pause_s)} s together, up to {stretch.pause_place}",
                    field=self._field,
                    hint=f"pauses between two words last at most {MAX_PAUSE_S} s together",
                )
            if total_s > MAX_PAUSES_S:
                raise InvalidRequest(
                    f"has pauses that last more than {MAX_PAUSES_S} s together, up to {stretch.pause_place}",
                    field=self._field,
                    hint="send it in several jobs",
                )


class _Stretch:
    """Text in one style, while it is collected."""

    def __init__(self, style: Style, space_before: str) -> None:
        self.style = style
        self.space_before = space_before
        self.length = 0
        self.replacements: list[Replacement] = []
        self.say_as: list[SayAs] = []
        self.pause_s: Decimal | None = None
        self.pause_place = ""
        self.ends_paragraph = False
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        self._parts.append(text)
        self.length += len(text)

    def add_pause(self, seconds: Decimal, place: str) -> None:
        self.pause_s = seconds + (self.pause_s or 0)
        self.pause_place = place

    def is_speakable(self) -> bool:
        # A replacement has something to say itself.
        return bool(self.replacements) or any(map(has_speakable, self._parts))

    def join(self, other: _Stretch) -> None:
        """Adds all of a stretch that follows, with the space between."""
        self.add(other.space_before)
        shift = self.length
        self._parts += other._parts
        self.length += other.length
        self.replacements += (
            Replacement(each.start + shift, each.end + shift, each.spoken) for each in other.replacements
        )
        self.say_as += (
            SayAs(each.start + shift, each.end + shift, each.interpret_as, each.format)
            for each in other.say_as
        )
        self.pause_s, self.pause_place = other.pause_s, other.pause_place

    def passage(self) -> Passage:
        return Passage(
            "".join(self._parts),
            tuple(self.replacements),
            tuple(self.say_as),
            self.style.voice,
            self.style.language,
            None if self.style.rate == 1 else float(self.style.rate),
            None if self.pause_s is None else float(self.pause_s),
            self.ends_paragraph,
        )


def _read_number(text: str) -> Decimal:
    # Of a million digits the number itself would raise Overflow when it is divided.
    return min(max(Decimal(text), -_BEYOND_ALL_RANGES), _BEYOND_ALL_RANGES)


def _count_line_breaks(space: str) -> int:
    # The splitter takes a paragraph separator for the end of a paragraph, too.
    return len((space.replace("\u2029", "\n\n") + "x").splitlines()) - 1


def _plain(number: Decimal) -> str:
    return printable_excerpt(f"{number.normalize():f}")
