"""Pronunciations: what is kept with a voice, and in the file ``pronunciations.json`` for all voices.

The file holds ``{"pronunciations": [{"text": "Nguyen", "say": "win"}, ...]}``, or the list alone. People may
write it by hand: what cannot be used of it is left out with a warning, and no job fails for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from characters import fold_each_character, normalize_unicode, plain_marks
from errors import InvalidRequest, Problem, StoreCorrupt
from voice_store.files import Folder, NotAPlainFileError, Stamp
from voice_store.names import readable

FILE_NAME = "pronunciations.json"
MAX_PRONUNCIATIONS = 500  # of a job, of a voice, of the store
MAX_TEXT_CHARS = 100
MAX_SAY_CHARS = 200
MAX_FILE_BYTES = 2**21

_LIST = "pronunciations"
_OPTIONS = {"case_sensitive": False, "whole_word": True}  # with their defaults

Entry = dict[str, Any]  # text, say, case_sensitive, whole_word


class StorePronunciations(NamedTuple):
    """What the store's file holds."""

    entries: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()  # sentences about what of it cannot be used


def pronunciation_key(text: str, case_sensitive: bool) -> tuple[bool, str]:
    """Returns what two entries share that are found in the same places."""
    composed = normalize_unicode("NFC", text)
    return case_sensitive, plain_marks(composed) if case_sensitive else fold_each_character(composed)


def tidy_entries(value: object) -> list[Entry]:
    """The entries of a list that anyone may have written, as many as are read; texts of unusable ones are "".

    Each has the keys ``text``, ``say``, ``case_sensitive`` and ``whole_word``.
    """
    entries = value if isinstance(value, list) else [value] if value else []
    return [_tidy_entry(entry) for entry in entries[:MAX_PRONUNCIATIONS]]


def check_entry(entry: Mapping[str, Any]) -> list[Problem]:
    """Returns what keeps an entry from being used."""
    problems = []
    for key, limit in (("text", MAX_TEXT_CHARS), ("say", MAX_SAY_CHARS)):
        text = entry.get(key)
        if not isinstance(text, str) or not readable(text, limit):
            problems.append(Problem("is missing or blank", key, f"give 1 to {limit} visible characters"))
        elif len(text) > limit:
            problems.append(Problem(f"has {len(text)} characters", key, f"give at most {limit}"))
        elif readable(text, limit) != normalize_unicode("NFC", text):
            problems.append(Problem("has spaces around it or holds a control character", key, "remove it"))
    for key in _OPTIONS:
        if not isinstance(entry.get(key, False), bool):
            problems.append(Problem("is neither true nor false", key, "correct it"))
    return problems


