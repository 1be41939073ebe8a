"""What changes the store: keeping, changing and deleting a voice. Each is one link or one unlink.

    put       embeddings/<id>.pkl.gz appears by link; a voice that it replaces is gone at the same moment
    update    revisions/<id>.<number>.json appears by link
    delete    embeddings/<id>.pkl.gz is unlinked

What comes before can be left behind by a worker that dies, and is swept; what comes after is made good by
whoever reads or writes next.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from errors import ReferenceInvalid, StoreCorrupt, StoreUnavailable, VoiceExists
from voice_store.cache import LoadedVoice, VoiceCache
from voice_store.deletions import FileMark
from voice_store.folders import StoreFolders, done_all_the_same
from voice_store.library import Library
from voice_store.live import LiveLibrary
from voice_store.metadata import (
    DATE_FORMAT,
    next_revision,
    revision_of,
    tidy_metadata,
)
from voice_store.names import clean_name, fold_name, readable
from voice_store.samples import MAX_DURATION_S
from voice_store.voice_file import encode_voice

log = logging.getLogger(__name__)

# A change starts over when another worker was quicker; often only where the volume is slow to tell of it.
_ATTEMPTS = 40
_WORKERS_AT_ONCE = 10
_PAUSE_S = 0.05
_MAX_CANDIDATES = 1_000  # ids tried for one voice: the same recording under as many names


@dataclass(frozen=True, eq=False)
class NewVoice:
    """What is asked to be kept. details: see ``given_details``. The rest: see ``VoiceStore.put``."""

    waveform: Waveform
    name: str
    details: Mapping[str, Any]
    original_file: str | None = None
    voice_id: str | None = None
    created_at: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Kept:
    """A voice that is in the store. created: not before. has_name: see ``PutResult``."""

    voice_id: str
    loaded: LoadedVoice
    metadata: dict[str, Any]
    created: bool
    has_name: bool = True


class Writer:
    """Every method may raise OSError, but none once what it was asked for is done; any thread may call it."""

    def __init__(self, folders: StoreFolders, library: LiveLibrary, cache: VoiceCache) -> None:
        self._folders = folders
        self._library = library
        self._cache = cache

    def put(self, new: NewVoice) -> Kept:
        """See ``VoiceStore.put``."""
        name, waveform = clean_name(new.name), _storable(new.waveform)
        loaded = LoadedVoice.of(waveform, name)
        library = self._library.read(anew=True)
        predecessor, revision = library.find(name), 0
        if predecessor is not None:
            library, _, revision = self._library.look_up(predecessor)
            if library.find(name) != predecessor:  # another worker has just changed that
                return self.put(new)
            if not _carries(library, predecessor, name):
                if not new.overwrite:
                    raise _taken_as_alias(library, predecessor, "voice_name", "; or set overwrite to take it")
                predecessor = None  # which keeps its own name
        if predecessor is not None:
            is_filled = self._await_content(predecessor)
            there = self._load_if_same(predecessor, loaded.digest)
            if there is not None:
                metadata = library.voices[predecessor]
                if new.overwrite and new.details:
                    metadata = self.update(predecessor, None, new.details) or metadata
                self._acknowledge_another()
                return Kept(predecessor, there, metadata, created=False)
            if is_filled and not new.overwrite:
                taken = library.voices[predecessor]["speaker_name"]
                raise VoiceExists(
                    f'is taken: a voice named "{taken}" exists with other audio',
                    field="voice_name",
                    hint="choose another name, or set overwrite to replace it",
                )
        for folder in (self._folders.root, self._folders.voices.folder):
            folder.make()
        created_at = new.created_at
        if created_at is None or predecessor is not None:
            created_at = _later_than(library.voices[predecessor]["created_at"] if predecessor else "")
        if predecessor is None:
            return self._commit(new, name, loaded, created_at, None)
        self._folders.finish_replacements(by=predecessor)  # else what it had replaced would come back
        return self._commit(new, name, loaded, created_at, (predecessor, revision))

    def update(
        self, voice_id: str, new_name: str | None, details: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The metadata after the change; None when there is no such voice. See ``VoiceStore.update``."""
        new_name = None if new_name is None else clean_name(new_name, "new_voice_name")
        for attempt in range(_ATTEMPTS):
            self._library.pause(_PAUSE_S * -(-attempt // _WORKERS_AT_ONCE))
            library, entry, latest = self._library.look_up(voice_id)
            if not self._folders.is_there(voice_id):
                return None
            if attempt < _ATTEMPTS // 2 and self._folders.revisions.is_empty(voice_id, latest):
                continue  # where there are no links, another worker is about to fill it, unless it has died
            metadata = tidy_metadata(voice_id, entry)
            name = new_name or metadata["speaker_name"]
            other = None if new_name is None else library.find(new_name)
            if new_name is not None and other is not None and other != voice_id:
                if not _carries(library, other, new_name):
                    raise _taken_as_alias(library, other, "new_voice_name", "")
                raise VoiceExists(
                    f'is taken: another voice is named "{new_name}"',
                    field="new_voice_name",
                    hint="choose another name",
                )
            wanted = tidy_metadata(voice_id, {**metadata, **details, "speaker_name": name})
            if wanted == metadata:
                return metadata
            number = max(revision_of(entry), latest) + 1
            last = self._folders.revisions.read(voice_id, number - 1) if number > 1 else {}
            revision = next_revision(entry, last, number, name, details)
            if self._folders.revisions.add(voice_id, number, revision):
                break
        else:
            raise StoreUnavailable("changing the voice failed: too many others change it", hint="try again")
        if not self._folders.is_there(voice_id):  # deleted meanwhile, before this
            self._folders.forget({voice_id})
            return None
        with done_all_the_same("removing earlier changes"):
            self._folders.revisions.drop(voice_id, below=number)
        known: dict[str, Any] = self._tell_indexes().voices.get(voice_id, wanted)
        return known

    def delete(self, voice_id: str, name: str) -> bool:
        """False when there is no such voice. See ``VoiceStore.delete``."""
        self._folders.finish_replacements(by=voice_id)  # else what it had replaced would come back
        with done_all_the_same("noting a deletion"):  # on a full volume, say: removing takes no space
            self._folders.deletions.note(voice_id, name)
        if not self._folders.voices.remove(voice_id):
            return False
        self._folders.forget({voice_id})
        self._cache.drop(voice_id)
        self._tell_indexes()
        return True

    def _commit(
        self,
        new: NewVoice,
        name: str,
        loaded: LoadedVoice,
        created_at: str,
        predecessor: tuple[str, int] | None,
    ) -> Kept:
        """Keeps the voice under the first id that is free, unless another worker has just done so.

        predecessor: the voice that goes when this one comes, unless it is changed before, and its latest
        revision.
        """
        about = {key: value for key, value in new.details.items() if value}
        if original_file := readable(new.original_file):
            about["original_file"] = original_file
        if predecessor is not None:  # nobody else must make the very file that is promised to replace it
            about["commit"] = uuid.uuid4().hex
        data = encode_voice(loaded.waveform, name, created_at, about)
        for voice_id in _wanted_ids(new.voice_id, loaded.digest):
            if self._is_free(voice_id) and self._commit_as(voice_id, data, name, predecessor):
                library = self._tell_indexes()
                metadata = library.voices.get(voice_id) or _metadata_of(voice_id, loaded, created_at, about)
                if fold_name(metadata["speaker_name"]) != fold_name(name):
                    with done_all_the_same("naming the voice"):  # an old index knows a former voice
                        metadata = self.update(voice_id, name, new.details) or metadata
                has_name = library.find(name) in (voice_id, None)
                return Kept(voice_id, loaded, metadata, created=True, has_name=has_name)
            self._await_content(voice_id)
            metadata = self._library.read(anew=True).voices.get(voice_id, {})
            if fold_name(metadata.get("speaker_name", "")) == fold_name(name):
                there = self._load_if_same(voice_id, loaded.digest)
                if there is not None:
                    if new.overwrite and new.details:
                        metadata = self.update(voice_id, None, new.details) or metadata
                    self._acknowledge_another()
                    return Kept(voice_id, there, metadata, created=False)
        raise StoreUnavailable("saving the voice failed: this recording is stored under too many names")

    def _is_free(self, voice_id: str) -> bool:
        """Whether no file has the id, nor does anything tell of a voice that had it.

        A request to delete that one may come a second time, and what is known of it would be taken for what
        is known of the new one.
        """
        return not (
            self._folders.voices.has(voice_id)
            or self._folders.deletions.has(voice_id)
            or voice_id in self._library.listing.revisions
            or self._library.indexes.knows(voice_id)
        )

    def _commit_as(self, voice_id: str, data: bytes, name: str, predecessor: tuple[str, int] | None) -> bool:
        voices, deletions = self._folders.voices, self._folders.deletions
        replaced = FileMark.of_file(predecessor[0], voices.folder) if predecessor else None
        if predecessor is None or replaced is None:
            return voices.add(voice_id, data)
        successor, revision = FileMark.of(voice_id, data), predecessor[1]
        deletions.promise(replaced, revision, name, successor)
        committed = False
        try:
            committed = voices.add(voice_id, data)
        finally:
            with suppress(OSError):
                if not committed and not successor.is_there(voices.folder):  # it is when only a sync failed
                    deletions.withdraw(replaced, successor)
        if committed:
            with done_all_the_same("removing the replaced voice"):
                self._folders.finish_replacements(by=voice_id)
            self._cache.drop(replaced.voice_id)
        return committed

    def _await_content(self, voice_id: str) -> bool:
        """Where there are no links, another worker may have reserved the id and be about to fill its file.

        False when it stays empty: that worker has died.
        """
        for _ in range(_ATTEMPTS):
            stamp = self._folders.voices.stamp(voice_id)
            if stamp is None or stamp.size > 0:
                return True
            self._library.pause(_PAUSE_S)
        return False

    def _tell_indexes(self) -> Library:
        """The voices there are; none when the volume does not say."""
        with done_all_the_same("bringing the indexes up to date"):
            return self._library.write()
        return Library({}, {})

    def _acknowledge_another(self) -> None:
        """Makes sure of a voice that another worker has just committed, and which may have died since.

        Raises OSError when it cannot be made to survive a crash.
        """
        self._folders.voices.folder.sync()
        if self._library.is_doubtful:
            self._tell_indexes()

    def _load_if_same(self, voice_id: str, digest: str) -> LoadedVoice | None:
        with suppress(StoreCorrupt, FileNotFoundError):
            loaded = self._cache.load(voice_id)
            if loaded.digest == digest:
                return loaded
        return None


def _metadata_of(
    voice_id: str, voice: LoadedVoice, created_at: str, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The metadata of a new voice where the volume does not say."""
    duration_s = round(voice.waveform.duration_s, 2)
    known = {"speaker_name": voice.name, "duration": duration_s, "created_at": created_at}
    return tidy_metadata(voice_id, {**about, **known})


def _storable(waveform: Waveform) -> Waveform:
    if len(waveform.samples) == 0 or not np.isfinite(waveform.samples).all():
        raise ReferenceInvalid("the recording holds no audio", hint="send one with speech")
    if waveform.duration_s > MAX_DURATION_S:
        raise ReferenceInvalid(f"the recording is longer than {MAX_DURATION_S:.0f} s", hint="cut it")
    return resample(waveform, MODEL_SAMPLE_RATE_HZ)


def _wanted_ids(voice_id: str | None, digest: str) -> Iterator[str]:
    if voice_id is not None:
        yield voice_id
    yield from (candidate for candidate in candidate_ids(digest) if candidate != voice_id)


def candidate_ids(digest: str) -> Iterator[str]:
    """8 hex digits each: the first of the audio's hash, then those of hashes derived from it."""
    yield digest[:8]
    for attempt in range(1, _MAX_CANDIDATES):
        yield hashlib.sha256(f"{digest}:{attempt}".encode()).hexdigest()[:8]


def _carries(library: Library, voice_id: str, name: str) -> bool:
    """Whether it is the voice's own name, rather than a further one that another program gave it."""
    return fold_name(library.voices[voice_id]["speaker_name"]) == fold_name(name)


def _taken_as_alias(library: Library, voice_id: str, field: str, hint: str) -> VoiceExists:
    owner = library.voices[voice_id]["speaker_name"]
    return VoiceExists(
        f'is taken: it is an alias of the voice "{owner}"',
        field=field,
        hint=f"choose another name, or take the alias from that voice{hint}",
    )


def _later_than(created_at: str) -> str:
    """Now in UTC, but after ``created_at``, so that of two voices of one name this is the newest."""
    moment = datetime.now(UTC).replace(tzinfo=None)
    with suppress(ValueError, OverflowError):  # an old program's idea of a date
        former = datetime.fromisoformat(created_at[:19]).replace(tzinfo=None)
        moment = max(moment, former + timedelta(seconds=1))
    return moment.strftime(DATE_FORMAT)
