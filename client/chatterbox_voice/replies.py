"""Parts of replies, read without trust in their types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from chatterbox_voice.errors import UnexpectedReply

MAX_NUMBER = 1e12


def as_object(said: Any, what: str = "the reply") -> dict[str, Any]:
    """Returns a JSON object as it is. Raises UnexpectedReply for anything else."""
    if not isinstance(said, dict):
        raise UnexpectedReply(f"{what} is {type(said).__name__}, not an object")
    return said


def as_list(said: Any, what: str) -> list[Any]:
    """Returns a JSON list as it is. Raises UnexpectedReply for anything else."""
    if not isinstance(said, list):
        raise UnexpectedReply(f"{what} is {type(said).__name__}, not a list")
    return said


def number(reply: Mapping[str, Any], name: str) -> float:
    """Returns a number of a reply; 0 where it has none."""
    value = reply.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if abs(value) < MAX_NUMBER and math.isfinite(value) else 0.0


def whole(reply: Mapping[str, Any], name: str) -> int:
    """Returns a whole number of a reply; 0 where it has none."""
    return int(number(reply, name))


def objects(reply: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Returns the objects of a list in a reply; none where it has no list."""
    value = reply.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def strings(reply: Mapping[str, Any], name: str) -> list[str]:
    """Returns the strings of a list in a reply; none where it has no list."""
    value = reply.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
