"""Which voices there are, from the names of the files alone."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from pathlib import Path

from voice_store.embeddings import Embeddings
from voice_store.files import Folder, Stamp
from voice_store.metadata_files import MetadataFiles
from voice_store.previews import Previews
from voice_store.revisions import Revisions
from voice_store.shelves import Shelves
from voice_store.tombstones import Tombstone, Tombstones


@dataclass(frozen=True)
class Listing:
    """voice_ids: of the voices that count, in order. revisions: the latest numbers, by id.

    deleted: ids that have a tombstone. hidden: those of them whose file is still to be removed.
    """

    voice_ids: list[str]
    revisions: dict[str, int]
    deleted: frozenset[str]
    hidden: frozenset[str]

    def gone(self) -> frozenset[str]:
        """The ids of deleted voices whose files are gone, too."""
        return self.deleted.difference(self.voice_ids, self.hidden)


class Voices:
    """The folders that say which voices there are and what was done to them, and what was made of them.

    Methods may raise OSError.
    """

    def __init__(self, root: Path, kind: type[Folder] = Folder) -> None:
        self.embeddings = Embeddings(kind(root / "embeddings"))
        self.revisions = Revisions(kind(root / "revisions"))
        self.tombstones = Tombstones(kind(root / "deleted"))
        self.shelves = Shelves(kind(root / "conditionals"), self.embeddings)
        self.previews = Previews(kind(root / "previews"), self.embeddings)
        self.metadata = MetadataFiles(kind(root / "metadata"), self.embeddings)

    def stamps(self) -> tuple[Stamp | None, ...]:
        """Differ once a voice came, changed or went, unless that was within a tick of the volume's clock."""
        rooms = (self.embeddings, self.revisions, self.tombstones)
        return tuple(room.folder.stamp() for room in rooms)

    def list(self) -> Listing:
        pending, deleted = self.tombstones.list()
        voice_ids = self.embeddings.list_ids()
        hidden = frozenset(
            tombstone.voice_id for tombstone in pending if tombstone.hides(self.embeddings.stamp)
        )
        # A voice that was replaced counts as deleted once its file is gone; before, only while it is hidden.
        buried = (
            tombstone.voice_id
            for tombstone in pending
            if tombstone.successor is None or not self.embeddings.has(tombstone.voice_id)
        )
        return Listing(
            [voice_id for voice_id in voice_ids if voice_id not in hidden],
            self.revisions.latest(),
            hidden.union(deleted, buried),
            hidden,
        )

    def is_there(self, voice_id: str) -> bool:
        """Whether an id is that of a voice, damaged or not, that has not been deleted."""
        return self.embeddings.has(voice_id) and not self._hiding(voice_id)

    def finish_deletion(self, voice_id: str) -> None:
        """Removes what is left of a voice that a tombstone hides.

        The voice's file goes last: for as long as it is there, the tombstone hides it, and any worker finds
        that the deletion is to be finished. What another worker wrote in between goes after it.
        """
        hiding = self._hiding(voice_id)
        if not hiding:
            return
        try:
            self.forget(voice_id)
        finally:  # the recording itself goes, whatever the volume says about the rest
            self.embeddings.remove(voice_id)
        self.forget(voice_id)
        for tombstone in hiding:
            self.tombstones.settle(tombstone)

    def owners(self) -> set[str]:
        """The ids of voices, be they there or not, beside whose file anything lies: see ``forget``."""
        beside = self.shelves.owners() | self.previews.owners()
        return self.metadata.ids() | self.revisions.latest().keys() | beside

    def forget(self, voice_id: str) -> None:
        """Removes what lies beside a deleted voice's file: metadata, changes, conditionals, preview."""
        self.metadata.forget(voice_id)
        self.revisions.drop(voice_id)
        self.shelves.forget(voice_id)
        self.previews.forget(voice_id)

    def finish_replacements_by(self, voice_id: str) -> None:
        """Removes the files of voices that are hidden for as long as this one is there."""
        for tombstone in self.tombstones.list()[0]:
            if tombstone.successor and tombstone.successor.voice_id == voice_id:
                self.finish_deletion(tombstone.voice_id)

    def _hiding(self, voice_id: str) -> builtins.list[Tombstone]:
        """The tombstones that hide a voice."""
        pending, _ = self.tombstones.list()
        return [
            tombstone
            for tombstone in pending
            if tombstone.voice_id == voice_id and tombstone.hides(self.embeddings.stamp)
        ]
