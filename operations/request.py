"""What every operation's request has in common: strict fields, and errors that name each bad one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from characters import has_speakable, is_blank, is_printable, printable_excerpt
from errors import InvalidRequest, Problem

MAX_COMPARED_CHARS = 40  # of a word that may have been meant as another
MAX_LISTED_PROBLEMS = 30  # more than any operation has fields; the rest is counted
MAX_MEMBERS = 64  # of a list or object that is looked into, where its field does not take more
MAX_INTEGER_BITS = 64  # beyond this no field has a use for it, and printing it may fail
MIN_SIMILARITY = 0.75  # of a word that is suggested instead of another, see ``difflib``
# What other speech services call our fields.
SYNONYMS = {"speaker": "voice_name", "voice": "voice_name", "input": "text", "prompt": "text"}

FieldPath = tuple[int | str, ...]  # ("text",), ("tags", 3), ("default_parameters", "top_k")


class FieldError(ValueError):
    """Raised by a validator: what is wrong with the field's value, as the parts of a ``Problem``."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class Request(BaseModel):
    """The fields of one operation, as a caller may send them.

    Strict: ``"0.5"`` and ``true`` are not numbers. A field sent as null counts as not sent.
    Each field's ``description`` completes the sentence "<field> must be ...".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        """What is wrong with the fields together. sent: the names of those sent."""
        return []


AnyRequest = TypeVar("AnyRequest", bound=Request)


def parse_request(model: type[AnyRequest], operation: str, fields: Mapping[str, Any]) -> AnyRequest:
    """Returns the request that ``fields`` describe. Raises InvalidRequest naming every bad field."""
    sent = {
        name: value for name, value in fields.items() if value is not None or name not in model.model_fields
    }
    # Of thousands of unknown fields the last ones are only counted: saying what is wrong with each takes a
    # while.
    uncounted = [name for name in sent if name not in model.model_fields][MAX_LISTED_PROBLEMS:]
    for name in uncounted:
        del sent[name]
    problems = _unusable_values(model, sent)
    unusable = {path[0] for path in problems}
    unlisted = len(uncounted)
    try:
        usable = {name: value for name, value in sent.items() if name not in unusable}
        request = model.model_validate(_without_nulls(model, usable))
    except ValidationError as error:
        details = [each for each in error.errors(include_url=False) if each["loc"][0] not in unusable]
        for detail in details[:MAX_LISTED_PROBLEMS]:
            problems[detail["loc"]] = _problem(model, operation, detail)
        unlisted += len(details[MAX_LISTED_PROBLEMS:])
    listed = [*model.conflicts(sent.keys()), *problems.values()]
    if listed:
        unlisted += len(listed) - MAX_LISTED_PROBLEMS
        if unlisted > 0:
            listed[MAX_LISTED_PROBLEMS:] = [Problem(f"and {unlisted} more")]
        raise InvalidRequest.of(listed)
    return request


def _unusable_values(model: type[Request], fields: Mapping[str, Any]) -> dict[FieldPath, Problem]:
    """Problems of values that pydantic lets through or fails on, and that a reply cannot carry, by path."""
    problems = {}
    for path, value, most in _values(model, fields):
        name, spelled = path[-1], _spelled(path)
        if isinstance(name, str) and printable_excerpt(name) != name:
            problems[path] = Problem("is not a field's name", spelled)
        elif isinstance(value, str) and (position := _broken_character(value)) is not None:
            problems[path] = Problem(
                f"holds half a character (a lone surrogate) at position {position}",
                spelled,
                "send whole Unicode",
            )
        elif isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
            problems[path] = Problem("is too large a number", spelled, "at most 64 bits are read")
        elif most is not None and len(value) > max(most, MAX_MEMBERS):
            problems[path] = _too_many(spelled, len(value), most)
    return problems


def _values(
    model: type[Request], fields: Mapping[str, Any], above: FieldPath = ()
) -> Iterator[tuple[FieldPath, Any, int | None]]:
    """The fields and what is in them, as (path, value, most members): as deep as the model goes.

    most members: see ``_most_members``. What holds more than that, and than MAX_MEMBERS, is not looked into.
    """
    for name, value in fields.items():
        field, path = model.model_fields.get(name), (*above, name)
        most = _most_members(field, value)
        yield path, value, most
        # No error repeats what is in a list or an object where the field takes none.
        if field is None or most is None or len(value) > max(most, MAX_MEMBERS):
            continue
        members = _members(field.annotation)
        if isinstance(value, Mapping):
            assert members is not None
            yield from _values(members, value, path)
            continue
        for index, member in enumerate(value):
            if members is None or not isinstance(member, Mapping):
                yield (*path, index), member, None
                continue
            most = len(members.model_fields)
            yield (*path, index), member, most
            if len(member) <= max(most, MAX_MEMBERS):
                yield from _values(members, member, (*path, index))


def _without_nulls(model: type[Request], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without those that are null, also in the objects among them. No list may be too long."""
    sent = {}
    for name, value in fields.items():
        field = model.model_fields.get(name)
        if field is not None and value is None:
            continue
        members = None if field is None else _members(field.annotation)
        if members is not None and isinstance(value, Mapping):
            value = _without_nulls(members, value)
        elif members is not None and isinstance(value, list):
            value = [_without_nulls(members, each) if isinstance(each, Mapping) else each for each in value]
        sent[name] = value
    return sent


