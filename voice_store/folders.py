"""The folders of a store: the voices' files, what lies beside them, and which voices there are.

What there is follows from the names of files alone, and from the few notes that wait for a successor.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from errors import Problem, StoreCorrupt
from voice_store.deletions import Deletions, Waiting
from voice_store.files import Folder, NotAPlainFileError, Stamp
from voice_store.names import is_voice_id, voice_file_name
from voice_store.sidecars import MetadataFiles, Revisions, SidecarFile, Sidecars
from voice_store.voice_file import (
    HEAD_BYTES,
    MAX_FILE_BYTES,
    MAX_HEAD_BYTES,
    StoredVoice,
    VoiceHeader,
    decode_voice,
    peek_voice,
)

log = logging.getLogger(__name__)

LEFTOVER_AFTER_S = 24 * 3600.0  # no write takes that long
_SUFFIX = ".pkl.gz"


@dataclass(frozen=True)
class _Damage:
    """What is wrong with a file; not the error itself, which would keep all of the file in memory."""

    stamp: Stamp
    problems: tuple[Problem, ...]
    cause: str


class VoiceFiles:
    """The folder ``embeddings/``: one file a voice, and the only truth about which voices there are.

    Every method may raise OSError; ids must have passed ``is_voice_id``.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._ids: frozenset[str] = frozenset()  # as of the last listing, which most of the next one is
        self._damaged: dict[str, _Damage] = {}  # so that none costs its decoding twice

    def ids(self) -> frozenset[str]:
        """The ids of all voices, damaged ones too; links and pipes are none."""
        ids = {name.removesuffix(_SUFFIX) for name in self.folder.names() if name.endswith(_SUFFIX)}
        others = {voice_id for voice_id in ids - self._ids if not is_voice_id(voice_id)}
        self._ids = frozenset(ids - others)
        for voice_id in self._damaged.keys() - self._ids:
            self._damaged.pop(voice_id, None)
        return self._ids

    def load(self, voice_id: str) -> StoredVoice:
        """Raises FileNotFoundError, and StoreCorrupt for what is not the file of a voice."""
        stamp = self.stamp(voice_id)
        damage = self._damaged.get(voice_id)
        if damage is not None and stamp == damage.stamp:
            raise StoreCorrupt.of(list(damage.problems)) from ValueError(damage.cause)
        try:
            with _plain_file_of(voice_id):
                data = self.folder.read(self.file_name(voice_id), MAX_FILE_BYTES)
            return decode_voice(data, voice_id)
        except StoreCorrupt as verdict:
            if stamp is not None:  # one that is half written has another stamp once it is whole
                log.warning("voice %s cannot be read: %s", voice_id, repr(verdict))  # which stays nowhere
                self._damaged[voice_id] = _Damage(stamp, tuple(verdict.problems), str(verdict.__cause__))
            raise

    def peek(self, voice_id: str) -> VoiceHeader:
        """What the file says besides the samples, without reading them where it is one of ours.

        Raises as ``load``; but of a file of ours, damage behind its head is not noticed.
        """
        for size in (HEAD_BYTES, MAX_HEAD_BYTES):
            with _plain_file_of(voice_id):
                head = self.folder.read_head(self.file_name(voice_id), size)
            if (header := peek_voice(head)) is not None:
                return header
            if len(head) < size:
                break
        return self.load(voice_id).header

    def modified_at(self, voice_id: str) -> datetime:
        stamp = self.stamp(voice_id)
        return datetime.fromtimestamp(stamp.mtime_ns / 1e9 if stamp else 0, UTC)

    def stamp(self, voice_id: str) -> Stamp | None:
        """Differs when the file has been exchanged or written to; None where there is none."""
        return self.folder.stamp_of(self.file_name(voice_id))

    def add(self, voice_id: str, data: bytes) -> bool:
        """Commits the bytes of a voice; False, with nothing changed, where that id is taken."""
        return self.folder.create(self.file_name(voice_id), data)

    def has(self, voice_id: str) -> bool:
        """Whether an id is taken, be it by a voice or by what is none."""
        return self.folder.has(self.file_name(voice_id))

    def remove(self, voice_id: str) -> bool:
        """Removes a voice; False where there was none."""
        return self.folder.remove(self.file_name(voice_id))

    file_name = staticmethod(voice_file_name)


@dataclass(frozen=True)
class Listing:
    """voice_ids: of all voices. revisions: the latest numbers, by id.

    deleted: ids of which a note says that the voice is gone, and whose file is. replaced: those whose file is
    still to be removed.
    """

    voice_ids: frozenset[str]
    revisions: dict[str, int]
    deleted: frozenset[str]
    replaced: frozenset[str]


