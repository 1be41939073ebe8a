"""Tags in square brackets: ``[pause:1.5s]``, ``[voice:Ann]``, ``[lang:de]``, ``[rate:1.2]``."""

from __future__ import annotations

import re
from decimal import Decimal

from characters import has_speakable, printable_excerpt
from errors import InvalidRequest
from speech.text.markup.script import (
    MAX_NAME_CHARS,
    MAX_PAUSE_S,
    MAX_RATE,
    MIN_RATE,
    Passage,
    Script,
    ScriptBuilder,
    Style,
    is_language_tag,
    is_name,
    is_pause,
    is_rate,
    nothing_to_say,
    read_duration,
    read_factor,
)

# No value has a bracket or a line break in it, so each character is looked at once.
_CANDIDATE = re.compile(r"\[(pause|voice|lang|rate):([^\[\]\r\n]*)\]", re.IGNORECASE | re.ASCII)
_EXAMPLES = {"pause": "[pause:1.5s]", "voice": "[voice:Ann]", "lang": "[lang:de]", "rate": "[rate:1.2]"}
_MAX_WARNINGS = 3


def parse_tags(text: str, *, strict: bool = False, field: str = "text") -> Script:
    """Returns the passages and pauses of a text with tags.

    A tag holds until the next of its kind, and without a value, as in ``[voice:]``, goes back to the job's.
    Its keyword may be in capitals. Brackets that hold anything else are text. A warning names those that
    begin like a tag; ``strict``: an error does.

    Raises InvalidRequest as ``parse_markup`` does; positions count characters from 0.
    """
    builder = ScriptBuilder(field)
    style = Style()
    unread: list[re.Match[str]] = []
    end = 0
    for match in _CANDIDATE.finditer(text):
        keyword, value = match[1].lower(), match[2]
        if not _is_tag(keyword, value):
            unread.append(match)
            if strict:
                raise InvalidRequest(f"has {_no_tag(match)}", field=field, hint=_right_form(match))
            continue
        _add_text(builder, text[end : match.start()], style)
        end = match.end()
        try:
            match keyword:
                case "pause":
                    builder.add_pause(_pause_s(value), _place(match))
                case "voice":
                    style = style._replace(voice=_voice(value))
                case "lang":
                    style = style._replace(language=value or None)
                case "rate":
                    style = style._replace(rate=_rate(value))
        except ValueError as error:
            raise InvalidRequest(
                f"has the tag {_excerpt(match)} at {_place(match)}", field=field, hint=str(error)
            ) from None
    warnings = _warnings(unread, field)
    if not end:
        if not has_speakable(text):
            raise nothing_to_say(field)
        return Script((Passage(text),), warnings=warnings)
    _add_text(builder, text[end:], style)
    return builder.script(warnings)


def _is_tag(keyword: str, value: str) -> bool:
    match keyword:
        case "pause":
            return read_duration(value) is not None
        case "voice":
            return value == value.strip()
        case "lang":
            return not value or is_language_tag(value)
        case _:
            return not value or read_factor(value) is not None


def _pause_s(value: str) -> Decimal:
    seconds = read_duration(value)
    assert seconds is not None
    if not is_pause(seconds):
        raise ValueError(f"a pause lasts 0 to {MAX_PAUSE_S} s")
    return seconds


def _voice(value: str) -> str | None:
    if not is_name(value):
        raise ValueError(f"a voice's name has at most {MAX_NAME_CHARS} characters")
    return value or None


def _rate(value: str) -> Decimal:
    rate = read_factor(value or "1")
    assert rate is not None
    if not is_rate(rate):
        raise ValueError(f"a rate is {MIN_RATE} to {MAX_RATE}")
    return rate


def _add_text(builder: ScriptBuilder, text: str, style: Style) -> None:
    words = text.strip()
    if not words:
        builder.add_space(text)
        return
    start = len(text) - len(text.lstrip())
    builder.add_space(text[:start])
    builder.add_words(words, style)
    builder.add_space(text[start + len(words) :])


def _no_tag(match: re.Match[str]) -> str:
    return f"{_excerpt(match)} at {_place(match)}, which is no tag"


def _right_form(match: re.Match[str]) -> str:
    return f"write it like {_EXAMPLES[match[1].lower()]}"


def _excerpt(match: re.Match[str]) -> str:
    return printable_excerpt(match.group())


def _place(match: re.Match[str]) -> str:
    return f"position {match.start()}"


def _warnings(unread: list[re.Match[str]], field: str) -> tuple[str, ...]:
    warnings = [
        f"{field} has {_no_tag(match)} and is read aloud; {_right_form(match)}"
        for match in unread[:_MAX_WARNINGS]
    ]
    if len(unread) > _MAX_WARNINGS:
        warnings.append(f"{field} has {len(unread) - _MAX_WARNINGS} more such brackets")
    return tuple(warnings)
