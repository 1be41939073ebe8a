"""Stops a process, or a call to the operating system, at a chosen step of what the store does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

# Whatever changes the volume, or may be refused by it.
CALLS = ("open", "write", "fsync", "link", "replace", "rename", "unlink", "mkdir")

Interferes = Callable[[int, str, Callable[..., Any], tuple, dict], Any]


@contextmanager
def interfering(interferes: Interferes) -> Iterator[None]:
    """Calls ``interferes(step, name, call, arguments, options)`` in the place of each of CALLS."""
    originals = {name: getattr(os, name) for name in CALLS}
    steps = count(1)

    def replaced(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return interferes(next(steps), name, originals[name], arguments, options)

        return call

    try:
        for name in CALLS:
            setattr(os, name, replaced(name))
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def only_reads(name: str, arguments: tuple) -> bool:
    """Whether a call leaves the volume as it is."""
    return name == "open" and not arguments[1] & os.O_CREAT


def counting() -> tuple[Interferes, list[bool]]:
    """Lets everything happen, and notes of each call whether it changes the volume."""
    seen: list[bool] = []

    def note(step: int, name: str, call: Callable[..., Any], arguments: tuple, options: dict) -> Any:
        seen.append(not only_reads(name, arguments))
        return call(*arguments, **options)

    return note, seen


def killing(at_step: int) -> Interferes:
    """SIGKILL before that step; in the middle of it, when it writes."""

    def kill(step: int, name: str, call: Callable[..., Any], arguments: tuple, options: dict) -> Any:
        if step == at_step:
            if name == "write":
                file, data = arguments
                call(file, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return kill


def failing(code: int, at_step: int, *, from_then_on: bool) -> Interferes:
    """That error at that step; or at it and all later ones that would write."""

    def fail(step: int, name: str, call: Callable[..., Any], arguments: tuple, options: dict) -> Any:
        if step == at_step or (from_then_on and step > at_step and not only_reads(name, arguments)):
            raise OSError(code, os.strerror(code))
        return call(*arguments, **options)

    return fail


class CrashError(BaseException):
    """The process is gone: nothing that it would still do happens."""


def interleaving(other: Callable[[], object], at_step: int, *, crash_at: int | None = None) -> Interferes:
    """Lets another worker do all of ``other`` before that step; the steps that it takes do not count.

    crash_at: a later step, from which on nothing happens any more.
    """
    own_steps = count(1)
    is_others_turn = False

    def interleave(_: int, __: str, call: Callable[..., Any], arguments: tuple, options: dict) -> Any:
        nonlocal is_others_turn
        if not is_others_turn:
            step = next(own_steps)
            if step == at_step:
                is_others_turn = True
                other()
                is_others_turn = False
            if crash_at is not None and step >= crash_at:
                raise CrashError
        return call(*arguments, **options)

    return interleave