class StoreFolders:
    """Methods may raise OSError."""

    def __init__(self, root: Path, kind: type[Folder] = Folder) -> None:
        self.root = kind(root, may_be_link=True)
        self.voices = VoiceFiles(kind(root / "embeddings"))
        self.deletions = Deletions(kind(root / "deleted"))
        self.revisions = Revisions(kind(root / "revisions"))
        self.metadata = MetadataFiles(kind(root / "metadata"))
        self.conditionals = Sidecars(kind(root / "conditionals"), r"(.+)\.[a-z0-9-]{1,64}\.safetensors")
        self.previews = Sidecars(kind(root / "previews"), r"(.+)\.flac")
        self.sidecars: tuple[Sidecars, ...] = (
            self.metadata,
            self.revisions,
            self.conditionals,
            self.previews,
        )

    def stamps(self) -> tuple[Stamp | None, ...]:
        """Differ once a voice came, changed or went, unless that was within a tick of the volume's clock."""
        return tuple(room.folder.stamp() for room in (self.voices, self.revisions, self.deletions))

    def list(self) -> Listing:
        waiting, done = self.deletions.list()
        there, revisions = self.voices.ids(), self.revisions.latest()
        replaced = frozenset(
            note.voice.voice_id for note in waiting if note.hides(self.voices.folder, revisions)
        ).intersection(there)
        gone = done.union(note.voice.voice_id for note in waiting).difference(there)
        return Listing(
            there - replaced,
            revisions,
            frozenset(gone),
            replaced,
        )

    def conditionals_of(self, voice_id: str) -> SidecarFile:
        return SidecarFile(self.conditionals, self.voices.folder, voice_id, ".safetensors")

    def preview_of(self, voice_id: str) -> SidecarFile:
        return SidecarFile(self.previews, self.voices.folder, voice_id, ".flac")

    def is_there(self, voice_id: str) -> bool:
        """Whether an id is that of a voice, damaged or not, that no other one has replaced."""
        return self.voices.has(voice_id) and not any(
            note.voice.voice_id == voice_id and self.is_hidden_by(note) for note in self.deletions.list()[0]
        )

    def is_hidden_by(self, note: Waiting) -> bool:
        """Whether the note says of a voice that is there that it is gone."""
        return note.hides(self.voices.folder, self.revisions.latest())

    def finish_replacements(self, by: str | None = None) -> None:
        """Removes the files of voices that this one has replaced; or those of all that others have.

        For all it raises nothing: one that cannot be removed keeps none of the others.
        """
        for note in self.deletions.list()[0]:
            if by is None:
                with done_all_the_same(f"removing voice {note.voice.voice_id}, which was replaced"):
                    self._finish(note)
            elif note.successor is not None and note.successor.voice_id == by:
                self._finish(note)

    def _finish(self, note: Waiting) -> None:
        if note.is_to_be_finished(self.voices.folder, self.revisions.latest()):
            self.voices.remove(note.voice.voice_id)
            self.forget({note.voice.voice_id})
            self.deletions.settle(note)

    def forget(self, voice_ids: Collection[str]) -> None:
        """Removes what lies beside the files of voices that are gone. Raises nothing."""
        for sidecars in self.sidecars:
            with done_all_the_same(f"removing {sidecars.folder.path.name} of deleted voices"):
                sidecars.forget(voice_ids)

    def describe(self, voice_id: str, entry: dict[str, object], *, is_synced: bool = True) -> None:
        """Writes the metadata file of a voice, unless another worker deletes it meanwhile. Raises nothing."""
        with done_all_the_same(f"describing voice {voice_id}"):
            if self.voices.has(voice_id):
                self.metadata.describe(voice_id, entry, is_synced=is_synced)
                if not self.voices.has(voice_id):
                    self.metadata.forget({voice_id})

    def traces(self, listing: Listing, sidecars: Sidecars) -> builtins.list[str]:
        """The names of files of voices that are not there.

        A note that a voice is gone is enough; else the file has to be a day old: an older program's voice may
        be about to come.
        """
        there = {*listing.voice_ids, *listing.replaced}
        traces = [match[0] for match in sidecars.matches() if match[1] in listing.deleted]
        if there:  # an empty folder may be a volume that is not there
            traces += sidecars.orphans(there | listing.deleted, LEFTOVER_AFTER_S)
        return sorted(traces)

    def sweep(self, listing: Listing) -> None:
        """Removes what workers that died have left, of voices that are gone and of notes. Raises nothing."""
        for folder in self.all():
            with done_all_the_same(f"sweeping {folder.path.name}"):
                for name in folder.leftovers(LEFTOVER_AFTER_S):
                    folder.remove(name)
        for sidecars in self.sidecars:
            with done_all_the_same(f"sweeping {sidecars.folder.path.name}"):
                for name in self.traces(listing, sidecars):
                    sidecars.folder.remove(name)
        with done_all_the_same("sweeping old notes"):
            self.deletions.sweep(self.voices.folder, self.revisions.latest(), LEFTOVER_AFTER_S)

    def all(self) -> builtins.list[Folder]:
        """The store's own folder and those in it."""
        return [
            self.root,
            self.voices.folder,
            self.deletions.folder,
            *(sidecars.folder for sidecars in self.sidecars),
        ]


@contextmanager
def done_all_the_same(doing: str) -> Iterator[None]:
    """Logs what keeps work from being done that the next reader or writer does as well."""
    try:
        yield
    except (OSError, RecursionError) as fault:
        log.warning("%s failed: %r", doing, fault)


@contextmanager
def _plain_file_of(voice_id: str) -> Iterator[None]:
    try:
        yield
    except NotAPlainFileError as fault:
        raise StoreCorrupt(
            f"the file of voice {voice_id} is a link, a pipe or far too large", hint="remove the voice"
        ) from fault
