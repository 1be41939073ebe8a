"""Which models a worker has, and where their weights come from, as environment variables say it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from speech.models.spec import CHATTERBOX, MODELS, ModelSource

MAX_SHOWN_CHARS = 80  # of a bad value
DEFAULT_REVISION = "main"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def model_sources(env: Mapping[str, str]) -> tuple[tuple[ModelSource, ...], list[str]]:
    """Reads MODEL, MODEL_REVISION, CHECKPOINT_DIR and MODEL_DIRS.

    Returns the models, of which the first is the default, and what is wrong, a sentence each. Where something
    is wrong, the models are the default's.
    """
    reader = _Reader(env)
    sources = reader.sources()
    return (ModelSource(CHATTERBOX.name),) if reader.problems else sources, reader.problems


@dataclass(frozen=True)
class _Reader:
    env: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def sources(self) -> tuple[ModelSource, ...]:
        folders = self._folders()
        names = self._names_with_revisions(folders)
        if not names:
            return ()
        first = next(iter(names))
        self._add_revision_of(first, names)
        self._add_folder_of(first, folders)
        for name in folders.keys() - names.keys():
            self._report(f"MODEL_DIRS has a folder of {name}, which MODEL lacks: add {name} to MODEL")
        for name in names.keys() & folders.keys():
            if names[name] is not None:
                self._report(
                    f"{name} has a revision, {_shown(names[name])}, and a folder, which has none: remove it "
                    "from MODEL or unset MODEL_REVISION, or remove its folder"
                )
        return tuple(
            ModelSource(name, revision or DEFAULT_REVISION, folders.get(name))
            for name, revision in names.items()
        )

    def _names_with_revisions(self, folders: Mapping[str, Path | None]) -> dict[str, str | None]:
        """Reads MODEL; the revision is None where it has none."""
        names: dict[str, str | None] = {}
        entries = _entries(self._text("MODEL") or CHATTERBOX.name)
        if not entries:
            self._report(f"MODEL is {_shown(self._text('MODEL'))}: set it to one of {', '.join(MODELS)}")
        for entry in entries:
            name, at, revision = (part.strip() for part in entry.partition("@"))
            name = name.lower()
            if name not in MODELS and name not in folders:
                self._report(
                    f"MODEL is {_shown(entry)}: set it to one of {', '.join({**MODELS, **folders})}, or to "
                    "several separated by commas, or unset it (a model of your own has its folder in "
                    "MODEL_DIRS)"
                )
            elif name in names:
                self._report(f"MODEL has {name} twice: name each model once")
            elif at and not revision:
                self._report(f"MODEL has {_shown(entry)}: set a branch, tag or commit after the @")
            else:
                names[name] = revision or None
        return names

    def _add_revision_of(self, first: str, names: dict[str, str | None]) -> None:
        revision = self._text("MODEL_REVISION")
        if revision is None or revision == DEFAULT_REVISION:  # as the image has it
            return
        pinned = names[first]
        if pinned not in (None, revision):
            self._report(
                f"MODEL_REVISION is {_shown(revision)}, and MODEL has {first}@{shortened(pinned or '')}: "
                "unset one of them"
            )
        names[first] = revision

    def _add_folder_of(self, first: str, folders: dict[str, Path | None]) -> None:
        value = self._text("CHECKPOINT_DIR")
        if value is None:
            return
        if first in folders:
            self._report(f"CHECKPOINT_DIR and MODEL_DIRS both name a folder of {first}: unset one of them")
        folders[first] = self._folder(
            value, f"CHECKPOINT_DIR is {_shown(value)}: set it to a folder that exists, or unset it"
        )

    def _folders(self) -> dict[str, Path | None]:
        """Reads MODEL_DIRS; None for a folder that was reported."""
        folders: dict[str, Path | None] = {}
        for entry in _entries(self._text("MODEL_DIRS") or ""):
            name, equals, value = (part.strip() for part in entry.partition("="))
            name = name.lower()
            if not equals or not value or not _NAME.fullmatch(name):
                self._report(
                    f"MODEL_DIRS has {_shown(entry)}: set it to name=folder, several separated by commas; "
                    "names are of small letters, digits, dots and hyphens; where a folder's own name has a "
                    "comma, name a link to it"
                )
            elif name in folders:
                self._report(f"MODEL_DIRS has two folders of {name}: remove one")
            else:
                folders[name] = self._folder(
                    value,
                    f"MODEL_DIRS has {_shown(entry)}, and there is no such folder: set it to name=folder, "
                    "several separated by commas, with folders that exist",
                )
        return folders

    def _folder(self, value: str, problem: str) -> Path | None:
        try:
            path = Path(value).expanduser()
            if path.is_dir():
                return path
        except (RuntimeError, OSError, ValueError):  # no such user; too long; a null byte
            pass
        self._report(problem)
        return None

    def _text(self, name: str) -> str | None:
        return self.env.get(name, "").strip() or None

    def _report(self, problem: str) -> None:
        self.problems.append(problem)


def _entries(text: str) -> list[str]:
    return [entry for part in text.split(",") if (entry := part.strip())]


def _shown(value: str | None) -> str:
    return repr(shortened(value or ""))


def shortened(value: str) -> str:
    """Returns a value as it is shown in a sentence about it."""
    return value if len(value) <= MAX_SHOWN_CHARS else f"{value[: MAX_SHOWN_CHARS - 3]}..."
