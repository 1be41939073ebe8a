"""The library in a worker's memory, looked after so that other workers' changes appear in it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from voice_store.files import Stamp
from voice_store.folders import Listing, StoreFolders, done_all_the_same
from voice_store.indexes import Indexes
from voice_store.json_files import JsonObject
from voice_store.library import Library

log = logging.getLogger(__name__)

# Passes of writing the indexes while others write. Each worker that clones at the same time can cost one.
_PASSES = 30
_SWEEP_EVERY_S = 3600.0
_RETRY_AFTER_S = 30.0  # of writing indexes that the volume did not take


@dataclass(frozen=True)
class Timing:
    """settle_s: how long a change by another worker may take to be seen everywhere, in seconds.

    now: a clock, in seconds. sleep: waits so many seconds. indexes_at_once: whether each change is told to
    the indexes when it is made; else, for many in a row, every ``settle_s`` and by whoever reads next.
    in_background: whether indexes that others have left behind are made good in a thread of their own, so
    that no reader waits for it.
    """

    settle_s: float = 2.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    indexes_at_once: bool = True
    in_background: bool = False


class LiveLibrary:
    """Reads the volume no more than it must. Methods may raise OSError; any thread may call them.

    What stands in the names of files, that is which voices there are and how often each was changed, is
    listed anew when a folder's stamp differs, and otherwise every ``settle_s``: two changes within one tick
    of the volume's clock leave the same stamp. The indexes are read again at most that often, because other
    workers exchange them all the time and the files of the voices say the same. A reader makes them good, and
    finishes what others have left, only after ``settle_s``: until then the writer may be at it.
    """

    def __init__(self, folders: StoreFolders, timing: Timing) -> None:
        self.indexes = Indexes(folders)
        self._folders = folders
        self._timing = timing
        self._lock = threading.RLock()  # of all below but for the snapshot, which readers take without it
        self._library: Library | None = None
        self._listing: Listing | None = None
        self._stamps: tuple[Stamp | None, ...] = ()
        self._listed_at_s = self._indexes_read_at_s = 0.0
        self._doubtful_since_s: float | None = None  # when something differed that indexes may not know yet
        self._forgotten: frozenset[str] = frozenset()  # ids of deleted voices that nothing was left of
        self._swept_at_s = float("-inf")
        self._is_mending = False

    @property
    def listing(self) -> Listing:
        assert self._listing is not None, "read() first"
        return self._listing

    @property
    def is_doubtful(self) -> bool:
        """Whether something was seen to differ that the indexes may not know yet."""
        return self._doubtful_since_s is not None

    def read(self, *, anew: bool = False) -> Library:
        """The voices there are, without waiting for a thread that is just looking or writing.

        anew: waits for it, and does not believe the stamps.
        """
        library, now_s = self._library, self._timing.now()
        must_look = anew or library is None
        if library is not None and not must_look and not self._is_stale(now_s):
            return library
        if not self._lock.acquire(blocking=must_look):
            assert library is not None
            return library
        try:
            library = self._refresh(now_s, anew)
            is_due = self._doubtful_since_s is not None and self._is_due(self._doubtful_since_s, now_s)
            starts_mending = is_due and not self._is_mending
            if starts_mending:
                self._is_mending = True
        finally:
            self._lock.release()
        if starts_mending and self._timing.in_background:
            try:
                threading.Thread(target=self._mend_quietly, name="voice store", daemon=True).start()
            except RuntimeError as fault:  # the process ends, or may have no more threads
                self._is_mending = False
                log.warning("no thread to make the indexes good: %r", fault)
        elif starts_mending:
            library = self._mend()
        return library

    def write(self, *, is_due: bool = False) -> Library:
        """The voices there are, after a change by this worker, which is written to the indexes.

        is_due: also where not each change is written to them at once.

        Locks may not work, and nothing exchanges a file only if nobody else has just done so: what is written
        here may lack a voice that another worker has committed, told the indexes of and acknowledged since
        the listing was made. So the voices are listed, and the indexes read, again after every write, by all
        who write: whoever writes last then finds what is missing, and mends it.
        """
        if not (is_due or self._timing.indexes_at_once):
            return self.read(anew=True)
        with self.indexes.taking_turns():
            for number in range(_PASSES):
                with self._lock:
                    library, is_good = self._write_once(is_first=number == 0)
                if is_good:
                    break
        self._tidy_up()
        return library

    def look_up(self, voice_id: str) -> tuple[Library, JsonObject, int]:
        """The voices there are, and the entry and the latest revision of one of them, at the same time."""
        with self._lock:
            library = self._refresh(self._timing.now(), anew=True)
            return library, self.indexes.entry(voice_id), self.listing.revisions.get(voice_id, 0)

    def pause(self, seconds: float) -> None:
        """Lets other workers go first."""
        if seconds > 0:
            self._timing.sleep(seconds)

    def _is_stale(self, now_s: float) -> bool:
        return self._is_due(self._listed_at_s, now_s) or self._folders.stamps() != self._stamps

    def _refresh(self, now_s: float, anew: bool) -> Library:
        has_changed = self._list(now_s, anew)
        if self._library is None or (
            self._is_due(self._indexes_read_at_s, now_s) and self.indexes.have_changed()
        ):
            self.indexes.read(self.listing)
            self._indexes_read_at_s = now_s
            has_changed = True
        if self._library is None:  # nobody else may be there to make the indexes good
            self._doubtful_since_s = now_s - self._timing.settle_s
        if has_changed or self._library is None:
            self._library = self.indexes.library(self.listing)
            if self._doubtful_since_s is None:
                self._doubtful_since_s = now_s
        return self._library

    def _list(self, now_s: float, anew: bool) -> bool:
        """Whether anything is listed now that was not, or the other way round."""
        stamps = self._folders.stamps()
        if not anew and stamps == self._stamps and not self._is_due(self._listed_at_s, now_s):
            return False
        before, self._listing = self._listing, self._folders.list()
        self._stamps, self._listed_at_s = stamps, now_s
        return self._listing != before

    def _mend_quietly(self) -> None:
        with done_all_the_same("making the indexes good"):
            self._mend()

    def _mend(self) -> Library:
        """Does what other workers, or older programs, have left undone."""
        try:
            # An empty folder may be a volume that is not there: its indexes stay.
            if self.listing.voice_ids or self.listing.deleted or self.listing.replaced:
                return self.write(is_due=True)
            self._doubtful_since_s = None
            assert self._library is not None
            return self._library
        finally:
            self._is_mending = False

    def _write_once(self, *, is_first: bool) -> tuple[Library, bool]:
        """The voices, and whether the indexes say the same."""
        now_s = self._timing.now()
        has_changed = self._list(now_s, anew=True)
        if is_first or has_changed or self._library is None or self.indexes.have_changed():
            self.indexes.read(self.listing)
            self._indexes_read_at_s = now_s
            self._library = self.indexes.library(self.listing)
            self.indexes.describe()
            is_good = self.indexes.write(self.listing, self._library)
        else:
            is_good = True
        if self.indexes.is_behind:  # the volume did not take them: later, it may
            self._doubtful_since_s = now_s + _RETRY_AFTER_S
        else:
            self._doubtful_since_s = None if is_good else now_s
        return self._library, is_good

    def _tidy_up(self) -> None:
        """Removes what is left of voices that are gone; now and then, what workers that died have left."""
        listing, now_s = self.listing, time.monotonic()
        if listing.replaced:
            with done_all_the_same("removing replaced voices"):
                self._folders.finish_replacements()
        if not listing.deleted <= self._forgotten:
            self._folders.forget(listing.deleted)
        self._forgotten = listing.deleted
        if now_s - self._swept_at_s >= _SWEEP_EVERY_S:
            self._swept_at_s = now_s
            self._folders.sweep(listing)

    def _is_due(self, since_s: float, now_s: float) -> bool:
        return now_s - since_s >= self._timing.settle_s
