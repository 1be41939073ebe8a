"""Voices in a folder that many workers and older programs share."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from errors import (
    InvalidRequest,
    ReferenceInvalid,
    StoreCorrupt,
    StoreUnavailable,
    VoiceExists,
    VoiceNotFound,
)
from voice_store.codec import StoredVoice, encode_voice
from voice_store.embeddings import Embeddings, candidate_ids, is_voice_id
from voice_store.files import make_folder, volume_faults
from voice_store.indexes import Indexes
from voice_store.library import Library
from voice_store.metadata import DATE_FORMAT, describe_voice, optional_details, tidy_metadata
from voice_store.names import MAX_VISIBLE_CHARACTERS, clean_name, fold_name, readable
from voice_store.samples import MAX_DURATION_S

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Voice:
    """A stored voice.

    voice_id: 8 hex digits, unless an old program made it otherwise.
    waveform: float32 [n] at 24 kHz, mono.
    digest: ``waveform.digest()``; voices of the same audio share it.
    metadata: JSON-safe; see ``VoiceStore.metadata``.
    """

    voice_id: str
    name: str
    waveform: Waveform
    digest: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class PutResult:
    """created: False when that voice was there already."""

    voice: Voice
    created: bool


class VoiceStore:
    """The voices below ``root``. Nothing is created before the first ``put``.

    Every method raises StoreUnavailable when the volume does not let it do its work. Nothing is kept between
    calls, so other programs may write to the folder at any time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._embeddings = Embeddings(root / "embeddings")
        self._indexes = Indexes(root, self._embeddings)

    def put(
        self,
        waveform: Waveform,
        name: str,
        *,
        description: str | None = None,
        gender: str | None = None,
        language: str | None = None,
        original_file: str | None = None,
        overwrite: bool = False,
    ) -> PutResult:
        """Keeps a voice. When this returns, it survives a crash, and every worker can speak with it.

        The same audio under the same name is the voice that is there. Names that differ only in case, width
        or Unicode form are the same. ``overwrite`` lets other audio take over a name, and the voice that had
        it is removed; for the same audio it replaces the description, gender and language that are given.

        Raises InvalidRequest (the name), ReferenceInvalid (the audio), VoiceExists, StoreUnavailable.
        """
        name = clean_name(name)
        waveform = _storable(waveform)
        digest = waveform.digest()
        library = self._prepare_to_write()
        details = optional_details(description=description, gender=gender, language=language)

        predecessor = library.find(name)
        if predecessor is not None:
            there = self._load_if_same(predecessor, digest)
            if there is not None:
                metadata = library.voices[predecessor]
                if overwrite and details:
                    metadata = tidy_metadata(predecessor, metadata | details)
                    self._indexes.record(predecessor, metadata)
                voice = Voice(predecessor, metadata["speaker_name"], there.waveform, digest, metadata)
                return PutResult(voice, created=False)
            if not overwrite:
                raise VoiceExists(
                    f'voice_name: a voice named "{name}" exists with other audio; choose another name, or '
                    "set overwrite to replace it"
                )

        created_at = _later_than(library.voices[predecessor]["created_at"] if predecessor else "")

        def describe(voice_id: str) -> dict[str, Any]:
            return describe_voice(voice_id, name, waveform, created_at, original_file, details)

        result = self._commit(waveform, digest, name, created_at, describe)
        if predecessor is not None and _carries(library, predecessor, name):
            self._drop_predecessor(predecessor)
        return result

    def get(self, *, name: str | None = None, voice_id: str | None = None) -> Voice:
        """The voice of exactly that name, else of that name in another case or Unicode form; or of that id.

        Raises VoiceNotFound with the nearest names, StoreCorrupt, and InvalidRequest for what is not an id.
        """
        library = self._read_library()
        found = _resolve(library, name, voice_id)
        stored = self._load(found)
        metadata = library.voices.get(found)
        if metadata is None:  # committed between the listing and the look
            described = describe_voice(found, stored.name or found, stored.waveform, stored.created_at or "")
            metadata = tidy_metadata(found, described)
        return Voice(found, metadata["speaker_name"], stored.waveform, stored.waveform.digest(), metadata)

    def metadata(self, *, name: str | None = None, voice_id: str | None = None) -> dict[str, Any]:
        """What is known about a voice, without loading it.

        voice_id, speaker_name, gender, original_file, embedding_file, duration (s; None when the file is
        damaged), sample_rate (Hz), created_at, type, description, language (None when unknown).

        Raises VoiceNotFound, InvalidRequest.
        """
        library = self._read_library()
        found = _resolve(library, name, voice_id)
        if found not in library.voices:
            raise _id_not_found(found)
        return library.voices[found]

    def list(self) -> builtins.list[dict[str, Any]]:
        """The metadata of every voice, oldest first."""
        return [*self._read_library().voices.values()]

    def stats(self) -> dict[str, Any]:
        """total_voices, gender_distribution (gender -> count), average_duration (s)."""
        return self._read_library().stats()

    def delete(self, *, name: str | None = None, voice_id: str | None = None) -> str:
        """Removes a voice, damaged or not, and returns its id. Raises VoiceNotFound, InvalidRequest."""
        found = _resolve(self._read_library(), name, voice_id)
        with volume_faults("removing the voice"):
            try:
                self._embeddings.remove(found)
            except FileNotFoundError as fault:
                raise _id_not_found(found) from fault
        self._indexes.forget(found)
        return found

    def _read_library(self) -> Library:
        with volume_faults("reading the voices"):
            if not self._root.is_dir() and not self._root.parent.is_dir():
                raise StoreUnavailable("the volume with the voices is not mounted; attach it to the worker")
            return self._indexes.read_library()

    def _prepare_to_write(self) -> Library:
        library = self._read_library()  # first: no folder may take the place of a missing volume
        with volume_faults("saving the voice"):
            for folder in (self._root, self._root / "embeddings", self._root / "metadata"):
                make_folder(folder)
        return library

    def _commit(
        self,
        waveform: Waveform,
        digest: str,
        name: str,
        created_at: str,
        describe: Callable[[str], dict[str, Any]],
    ) -> PutResult:
        """Keeps the voice under the first id that is free, unless another worker has just done so."""
        data = encode_voice(waveform, name, created_at)
        for voice_id in candidate_ids(digest):
            metadata = describe(voice_id)
            with volume_faults("saving the voice"):
                if not self._embeddings.has(voice_id) and self._commit_as(voice_id, data, metadata):
                    voice = Voice(voice_id, name, waveform, digest, tidy_metadata(voice_id, metadata))
                    return PutResult(voice, created=True)
                if self._embeddings.holds(voice_id, digest, name):
                    return PutResult(self._get_as(voice_id, name), created=False)
        raise StoreUnavailable("saving the voice failed: this recording is stored under too many names")

    def _get_as(self, voice_id: str, name: str) -> Voice:
        """The voice, after making sure that the indexes know it by the name that its file has."""
        voice = self.get(voice_id=voice_id)
        if fold_name(voice.name) != fold_name(name):
            self._indexes.record(voice_id, {**voice.metadata, "speaker_name": name})
            voice = self.get(voice_id=voice_id)
        return voice

    def _commit_as(self, voice_id: str, data: bytes, metadata: Mapping[str, Any]) -> bool:
        announced = self._indexes.announce(voice_id, metadata)
        committed = False
        try:
            committed = self._embeddings.add(voice_id, data)
        finally:
            if announced and not committed:
                self._indexes.withdraw(voice_id)
        if committed:
            self._indexes.record(voice_id, metadata)
        return committed

    def _load(self, voice_id: str) -> StoredVoice:
        with volume_faults("reading the voice"):
            try:
                return self._embeddings.load(voice_id)
            except FileNotFoundError as fault:
                raise _id_not_found(voice_id) from fault

    def _load_if_same(self, voice_id: str, digest: str) -> StoredVoice | None:
        with suppress(StoreCorrupt, VoiceNotFound):
            stored = self._load(voice_id)
            if stored.waveform.digest() == digest:
                return stored
        return None

    def _drop_predecessor(self, voice_id: str) -> None:
        try:
            self._embeddings.remove(voice_id)
        except OSError as fault:  # being older, it has lost its name all the same
            log.warning("replaced voice %s not removed: %r", voice_id, fault)
        else:
            self._indexes.forget(voice_id)


