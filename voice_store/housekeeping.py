"""What workers that died left behind is removed, by whoever writes next."""

from __future__ import annotations

import logging
import time

from voice_store.files import Folder
from voice_store.listing import Listing, Voices

log = logging.getLogger(__name__)

LEFTOVER_AFTER_S = 24 * 3600.0  # no write takes that long
_EVERY_S = 3600.0


class Housekeeping:
    """Methods may raise OSError."""

    def __init__(self, root: Folder, voices: Voices) -> None:
        self._voices = voices
        self._folders = (
            root,
            voices.metadata.folder,
            voices.embeddings.folder,
            voices.revisions.folder,
            voices.tombstones.folder,
            voices.shelves.folder,
            voices.previews.folder,
        )
        self._swept_at_s = float("-inf")
        self._forgotten: frozenset[str] = frozenset()  # ids of deleted voices that nothing was left of

    def tidy_up(self, listing: Listing) -> None:
        """Finishes deletions that were cut short, and now and then sweeps."""
        self.finish_deletions(listing)
        self.forget_deleted(listing)
        if time.monotonic() - self._swept_at_s >= _EVERY_S:
            self._swept_at_s = time.monotonic()
            self.sweep(listing)

    def finish_deletions(self, listing: Listing) -> None:
        for voice_id in listing.hidden:
            self._voices.finish_deletion(voice_id)

    def forget_deleted(self, listing: Listing, *, anew: bool = False) -> None:
        """Removes what another worker wrote about a voice while it was being deleted.

        anew: looks again at voices that nothing was left of before.
        """
        gone = listing.gone()
        if anew or not gone <= self._forgotten:
            for voice_id in gone & self._voices.owners():
                if not self._voices.embeddings.has(voice_id):  # an older program may have put one there since
                    self._voices.forget(voice_id)
        self._forgotten = gone

    def sweep(self, listing: Listing) -> list[str]:
        """Removes temporary files, what is left of voices that are gone, and old tombstones; says which."""
        self.forget_deleted(listing, anew=True)
        swept = [
            f"{folder.path.name}/{name}"
            for folder in self._folders
            for name in folder.sweep(LEFTOVER_AFTER_S)
        ]
        swept += self._voices.tombstones.sweep(self._voices.embeddings.stamp, LEFTOVER_AFTER_S)
        if listing.voice_ids:  # an empty folder may be a volume that is not there
            swept += self._voices.revisions.sweep({*listing.voice_ids}, LEFTOVER_AFTER_S)
            swept += self._voices.shelves.sweep({*listing.voice_ids}, LEFTOVER_AFTER_S)
            swept += self._voices.previews.sweep({*listing.voice_ids}, LEFTOVER_AFTER_S)
            for voice_id in self._voices.metadata.orphans(listing.voice_ids, LEFTOVER_AFTER_S):
                self._voices.metadata.forget(voice_id)
        return swept