class PronunciationsFile:
    """The file of a store. It is read again once it has changed."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._stamp: Stamp | None = None
        self._seen = StorePronunciations()

    def read(self) -> StorePronunciations:
        """Returns the entries that can be used; none, and a warning, where the file cannot be read."""
        try:
            stamp = self._folder.stamp_of(FILE_NAME)
            if stamp != self._stamp:
                self._seen = StorePronunciations() if stamp is None else _usable(self._parse())
                self._stamp = stamp
        except StoreCorrupt as error:  # not read again until it changes
            self._seen, self._stamp = StorePronunciations(warnings=(error.message,)), stamp
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            return StorePronunciations(warnings=(f"{FILE_NAME} of the store cannot be read: {reason}",))
        return self._seen

    def put(self, entries: Iterable[Mapping[str, Any]]) -> int:
        """Adds entries, in place of those for the same text; returns how many those are.

        Raises InvalidRequest naming the entry at fault, StoreCorrupt for a file that cannot be read, OSError.
        """
        content = self._parse()
        kept: list[Any] = list(content[_LIST])
        places = {_key(entry): place for place, entry in enumerate(kept)}
        replaced = 0
        for entry in entries:
            if problems := check_entry(entry):
                says = "; ".join(problem.render() for problem in problems)
                raise InvalidRequest(f'"{readable(entry.get("text"), 40)}": {says}')
            new = {key: entry[key] for key in ("text", "say")}
            new |= {key: entry[key] for key, usual in _OPTIONS.items() if entry.get(key, usual) != usual}
            place = places.setdefault(_key(new), len(kept))
            replaced += place < len(kept)
            kept[place : place + 1] = [new]
        if len(kept) > MAX_PRONUNCIATIONS:
            raise InvalidRequest(
                f"the store would have {len(kept)} pronunciations", hint=f"keep at most {MAX_PRONUNCIATIONS}"
            )
        self._write({**content, _LIST: kept})
        return replaced

    def remove(self, text: str) -> int:
        """Removes the entries for a text in any case; returns how many there were.

        Raises StoreCorrupt for a file that cannot be read, OSError.
        """
        content = self._parse()
        wanted = pronunciation_key(text, case_sensitive=False)
        kept = [entry for entry in content[_LIST] if _key(entry, in_any_case=True) != wanted]
        if removed := len(content[_LIST]) - len(kept):
            self._write({**content, _LIST: kept})
        return removed

    def _parse(self) -> dict[str, Any]:
        """The file's content as an object with a list. Raises StoreCorrupt, OSError."""
        try:
            return parse_file(self._folder.read(FILE_NAME, MAX_FILE_BYTES))
        except FileNotFoundError:
            return {_LIST: []}
        except (NotAPlainFileError, ValueError) as error:
            says = str(error) or f"is no file, or larger than {MAX_FILE_BYTES // 2**20} MiB"
            reason = f"{FILE_NAME} of the store {says}"
            raise StoreCorrupt(reason, hint="correct the file, or remove it") from error

    def _write(self, content: Mapping[str, Any]) -> None:
        """Writes an entry a line, for people who read the file."""
        lines = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in content[_LIST])
        others = "".join(
            f",\n  {json.dumps({key: value}, ensure_ascii=False)[1:-1]}"
            for key, value in content.items()
            if key != _LIST
        )
        data = f'{{\n  "{_LIST}": [\n{lines}\n  ]{others}\n}}\n'.encode("utf-8", "backslashreplace")
        if len(data) > MAX_FILE_BYTES:
            raise InvalidRequest(f"{FILE_NAME} would be too large", hint="remove what else it holds")
        self._folder.make()
        self._folder.replace(FILE_NAME, data)


def parse_file(data: bytes) -> dict[str, Any]:
    """Returns the content of a JSON file as an object with the list ``pronunciations``.

    Raises ValueError whose text is the predicate of a sentence about the file.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"is no JSON{where}") from error
    if isinstance(content, list):
        return {_LIST: content}
    if not isinstance(content, dict) or not isinstance(content.get(_LIST), list):
        raise ValueError(f'is neither a list nor an object with the list "{_LIST}"')
    return content


def _usable(content: Mapping[str, Any]) -> StorePronunciations:
    entries, warnings = list[Entry](), list[str]()
    for index, entry in enumerate(content[_LIST][:MAX_PRONUNCIATIONS]):
        what = f"ignored, though in {FILE_NAME} of the store: [{index}]"
        if not isinstance(entry, dict):
            warnings.append(f"{what} is no object")
        elif problems := check_entry(entry):
            warnings.append("; ".join(f"{what}.{problem.render()}" for problem in problems))
        else:
            entries.append(_tidy_entry(entry))
    if len(content[_LIST]) > MAX_PRONUNCIATIONS:
        warnings.append(f"{FILE_NAME} of the store: only the first {MAX_PRONUNCIATIONS} entries are read")
    if len(warnings) > 5:
        warnings[5:] = [f"and {len(warnings) - 5} more warnings about {FILE_NAME} of the store"]
    return StorePronunciations(tuple(entries), tuple(warnings))


def _tidy_entry(entry: object) -> Entry:
    said = entry if isinstance(entry, dict) else {}
    options = {
        key: said[key] if isinstance(said.get(key), bool) else usual for key, usual in _OPTIONS.items()
    }
    # One character more than an entry may have: it is not to pass for a shorter one.
    text, say = readable(said.get("text"), MAX_TEXT_CHARS + 1), readable(said.get("say"), MAX_SAY_CHARS + 1)
    return {"text": text, "say": say, **options}


def _key(entry: object, *, in_any_case: bool = False) -> object:
    """Of an entry that anyone may have written; one that cannot be used is like no other."""
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        return id(entry)
    return pronunciation_key(entry["text"], not in_any_case and bool(entry.get("case_sensitive")))
