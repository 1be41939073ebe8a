"""Which voices there are, from the names of the files alone."""

from __future__ import annotations

from dataclasses import dataclass

from voice_store.embeddings import Embeddings
from voice_store.files import Stamp
from voice_store.revisions import Revisions
from voice_store.tombstones import Tombstones


@dataclass(frozen=True)
class Listing:
    """voice_ids: of the voices that count, in order. revisions: the latest numbers, by id.

    deleted: ids that have a tombstone. hidden: those of them whose file is still to be removed.
    """

    voice_ids: list[str]
    revisions: dict[str, int]
    deleted: frozenset[str]
    hidden: frozenset[str]


class Voices:
    """The folders that say which voices there are and what was done to them. Methods may raise OSError."""

    def __init__(self, embeddings: Embeddings, revisions: Revisions, tombstones: Tombstones) -> None:
        self.embeddings = embeddings
        self.revisions = revisions
        self.tombstones = tombstones

    def stamps(self) -> tuple[Stamp | None, ...]:
        """Differ once a voice came, changed or went, unless that was within a tick of the volume's clock."""
        rooms = (self.embeddings, self.revisions, self.tombstones)
        return tuple(room.folder.stamp() for room in rooms)

    def list(self) -> Listing:
        pending, done = self.tombstones.list_ids()
        voice_ids = self.embeddings.list_ids()
        hidden = frozenset(
            voice_id for voice_id in pending.intersection(voice_ids) if self.is_hidden(voice_id)
        )
        return Listing(
            [voice_id for voice_id in voice_ids if voice_id not in hidden],
            self.revisions.latest(),
            frozenset(pending | done),
            hidden,
        )

    def is_there(self, voice_id: str) -> bool:
        """Whether an id is that of a voice, damaged or not, that has not been deleted."""
        return self.embeddings.has(voice_id) and not self.is_hidden(voice_id)

    def is_hidden(self, voice_id: str) -> bool:
        return self.tombstones.hides(voice_id, self.embeddings.stamp(voice_id))

    def finish_deletion(self, voice_id: str) -> None:
        """Removes what is left of a voice that a pending tombstone hides."""
        if self.is_hidden(voice_id):
            self.embeddings.remove(voice_id)
        self.revisions.drop(voice_id)
        self.tombstones.settle(voice_id)
