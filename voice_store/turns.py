"""One thread at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec, Protocol, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class TakesTurns(Protocol):
    turn: AbstractContextManager[object]


Self = TypeVar("Self", bound=TakesTurns)


def in_turn(
    method: Callable[Concatenate[Self, Arguments], Result],
) -> Callable[Concatenate[Self, Arguments], Result]:
    """The method waits until no other thread is in one of its object's methods."""

    @functools.wraps(method)
    def waiting(self: Self, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        with self.turn:
            return method(self, *arguments, **named)

    return waiting
