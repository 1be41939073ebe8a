"""What can be wrong with a store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from voice_store.files import Stamp

EMBEDDINGS, METADATA, REVISIONS, DELETED = FOLDERS = ("embeddings", "metadata", "revisions", "deleted")
CONDITIONALS = "conditionals"
VOICE_SUFFIX = ".pkl.gz"


class Remedy(Enum):
    """What is to be done about a problem."""

    QUARANTINE = auto()  # the file is put where nobody reads it
    REBUILD = auto()  # indexes are derived anew from the voices
    TIDY = auto()  # what a writer that died left unfinished is finished or removed
    BY_HAND = auto()  # only a person can tell


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file.

    folder: one of FOLDERS or CONDITIONALS, or "" for the store's own. name: of the file in it, or "" for the
    folder itself.
    says: the rest of a sentence. stamp: of the file that was looked at, where it is to be moved.
    """

    folder: str
    name: str
    says: str
    remedy: Remedy
    stamp: Stamp | None = None

    @property
    def file(self) -> str:
        return "/".join(part for part in (self.folder, self.name) if part)

    def __str__(self) -> str:
        return f"{self.file}: {self.says}"


@dataclass(frozen=True)
class Report:
    """problems: in the order of the files. notes: sentences about what is unusual, but no damage.

    voices: how many there are, damaged ones too. sound_voices: of those, and how long they are together.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    voices: int = 0
    sound_voices: int = 0
    audio_s: float = 0.0
