"""The folders in which a model's files lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """The folders with the weights of a model."""

    folder: Path  # the model's own
    revision: str | None  # the hub's commit, 40 hex digits; None when only the content can tell
    may_be_unpublished: bool = False  # named by the operator, or the last resort
    # Folders with what the model's own lacks, in the order in which they are searched: of the model that it
    # was made from, and of the repository that several models share.
    base_folders: tuple[Path, ...] = ()

    def file(self, name: str) -> Path:
        """Returns where a file lies; its place in the model's own folder when it lies nowhere.

        Where a folder lacks a safetensors file, a ``.pt`` file of the same stem stands for it.
        """
        found = (existing_file(folder, name) for folder in (self.folder, *self.base_folders))
        return next((path for path in found if path is not None), self.folder / name)

    def files(self, names: Iterable[str]) -> tuple[Path, ...]:
        """Returns where files lie, see ``file``."""
        return tuple(self.file(name) for name in names)


def existing_file(folder: Path, name: str) -> Path | None:
    """Returns a file, or else its ``.pt`` twin."""
    path = folder / name
    if path.is_file():
        return path
    twin = path.with_suffix(".pt")
    return twin if path.suffix == ".safetensors" and twin.is_file() else None