def _storable(waveform: Waveform) -> Waveform:
    if len(waveform.samples) == 0 or not np.isfinite(waveform.samples).all():
        raise ReferenceInvalid("the recording holds no audio; send one with speech")
    if waveform.duration_s > MAX_DURATION_S:
        raise ReferenceInvalid(f"the recording is longer than {MAX_DURATION_S:.0f} s; cut it")
    return resample(waveform, MODEL_SAMPLE_RATE_HZ)


def _carries(library: Library, voice_id: str, name: str) -> bool:
    """Whether it is the voice's own name, rather than a further one that another program gave it."""
    return fold_name(library.voices[voice_id]["speaker_name"]) == fold_name(name)


def _resolve(library: Library, name: str | None, voice_id: str | None) -> str:
    assert (name is None) != (voice_id is None), "either a name or an id"
    if voice_id is not None:
        if not is_voice_id(voice_id):
            raise InvalidRequest("voice_id: give the 8 hex digits that list_voices shows")
        return voice_id
    assert name is not None
    found = library.find(name)
    if found is None:
        raise _name_not_found(library, name)
    return found


def _later_than(created_at: str) -> str:
    """Now in UTC, but after ``created_at``, so that of two voices of one name this is the newest."""
    moment = datetime.now(UTC).replace(tzinfo=None)
    with suppress(ValueError, OverflowError):  # an old program's idea of a date
        moment = max(moment, datetime.fromisoformat(created_at[:19]) + timedelta(seconds=1))
    return moment.strftime(DATE_FORMAT)


def _name_not_found(library: Library, name: str) -> VoiceNotFound:
    shown = readable(name, MAX_VISIBLE_CHARACTERS)
    nearest = ", ".join(f'"{near}"' for near in library.nearest_names(name))
    if nearest:
        return VoiceNotFound(f'no voice is named "{shown}"; the nearest names are {nearest}')
    if library.voices:
        return VoiceNotFound(
            f'no voice is named "{shown}", nor anything like it; list_voices shows all names'
        )
    return VoiceNotFound(f'no voice is named "{shown}": there are none yet; make one with clone_voice')


def _id_not_found(voice_id: str) -> VoiceNotFound:
    return VoiceNotFound(f"no voice has the id {voice_id}; list_voices shows all ids")
