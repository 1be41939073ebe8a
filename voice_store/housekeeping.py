"""What workers that died left behind is removed, by whoever writes next."""

from __future__ import annotations

import logging
import time

from voice_store.files import Folder
from voice_store.indexes import Indexes
from voice_store.listing import Listing, Voices

log = logging.getLogger(__name__)

LEFTOVER_AFTER_S = 24 * 3600.0  # no write takes that long
_EVERY_S = 3600.0


class Housekeeping:
    """Methods may raise OSError."""

    def __init__(self, root: Folder, voices: Voices, indexes: Indexes) -> None:
        self._voices = voices
        self._indexes = indexes
        self._folders = (
            root,
            indexes.metadata.folder,
            voices.embeddings.folder,
            voices.revisions.folder,
            voices.tombstones.folder,
            voices.shelves.folder,
        )
        self._swept_at_s = float("-inf")

    def tidy_up(self, listing: Listing) -> None:
        """Finishes deletions that were cut short, and now and then sweeps."""
        self.finish_deletions(listing)
        if time.monotonic() - self._swept_at_s >= _EVERY_S:
            self._swept_at_s = time.monotonic()
            self.sweep(listing)

    def finish_deletions(self, listing: Listing) -> None:
        for voice_id in listing.hidden:
            self._voices.finish_deletion(voice_id)
            self._indexes.metadata.forget(voice_id)

    def sweep(self, listing: Listing) -> list[str]:
        """Removes temporary files, what is left of voices that are gone, and old tombstones; says which."""
        swept = [
            f"{folder.path.name}/{name}"
            for folder in self._folders
            for name in folder.sweep(LEFTOVER_AFTER_S)
        ]
        swept += self._voices.tombstones.sweep(self._voices.embeddings.stamp, LEFTOVER_AFTER_S)
        if listing.voice_ids:  # an empty folder may be a volume that is not there
            swept += self._voices.revisions.sweep({*listing.voice_ids}, LEFTOVER_AFTER_S)
            swept += self._voices.shelves.sweep({*listing.voice_ids}, LEFTOVER_AFTER_S)
        return swept
