"""Texts read as their author says that they are to be read: SSML's ``say-as``."""

from __future__ import annotations

import regex

from speech.text.normalization import cldr, numbers
from speech.text.normalization.languages import Language, language_of
from speech.text.normalization.numbers import LARGEST, NumberRulesUnavailable
from speech.text.normalization.reading import Reader, reader_of
from speech.text.normalization.scan import plain

_LONGEST = 200  # characters; longer texts are not read letter by letter
_GROUPS = regex.compile(r"[\p{L}\p{Nd}]+")
_DATE = regex.compile(r"([0-9]{1,4})[-/. ]([0-9]{1,2})(?:[-/. ]([0-9]{1,4}))?")
_TIME = regex.compile(
    r"([01]?[0-9]|2[0-4])(?:[:.h]([0-5][0-9])(?::[0-5][0-9])?)?[ ]?([ap]\.?m\.?)?", regex.IGNORECASE
)
_SUFFIX = regex.compile(r"([0-9]{1,15})(?:\.|-?[\p{L}ºª.]{1,4})?")
_ORDERS = frozenset({"mdy", "dmy", "ymd", "md", "dm", "ym", "my", "y", "d", "m"})


def say_as(interpret_as: str, text: str, language: str, format: str | None = None) -> str | None:
    """Returns a text in words as ``interpret-as`` names its kind; None where it cannot be read so.

    interpret_as: "characters", "cardinal", "ordinal", "date", "time", "telephone" or "currency". format: of
    dates alone, the order of day, month and year: "dmy", "mdy", "ymd", "md", "dm", "ym", "my", "y", "m" or
    "d"; None: as the language has it.
    """
    rules = language_of(language)
    written = plain(text).strip()
    if rules is None or not written or len(written) > _LONGEST:
        return None
    reader = reader_of(rules)
    spoken: str | None
    try:
        match interpret_as:
            case "characters":
                spoken = _characters(written, rules)
            case "cardinal":
                spoken = _cardinal(written, rules, reader)
            case "ordinal":
                spoken = _ordinal(written, rules)
            case "date":
                spoken = _date(written, rules, reader, format)
            case "time":
                spoken = _time(written, reader)
            case "telephone":
                spoken = _telephone(written, rules)
            case "currency":
                spoken = reader.say_if(written, ("money", "money_after", "money_word"))
            case _:
                return None
    except NumberRulesUnavailable:
        return None
    # What is left of a digit or of a sign of money was not understood.
    return None if spoken is None or not spoken.strip() or regex.search(r"[\p{Nd}\p{Sc}]", spoken) else spoken


def _characters(text: str, language: Language) -> str:
    """Returns letters and digits one by one."""
    names = [
        numbers.digits(char, language.locale) if char.isdecimal() else char for char in text if char.isalnum()
    ]
    return " ".join(names)


def _cardinal(text: str, language: Language, reader: Reader) -> str | None:
    sign = {"-": language.minus, "−": language.minus, "+": language.plus}.get(text[0])
    number = text[1:].lstrip() if sign else text
    if not reader.plain_pattern.fullmatch(number):
        return None
    words = reader.say_number(number)
    if sign is None:
        return words
    return f"{sign} {words}" if language.is_spaced else sign + words


def _ordinal(text: str, language: Language) -> str | None:
    match = _SUFFIX.fullmatch(text)
    if not match or not 0 < int(match[1]) <= LARGEST:
        return None
    return numbers.ordinal(int(match[1]), language.locale)


def _date(text: str, language: Language, reader: Reader, order: str | None) -> str | None:
    if order is not None and order not in _ORDERS:
        return None
    if order is None:
        return reader.say_if(text, ("iso", "numeric", "day_month", "month_day"))
    if len(order) == 1:
        return _single(text, language, order)
    match = _DATE.fullmatch(text)
    if not match or (match[3] is not None) != (len(order) == 3):
        return None
    parts = dict(zip(order, (part for part in match.groups() if part), strict=True))
    month = int(parts.get("m", "0"))
    if not 1 <= month <= 12:
        return None
    if "d" not in parts:
        names = cldr.month_names(language.locale)
        return f"{names[month - 1]} {numbers.year(int(parts['y']), language.locale)}" if names else None
    day = int(parts["d"])
    return reader.say_date(parts.get("y"), month, day) if 1 <= day <= 31 else None


def _single(text: str, language: Language, part: str) -> str | None:
    if not regex.fullmatch("[0-9]{1,4}", text):
        return None
    value = int(text)
    if part == "y":
        return numbers.year(value, language.locale)
    if part == "m":
        names = cldr.month_names(language.locale)
        return names[value - 1] if names and 1 <= value <= 12 else None
    return numbers.cardinal(value, language.locale) if 1 <= value <= 31 else None


def _time(text: str, reader: Reader) -> str | None:
    match = _TIME.fullmatch(text)
    return reader.say_time(int(match[1]), int(match[2] or 0), match[3] or "") if match else None


def _telephone(text: str, language: Language) -> str | None:
    groups = _GROUPS.findall(text)
    if not groups:
        return None
    joiner = {"zh": "，", "ja": "、"}.get(language.code, ", ")
    words = joiner.join(_characters(group, language) for group in groups)
    if not text.startswith("+"):
        return words
    return f"{language.plus} {words}" if language.is_spaced else language.plus + words
