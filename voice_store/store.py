"""Voices in a folder that many workers and older programs share."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from audio.waveform import Waveform
from errors import InvalidRequest, VoiceNotFound
from voice_store.cache import LoadedVoice, VoiceCache
from voice_store.files import volume_faults
from voice_store.folders import StoreFolders
from voice_store.library import Library
from voice_store.live import LiveLibrary, Timing
from voice_store.metadata import Details, copy_metadata, given_details, is_former_name, tidy_metadata
from voice_store.mount import Mount, check_folder, make_parents
from voice_store.names import MAX_VISIBLE_CHARACTERS, is_voice_id, readable
from voice_store.pronunciations import PronunciationsFile, StorePronunciations
from voice_store.sidecars import SidecarFile
from voice_store.writing import NewVoice, Writer

CACHE_BYTES = 2**28  # of decoded audio: some ninety voices of 30 s
_LOOK_AGAIN_S = 0.25
_MOST_WAITING = 2  # threads that wait for a name that is missing; others get the error at once


@dataclass(frozen=True, eq=False)
class Voice:
    """A stored voice.

    voice_id: 8 hex digits, unless an old program made it otherwise.
    waveform: float32 [n] at 24 kHz, mono; read-only, since the store keeps it.
    digest: ``waveform.digest()``; voices of the same audio share it.
    sidecar: where a model may leave what it made of the voice; gone with the voice.
    metadata: JSON-safe; see ``VoiceStore.metadata``.
    """

    voice_id: str
    name: str
    waveform: Waveform
    digest: str
    metadata: Mapping[str, Any]
    sidecar: SidecarFile


@dataclass(frozen=True, eq=False)
class PutResult:
    """created: False when that voice was there already.

    has_name: False when another worker has stored another voice of that name at the same time, which is the
    one that the name means now.
    """

    voice: Voice
    created: bool
    has_name: bool = True


@dataclass(frozen=True)
class DeleteResult:
    """deleted: False when the voice had been deleted before."""

    voice_id: str
    name: str
    deleted: bool


class VoiceStore:
    """The voices below ``root``. Nothing is created before the first ``put``.

    Every method raises StoreUnavailable when the volume does not let it do its work. Other programs may write
    to the folder at any time: what they do is seen within ``timing.settle_s``. Any thread may call any
    method, and none waits for another one's. Voices that were read are kept in memory, up to CACHE_BYTES, for
    as long as their files stay as they are.
    """

    def __init__(self, root: Path, timing: Timing = Timing(), mount: Mount | None = None) -> None:  # noqa: B008
        self._root = root
        self._mount = mount
        self._timing = timing
        self._folders = StoreFolders(root)
        self._library = LiveLibrary(self._folders, timing)
        self._waiting = threading.Semaphore(_MOST_WAITING)
        self._cache = VoiceCache(self._folders.voices, CACHE_BYTES)
        self._pronunciations = PronunciationsFile(self._folders.root)
        self._writer = Writer(self._folders, self._library, self._cache)

    def put(
        self,
        waveform: Waveform,
        name: str,
        *,
        original_file: str | None = None,
        voice_id: str | None = None,
        created_at: str | None = None,
        overwrite: bool = False,
        **details: Unpack[Details],
    ) -> PutResult:
        """Keeps a voice. When this returns, it survives a crash, and every worker can speak with it.

        The same audio under the same name is the voice that is there. Names that differ only in case, width
        or Unicode form are the same. ``overwrite`` lets other audio take over a name, and the voice that had
        it is removed; for the same audio it replaces the details that are given.

        voice_id, created_at ("YYYY-MM-DDTHH:MM:SS", UTC): for a voice that comes from another store; an id
        that is taken here is not kept.

        Raises InvalidRequest (the name), ReferenceInvalid (the audio), VoiceExists, StoreUnavailable.
        """
        given = given_details(**details)
        new = NewVoice(waveform, name, given, original_file, voice_id, created_at, overwrite)
        self._check_volume()
        with volume_faults("saving the voice"):
            make_parents(self._root)
            kept = self._writer.put(new)
        voice = self._voice(kept.voice_id, kept.loaded, kept.metadata)
        return PutResult(voice, kept.created, kept.has_name)

    def get(self, *, name: str | None = None, voice_id: str | None = None) -> Voice:
        """The voice of exactly that name, else of that name in another case or Unicode form; or of that id.

        Raises VoiceNotFound with the nearest names, StoreCorrupt, and InvalidRequest for what is not an id.
        """
        library, found = self._find(name, voice_id)
        with volume_faults("reading the voice"):
            try:
                stored = self._cache.load(found)
            except FileNotFoundError:  # removed, or replaced by another one of the name, a moment ago
                library, found = self._find(name, voice_id, anew=True)
                try:
                    stored = self._cache.load(found)
                except FileNotFoundError as fault:
                    raise _id_not_found(found) from fault
        known = {"speaker_name": stored.name, "duration": stored.waveform.duration_s}
        metadata = library.voices.get(found) or tidy_metadata(found, known)
        return self._voice(found, stored, metadata)

    def metadata(self, *, name: str | None = None, voice_id: str | None = None) -> dict[str, Any]:
        """What is known about a voice, without loading it.

        voice_id, speaker_name, gender, original_file, embedding_file, duration (s; None when the file is
        damaged), sample_rate (Hz), created_at, type, description and language (None when unknown), tags
        (list of str), default_parameters (name -> number), aliases (further names, list of str), consent
        (str by "by", "date" and "statement"), pronunciations (list of objects, see
        ``voice_store.pronunciations.tidy_entries``).

        Raises VoiceNotFound, InvalidRequest.
        """
        library, found = self._find(name, voice_id)
        if found not in library.voices:
            raise _id_not_found(found)
        return copy_metadata(library.voices[found])

    def find(self, *, name: str | None = None, voice_id: str | None = None) -> str | None:
        """The id of a voice that has a name or an alias, or that has an id; None where there is none.

        Unlike the other methods it does not wait for a voice that may just be arriving from another worker.
        Raises StoreUnavailable.
        """
        if voice_id is not None and not is_voice_id(voice_id):
            return None
        return self._match(self._read(), name, voice_id)

    def list(self) -> builtins.list[dict[str, Any]]:
        """The metadata of every voice, oldest first."""
        return [copy_metadata(metadata) for metadata in self._read().voices.values()]

    def stats(self) -> dict[str, Any]:
        """total_voices, gender_distribution (gender -> count), average_duration (s)."""
        return self._read().stats()

    def update(
        self,
        *,
        name: str | None = None,
        voice_id: str | None = None,
        new_name: str | None = None,
        **details: Unpack[Details],
    ) -> dict[str, Any]:
        """Changes what is known about a voice, and returns it; see ``metadata``.

        None leaves a detail as it is, an empty one makes it unknown. Of two changes at the same time, neither
        undoes what the other changed. A renaming that is asked for twice by the former name has been done.

        Raises VoiceNotFound, VoiceExists, InvalidRequest (an id or the new name), StoreUnavailable.
        """
        given = given_details(**details)
        found = self._renamed_before(name, new_name) or self._find(name, voice_id, anew=True)[1]
        with volume_faults("changing the voice"):
            metadata = self._writer.update(found, new_name, given)
        if metadata is None:
            raise _id_not_found(found)
        return copy_metadata(metadata)

    def delete(self, *, name: str | None = None, voice_id: str | None = None) -> DeleteResult:
        """Removes a voice, damaged or not. What was deleted in the last month may be deleted again.

        Raises VoiceNotFound, InvalidRequest, StoreUnavailable.
        """
        with volume_faults("removing the voice"):
            try:
                library, found = self._find(name, voice_id, anew=True)
            except VoiceNotFound:
                gone = self._folders.deletions.find(name=name, voice_id=voice_id)
                if gone is None:
                    raise
                return DeleteResult(gone.voice_id, gone.name, deleted=False)
            found_name = library.voices[found]["speaker_name"] if found in library.voices else found
            return DeleteResult(found, found_name, self._writer.delete(found, found_name))

    def put_preview(self, voice_id: str, flac: bytes) -> bool:
        """Keeps a preview of a voice, as FLAC, in the place of another one; False when that was not possible.

        Raises nothing: the voice does not depend on it. It goes with the voice.
        """
        return self._folders.preview_of(voice_id).write("", flac)

    def preview(self, voice_id: str) -> bytes | None:
        """Returns the preview of a voice, as anyone may have changed it; None when there is none."""
        return self._folders.preview_of(voice_id).read("") if is_voice_id(voice_id) else None

    def pronunciations(self) -> StorePronunciations:
        """Returns the pronunciations for all voices. Raises nothing: a job is spoken without them, too."""
        return self._pronunciations.read()

    def put_pronunciations(self, entries: Iterable[Mapping[str, Any]]) -> int:
        """Adds pronunciations for all voices; returns how many took the place of one for the same text.

        Two workers that do so at the same time take turns where locks work; else the later one's list counts.

        Raises InvalidRequest (an entry, or too many), StoreCorrupt (a damaged file stays), StoreUnavailable.
        """
        self._check_volume()
        with volume_faults("saving the pronunciations"), self._library.indexes.taking_turns():
            make_parents(self._root)
            return self._pronunciations.put(entries)

    def remove_pronunciations(self, text: str) -> int:
        """Removes the pronunciations of a text in any case; returns how many there were.

        Raises StoreCorrupt (a damaged file stays), StoreUnavailable.
        """
        self._check_volume()
        with volume_faults("saving the pronunciations"), self._library.indexes.taking_turns():
            return self._pronunciations.remove(text)

    def _read(self, *, anew: bool = False) -> Library:
        self._check_volume()
        with volume_faults("reading the voices"):
            return self._library.read(anew=anew)

    def _check_volume(self) -> None:
        """Raises StoreUnavailable where voices can neither be nor be made."""
        if self._mount is not None:
            self._mount.check()
        check_folder(self._root)

    def _find(self, name: str | None, voice_id: str | None, *, anew: bool = False) -> tuple[Library, str]:
        """The voice that is meant, by its id; one that is missing may just be arriving from another worker.

        anew: for a change, which must not be of a voice that had the name a moment ago.

        Raises VoiceNotFound, InvalidRequest.
        """
        assert (name is None) != (voice_id is None), "either a name or an id"
        if voice_id is not None and not is_voice_id(voice_id):
            raise InvalidRequest(
                "is not an id", field="voice_id", hint="give the 8 hex digits that list_voices shows"
            )
        library = self._read(anew=anew)
        if (found := self._match(library, name, voice_id)) is None:
            # Who asks for wrong names all the time must not keep all threads waiting.
            may_wait = self._waiting.acquire(blocking=False)
            try:
                until_s = self._timing.now() + self._timing.settle_s * may_wait
                library, found = self._look_again(name, voice_id, until_s)
            finally:
                if may_wait:
                    self._waiting.release()
        if found is None:
            raise _id_not_found(voice_id) if voice_id is not None else _name_not_found(library, name or "")
        return library, found

    def _look_again(
        self, name: str | None, voice_id: str | None, until_s: float
    ) -> tuple[Library, str | None]:
        """As ``_find``, again and again for a while, and at least once."""
        while True:
            is_last_look = self._timing.now() >= until_s
            library = self._read(anew=True)
            found = self._match(library, name, voice_id)
            if found is not None or is_last_look:
                return library, found
            self._timing.sleep(_LOOK_AGAIN_S)

    def _renamed_before(self, name: str | None, new_name: str | None) -> str | None:
        """The voice that has the new name and used to have the other one, which no voice has now."""
        library = self._read(anew=True)
        if name is None or new_name is None or library.find(name) is not None:
            return None
        found = library.find(new_name)
        return found if found and is_former_name(name, self._library.indexes.entry(found)) else None

    def _match(self, library: Library, name: str | None, voice_id: str | None) -> str | None:
        if name is not None:
            return library.find(name)
        assert voice_id is not None
        if voice_id in library.voices:
            return voice_id
        with volume_faults("reading the voice"):  # one whose file is damaged may be in no index
            return voice_id if self._folders.is_there(voice_id) else None

    def _voice(self, voice_id: str, loaded: LoadedVoice, metadata: Mapping[str, Any]) -> Voice:
        return Voice(
            voice_id,
            metadata["speaker_name"],
            loaded.waveform,
            loaded.digest,
            copy_metadata(metadata),
            self._folders.conditionals_of(voice_id),
        )


def _name_not_found(library: Library, name: str) -> VoiceNotFound:
    shown = readable(name, MAX_VISIBLE_CHARACTERS)
    nearest = ", ".join(f'"{near}"' for near in library.nearest_names(name))
    if nearest:
        return VoiceNotFound(f'no voice is named "{shown}"; the nearest names are {nearest}')
    if library.voices:
        return VoiceNotFound(
            f'no voice is named "{shown}", nor anything like it', hint="list_voices shows all names"
        )
    return VoiceNotFound(f'no voice is named "{shown}": there are none yet', hint="make one with clone_voice")


def _id_not_found(voice_id: str) -> VoiceNotFound:
    return VoiceNotFound(f"no voice has the id {voice_id}", hint="list_voices shows all ids")
