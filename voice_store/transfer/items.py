"""What can become a voice of a store, and where its samples lie. All of it can go to another process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from audio.waveform import Waveform
from errors import InvalidRequest, StoreUnavailable
from voice_store.files import Folder
from voice_store.folders import VoiceFiles
from voice_store.metadata import DATE_FORMAT, DETAILS
from voice_store.plain_files import UnreadableFileError, read_plain_file, reason
from voice_store.saving import read_recording
from voice_store.transfer.description import MAX_AUDIO_BYTES, Description, decode_audio_file


@dataclass(frozen=True, eq=False)
class Arrival:
    """What is to be kept.

    details: arguments of ``VoiceStore.put``. digest: of the samples where they came from, when those that
    arrived are rounded. warnings: sentences about the recording.
    """

    waveform: Waveform
    details: Mapping[str, Any]
    digest: str | None = None
    warnings: tuple[str, ...] = ()


class Item(Protocol):
    """label: names it in what a person reads. name: what its voice is to be called."""

    @property
    def label(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def age(self) -> tuple[str, str]:
        """Of two that have one name, the one with the higher value has it."""

    def load(self) -> Arrival:
        """Raises WorkerError; its sentence need not say which item it is about."""


@dataclass(frozen=True)
class Recording:
    """A file that a person has."""

    path: Path
    name: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def age(self) -> tuple[str, str]:
        return "", ""

    def load(self) -> Arrival:
        waveform, warnings = read_recording(self.path, self.label)
        return Arrival(waveform, {**self.details, "original_file": self.path.name}, warnings=warnings)


@dataclass(frozen=True)
class Exported:
    """A voice that was exported, to a file of its own or into a tar. file: what a person calls that."""

    file: str
    description: Description
    path: Path
    start: int = 0
    size: int | None = None

    @property
    def label(self) -> str:
        return f"{self.name} ({self.file})"

    @property
    def name(self) -> str:
        return str(self.description.metadata["speaker_name"])

    @property
    def age(self) -> tuple[str, str]:
        return self.description.metadata["created_at"], self.description.voice_id or ""

    def load(self) -> Arrival:
        try:
            data = read_plain_file(self.path, MAX_AUDIO_BYTES, self.start, self.size)
        except UnreadableFileError as fault:
            raise InvalidRequest(f"its audio {fault}") from fault
        waveform = decode_audio_file(data, self.description)
        details = told_details(self.description.metadata) | {"voice_id": self.description.voice_id}
        return Arrival(waveform, details, digest=self.description.digest)


@dataclass(frozen=True)
class Stored:
    """A voice of another store."""

    root: Path
    voice_id: str
    metadata: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.name} ({self.voice_id})"

    @property
    def name(self) -> str:
        return str(self.metadata["speaker_name"])

    @property
    def age(self) -> tuple[str, str]:
        return self.metadata["created_at"], self.voice_id

    def load(self) -> Arrival:
        try:
            stored = VoiceFiles(Folder(self.root / "embeddings")).load(self.voice_id)
        except OSError as fault:
            raise StoreUnavailable(f"it cannot be opened: {reason(fault)}") from fault
        return Arrival(stored.waveform, told_details(self.metadata) | {"voice_id": self.voice_id})


def told_details(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What metadata says, as ``VoiceStore.put`` takes it; None for what it does not say."""
    details = {key: metadata[key] or None for key in (*DETAILS, "original_file")}
    gender = metadata["gender"]
    return details | {
        "gender": None if gender == "unknown" else gender,
        "created_at": _date(metadata["created_at"]),
    }


def _date(text: str) -> str | None:
    """As the store writes dates; None for what is none."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime(DATE_FORMAT)
    return None
