"""The library in a worker's memory, looked after so that other workers' changes appear in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from voice_store.files import Stamp
from voice_store.housekeeping import Housekeeping
from voice_store.indexes import Indexes
from voice_store.library import Library
from voice_store.listing import Listing, Voices

# Passes of writing the indexes while others write. Each worker that clones at the same time can cost one.
_PASSES = 30


@dataclass(frozen=True)
class Timing:
    """settle_s: how long a change by another worker may take to be seen everywhere, in seconds.

    now: a clock, in seconds. sleep: waits so many seconds. indexes_at_once: whether each change is told to
    the indexes when it is made; else, for many in a row, every ``settle_s`` and by whoever reads next.
    """

    settle_s: float = 2.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    indexes_at_once: bool = True


class LiveLibrary:
    """Reads the volume no more than it must. Methods may raise OSError.

    What stands in the names of files, that is which voices there are and how often each was changed, is
    listed anew when a folder's stamp differs, and otherwise every ``settle_s``: two changes within one tick
    of the volume's clock leave the same stamp. The indexes are read again at most that often, because other
    workers exchange them all the time and the files of the voices say the same. A reader makes them good, and
    finishes deletions, only after ``settle_s``: until then the writer may be at it.
    """

    def __init__(self, voices: Voices, indexes: Indexes, housekeeping: Housekeeping, timing: Timing) -> None:
        self._voices = voices
        self._indexes = indexes
        self._housekeeping = housekeeping
        self._timing = timing
        self._library: Library | None = None
        self._listing: Listing | None = None
        self._stamps: tuple[Stamp | None, ...] = ()
        self._listed_at_s = self._indexes_read_at_s = 0.0
        self._doubtful_since_s: float | None = None  # when something differed that indexes may not know yet

    @property
    def listing(self) -> Listing:
        assert self._listing is not None, "read() first"
        return self._listing

    @property
    def is_doubtful(self) -> bool:
        """Whether something was seen to differ that the indexes may not know yet."""
        return self._doubtful_since_s is not None

    def read(self, *, anew: bool = False) -> Library:
        """The voices there are. anew: does not believe the stamps."""
        now_s = self._timing.now()
        has_changed = self._list(now_s, anew)
        if self._library is None or (
            self._is_due(self._indexes_read_at_s, now_s) and self._indexes.have_changed()
        ):
            self._indexes.read(self.listing)
            self._indexes_read_at_s = now_s
            has_changed = True
        if self._library is None:  # nobody else may be there to make the indexes good
            self._doubtful_since_s = now_s - self._timing.settle_s
        if has_changed or self._library is None:
            self._library = self._indexes.library(self.listing)
            if self._doubtful_since_s is None:
                self._doubtful_since_s = now_s
        if self._doubtful_since_s is not None and self._is_due(self._doubtful_since_s, now_s):
            with suppress(OSError):  # a volume that is read-only
                self._housekeeping.finish_deletions(self.listing)
            # An empty folder may be a volume that is not there: its indexes stay.
            if self.listing.voice_ids or self.listing.deleted:
                self._library = self._make_indexes_good()
            else:
                self._doubtful_since_s = None
        return self._library

    def write(self) -> Library:
        """The voices there are, after a change by this worker, which the indexes are told."""
        if not self._timing.indexes_at_once:
            return self.read(anew=True)
        self._library = self._make_indexes_good()
        self._housekeeping.tidy_up(self.listing)
        return self._library

    def pause(self, seconds: float) -> None:
        """Lets other workers go first."""
        if seconds > 0:
            self._timing.sleep(seconds)

    def _list(self, now_s: float, anew: bool) -> bool:
        """Whether anything is listed now that was not, or the other way round."""
        stamps = self._voices.stamps()
        if not anew and stamps == self._stamps and not self._is_due(self._listed_at_s, now_s):
            return False
        before, self._listing = self._listing, self._voices.list()
        self._stamps, self._listed_at_s = stamps, now_s
        return self._listing != before

    def _make_indexes_good(self) -> Library:
        """Writes the indexes until they say what the volume says after they were written.

        Locks may not work, and nothing exchanges a file only if nobody else has just done so: what is written
        here may lack a voice that another worker has committed, told the indexes of and acknowledged since
        the listing was made. So the voices are listed, and the indexes read, again after every write, by all
        who write: whoever writes last then finds what is missing, and mends it.
        """
        with self._indexes.taking_turns():
            for number in range(_PASSES):
                has_changed = self._list(self._timing.now(), anew=True)
                if number > 0 and not has_changed and not self._indexes.have_changed():
                    self._doubtful_since_s = None
                    break
                self._indexes.read(self.listing)
                library = self._indexes.library(self.listing)
                if self._indexes.write(self.listing, library):
                    self._doubtful_since_s = None
                    break
            else:
                self._doubtful_since_s = self._timing.now()
        self._indexes_read_at_s = self._timing.now()
        return library

    def _is_due(self, since_s: float, now_s: float) -> bool:
        return now_s - since_s >= self._timing.settle_s
