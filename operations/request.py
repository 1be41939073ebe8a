"""What every operation's request has in common: strict fields, and errors that name each bad one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from errors import InvalidRequest

LONGEST_SHOWN_VALUE = 40  # characters of a refused value that its error repeats
MOST_PROBLEMS_LISTED = 30  # more than any operation has fields; the rest is counted
LARGEST_INTEGER_BITS = 64  # beyond this no field has a use for it, and printing it may fail
# Drawn with their neighbours: Persian, several Indic scripts and many emoji are written with them.
_JOINERS = frozenset("\u200c\u200d")

FieldPath = tuple[int | str, ...]  # ("text",), ("tags", 3), ("default_parameters", "top_k")


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
    # Of thousands of unknown fields the last ones are only counted: saying what is wrong with each takes a
    # while.
    uncounted = [name for name in sent if name not in model.model_fields][MOST_PROBLEMS_LISTED:]
    for name in uncounted:
        del sent[name]
    problems = _unusable_values(sent)
    unusable = {path[0] for path in problems}
    try:
        request = model.model_validate({name: value for name, value in sent.items() if name not in unusable})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["loc"][0] not in unusable:
                problems[detail["loc"]] = _problem(model, operation, detail)
    sentences = [*model.conflicts(sent.keys()), *problems.values()]
    if sentences:
        unlisted = len(sentences) + len(uncounted) - MOST_PROBLEMS_LISTED
        if unlisted > 0:
            sentences[MOST_PROBLEMS_LISTED:] = [f"and {unlisted} more"]
        raise InvalidRequest("; ".join(sentences))
    return request


def _unusable_values(fields: Mapping[str, Any]) -> dict[FieldPath, str]:
    """What pydantic lets through and a reply cannot carry, or what it fails on; a sentence by field."""
    problems = {}
    for path, value in _with_members(fields):
        name, spelled = path[-1], _spelled(path)
        if isinstance(name, str) and shown(name) != name:
            problems[path] = f"{spelled} is not a field's name"
        elif isinstance(value, str) and (position := _broken_character(value)) is not None:
            problems[path] = (
                f"{spelled} holds half a character (a lone surrogate) at position {position}: "
                "send whole Unicode"
            )
        elif isinstance(value, int) and value.bit_length() > LARGEST_INTEGER_BITS:
            problems[path] = f"{spelled} is too large a number: at most 64 bits are read"
    return problems


def _with_members(fields: Mapping[str, Any]) -> Iterator[tuple[FieldPath, Any]]:
    """The fields and what is directly in them: no field takes more than that."""
    for name, value in fields.items():
        yield (name,), value
        if isinstance(value, Mapping):
            yield from (((name, key), member) for key, member in value.items())
        elif isinstance(value, list):
            yield from (((name, index), member) for index, member in enumerate(value))


def _spelled(path: FieldPath) -> str:
    """As a person would write it: ``default_parameters.temperature``, ``tags[3]``."""
    first, *rest = path
    members = (f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in rest)
    return shown(str(first)) + "".join(members)


def _broken_character(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def _problem(model: type[Request], operation: str, detail: ErrorDetails) -> str:
    path, kind = detail["loc"], detail["type"]
    spelled, name = _spelled(path), str(path[0])
    if kind == "value_error":
        return f"{spelled} {detail['ctx']['error']}"
    if kind == "too_long":
        limits = detail["ctx"]
        return f"{spelled} has {limits['actual_length']} members: send at most {limits['max_length']}"
    if len(path) > 1:
        members = _members(model.model_fields[name])
        if members is None:
            wanted = model.model_fields[name].description
            return f"{spelled} is {shown_value(detail['input'])}: {name} must be {wanted}"
        model, operation, name = members, name, str(path[1])
    if kind == "extra_forbidden":
        hint = did_you_mean(name, model.model_fields) or f"its fields are {', '.join(model.model_fields)}"
        return f"{spelled} is not a field of {operation}: {hint}"
    wanted = model.model_fields[name].description
    if kind == "missing":
        return f"{spelled} is required: send {wanted}"
    return f"{spelled} must be {wanted}, not {shown_value(detail['input'])}"


def _members(field: FieldInfo) -> type[Request] | None:
    """The fields of an object that is a field itself; None for any other kind of field."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Request)), None)


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


def shown_value(value: object) -> str:
    """A refused value as its error repeats it."""
    match value:
        case None:
            return "null"
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
            raise ValueError(f"must be one of {', '.join(map(str, choices))}, not {shown_value(value)}")
        return value

    return AfterValidator(check)


def later(is_supported: Callable[[object], bool], advice: str) -> AfterValidator:
    """A pydantic validator for what the contract names and this version does not do yet."""

    def check(value: object) -> object:
        if not is_supported(value):
            raise ValueError(f"{shown_value(value)} is not available in this version: {advice}")
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


def label(longest_chars: int, *, may_be_empty: bool = False) -> AfterValidator:
    """A pydantic validator for a short text that lists show: visible, not too long."""

    def check(text: str) -> str:
        if may_be_empty and not text:
            return text
        check_not_blank(text)
        if len(text) > longest_chars:
            raise ValueError(f"has {len(text)} characters: send at most {longest_chars}")
        hidden = next(filter(_is_hidden, text), None)
        if hidden is not None:
            raise ValueError(f"holds the invisible character U+{ord(hidden):04X}: send it without")
        return text

    return AfterValidator(check)


def _is_hidden(char: str) -> bool:
    return not (char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs")
