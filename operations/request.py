"""What every operation's request has in common: strict fields, and errors that name each bad one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from errors import InvalidRequest

LONGEST_SHOWN_VALUE = 40  # characters of a refused value that its error repeats
MOST_PROBLEMS_LISTED = 30  # more than any operation has fields; the rest is counted
LARGEST_INTEGER_BITS = 64  # beyond this no field has a use for it, and printing it may fail


class Request(BaseModel):
    """The fields of one operation, as a caller may send them.

    Strict: ``"0.5"`` and ``true`` are not numbers. A field sent as null counts as not sent.
    Each field's ``description`` completes the sentence "<field> must be ...".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[str]:
        """Sentences about fields that do not go together; ``sent``: the names of those sent."""
        return []


AnyRequest = TypeVar("AnyRequest", bound=Request)


def parse_request(model: type[AnyRequest], operation: str, fields: Mapping[str, Any]) -> AnyRequest:
    """The request that ``fields`` describe. Raises InvalidRequest naming every bad field."""
    sent = {
        name: value for name, value in fields.items() if value is not None or name not in model.model_fields
    }
    problems = _unusable_values(sent)
    usable = {name: value for name, value in sent.items() if name not in problems}
    try:
        request = model.model_validate(usable)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            name = str(detail["loc"][0])
            if name not in problems:
                problems[name] = _problem(model, operation, name, detail)
    sentences = [*model.conflicts(sent.keys()), *problems.values()]
    if sentences:
        unlisted = len(sentences) - MOST_PROBLEMS_LISTED
        if unlisted > 0:
            sentences[MOST_PROBLEMS_LISTED:] = [f"and {unlisted} more"]
        raise InvalidRequest("; ".join(sentences))
    return request


def _unusable_values(fields: Mapping[str, Any]) -> dict[str, str]:
    """What pydantic lets through and a reply cannot carry, or what it fails on; a sentence by field."""
    problems = {}
    for name, value in fields.items():
        shown_name = shown(name)
        if shown_name != name:
            problems[name] = f"{shown_name} is not a field's name"
        elif isinstance(value, str) and (position := _broken_character(value)) is not None:
            problems[name] = (
                f"{name} holds half a character (a lone surrogate) at position {position}: send whole Unicode"
            )
        elif isinstance(value, int) and value.bit_length() > LARGEST_INTEGER_BITS:
            problems[name] = f"{name} is too large a number: at most 64 bits are read"
    return problems


def _broken_character(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def _problem(model: type[Request], operation: str, name: str, detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        hint = did_you_mean(name, model.model_fields) or f"its fields are {', '.join(model.model_fields)}"
        return f"{name} is not a field of {operation}: {hint}"
    wanted = model.model_fields[name].description
    if kind == "missing":
        return f"{name} is required: send {wanted}"
    if kind == "value_error":
        return f"{name} {detail['ctx']['error']}"
    return f"{name} must be {wanted}, not {_shown_value(detail['input'])}"


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A question about the nearest known word, or nothing when none is near."""
    near = difflib.get_close_matches(word[:LONGEST_SHOWN_VALUE], known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def shown(text: str) -> str:
    """``text`` as an error or a log line may repeat it: short, printable, whole Unicode."""
    printable = "".join(
        char if char.isprintable() else ascii(char)[1:-1] for char in text[: LONGEST_SHOWN_VALUE + 1]
    )
    return printable if len(printable) <= LONGEST_SHOWN_VALUE else printable[:LONGEST_SHOWN_VALUE] + "..."


def _shown_value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{shown(value)}'"
        case int() | float():
            return str(value)
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return type(value).__name__


def between(smallest: float, largest: float, what: str = "a number") -> Any:
    """A pydantic field that holds ``what`` from ``smallest`` to ``largest``, both included."""
    return Field(ge=smallest, le=largest, description=f"{what} from {smallest} to {largest}")


def one_of(choices: Collection[str] | Collection[int]) -> AfterValidator:
    """A pydantic validator: the value must be one of ``choices``."""

    def check(value: str | int) -> str | int:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(map(str, choices))}, not {_shown_value(value)}")
        return value

    return AfterValidator(check)


def later(is_supported: Callable[[object], bool], advice: str) -> AfterValidator:
    """A pydantic validator for what the contract names and this version does not do yet."""

    def check(value: object) -> object:
        if not is_supported(value):
            raise ValueError(f"{_shown_value(value)} is not available in this version: {advice}")
        return value

    return AfterValidator(check)


def check_not_blank(text: str) -> str:
    """Spaces, control characters and invisible marks alone are blank."""
    if all(unicodedata.category(char)[0] in "CZ" for char in text):
        raise ValueError("is blank: send at least one visible character")
    return text


def check_speakable(text: str) -> str:
    """Punctuation and pictures alone are nothing to say."""
    check_not_blank(text)
    if not any(map(str.isalnum, text)):
        raise ValueError("has nothing in it to say: send at least one letter or digit")
    return text


def label(longest_chars: int) -> AfterValidator:
    """A pydantic validator for a short text that lists show: visible, not too long."""

    def check(text: str) -> str:
        check_not_blank(text)
        if len(text) > longest_chars:
            raise ValueError(f"has {len(text)} characters: send at most {longest_chars}")
        hidden = next((char for char in text if not char.isprintable()), None)
        if hidden is not None:
            raise ValueError(f"holds the invisible character U+{ord(hidden):04X}: send it without")
        return text

    return AfterValidator(check)