def _most_members(field: FieldInfo | None, value: object) -> int | None:
    """How many members of a list or an object the field takes; None for a field that takes no such value."""
    if field is None or not isinstance(value, list | Mapping):
        return None
    takes_list = any(get_origin(kind) is list for kind in (field.annotation, *get_args(field.annotation)))
    if isinstance(value, Mapping):
        members = None if takes_list else _members(field.annotation)
        return None if members is None else len(members.model_fields)
    if not takes_list:
        return None
    limits: Iterator[int | None] = (getattr(item, "max_length", None) for item in field.metadata)
    return next(limit for limit in limits if limit is not None)  # no list is without one


def _too_many(spelled: str, count: int, most: int) -> Problem:
    return Problem(f"has {count} members", spelled, f"send at most {most}")


def _spelled(path: FieldPath) -> str:
    """The path as a person would write it: ``default_parameters.temperature``, ``tags[3]``."""
    first, *rest = path
    members = (f"[{part}]" if isinstance(part, int) else f".{printable_excerpt(part)}" for part in rest)
    return printable_excerpt(str(first)) + "".join(members)


def _broken_character(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def _problem(model: type[Request], operation: str, detail: ErrorDetails) -> Problem:
    path, kind = detail["loc"], detail["type"]
    spelled, name = _spelled(path), str(path[0])
    if kind == "value_error":
        error = detail["ctx"]["error"]
        assert isinstance(error, FieldError), error
        return Problem(error.reason, spelled, error.hint)
    if kind == "too_short":
        return Problem("is empty", spelled, f"send at least {detail['ctx']['min_length']}, or leave it out")
    if kind == "too_long":
        return _too_many(spelled, detail["ctx"]["actual_length"], detail["ctx"]["max_length"])
    is_member = False  # of a list, or of an object that is none of ours
    for part in path[1:]:
        members = None if isinstance(part, int) else _members(model.model_fields[name].annotation)
        is_member = members is None
        if members is not None:
            model, operation, name = members, name, str(part)
    if is_member:
        wanted = model.model_fields[name].description
        return Problem(f"is {value_excerpt(detail['input'])}", spelled, f"{name} must be {wanted}")
    if kind == "extra_forbidden":
        hint = did_you_mean(name, model.model_fields) or f"its fields are {', '.join(model.model_fields)}"
        return Problem(f"is not a field of {operation}", spelled, hint)
    wanted = model.model_fields[name].description
    if kind == "missing":
        return Problem("is required", spelled, f"send {wanted}")
    return Problem(f"must be {wanted}, not {value_excerpt(detail['input'])}", spelled)


def _members(kind: object) -> type[Request] | None:
    """The fields of an object that a type takes, itself or in a list; None for a type that takes none."""
    if isinstance(kind, type) and issubclass(kind, Request):
        return kind
    return next((found for each in get_args(kind) if (found := _members(each)) is not None), None)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A question about the known word that was meant, or nothing when none is near enough."""
    word = word[:MAX_COMPARED_CHARS]
    if SYNONYMS.get(word) in known:
        return f"did you mean {SYNONYMS[word]!r}?"
    extended = [name for name in known if name.startswith(f"{word}_") or name.endswith(f"_{word}")]
    near = extended if len(extended) == 1 else difflib.get_close_matches(word, known, 1, MIN_SIMILARITY)
    return f"did you mean {near[0]!r}?" if near else ""


def value_excerpt(value: object) -> str:
    """A refused value as its error repeats it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{printable_excerpt(value)}'"
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
            raise FieldError(f"must be one of {', '.join(map(str, choices))}, not {value_excerpt(value)}")
        return value

    return AfterValidator(check)


def check_speakable(text: str) -> str:
    """Validates a text to speak: punctuation, pictures and spaces alone are nothing to say."""
    if not has_speakable(text):
        raise FieldError("has nothing in it to say", "send at least one letter or digit")
    return text


def short_text(max_chars: int, *, may_be_empty: bool = False) -> AfterValidator:
    """A pydantic validator for a short text that lists show: visible, not too long."""

    def check(text: str) -> str:
        if may_be_empty and not text:
            return text
        if is_blank(text):
            raise FieldError("is blank", "send at least one visible character")
        if len(text) > max_chars:
            raise FieldError(f"has {len(text)} characters", f"send at most {max_chars}")
        hidden = next((char for char in text if not is_printable(char)), None)
        if hidden is not None:
            raise FieldError(f"holds the invisible character U+{ord(hidden):04X}", "send it without")
        return text

    return AfterValidator(check)
