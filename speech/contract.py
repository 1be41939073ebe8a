"""What the rest of the worker knows of a speech engine. Importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from audio.waveform import Waveform

UNTRAINED_WARNING = "untrained smoke checkpoint: the audio is noise"


class Shelf(Protocol):
    """Beside a stored voice: what a model made of it. Whatever is there may be lost or changed by others."""

    def read(self, key: str) -> bytes | None: ...

    def write(self, key: str, content: bytes) -> None: ...


@dataclass(frozen=True)
class Reference:
    """A recording to speak like.

    waveform: 24 kHz mono. digest: hex, the same for the same samples; a cache key. shelf: of a stored voice.
    """

    waveform: Waveform
    digest: str
    shelf: Shelf | None = None

    @classmethod
    def of(cls, waveform: Waveform) -> Reference:
        return cls(waveform, waveform.digest())


@dataclass(frozen=True)
class SpeechParams:
    """How to speak. None means the model variant's own default.

    seed: 0 to 2**63 - 1. exaggeration: 0 to 2. cfg_weight: 0 to 1. temperature: 0 to 5, 0 is
    greedy. top_p, min_p: 0 to 1. repetition_penalty: 1 to 2. top_k: 0 to 1000.
    """

    seed: int
    exaggeration: float = 0.5
    cfg_weight: float = 0.5
    temperature: float = 0.8
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class ModelInfo:
    """variant: "chatterbox", ... revision: the weights' commit or content digest, hex.

    languages: codes that the variant speaks. untrained: True for a smoke checkpoint.
    """

    variant: str
    revision: str
    languages: tuple[str, ...] = ("en",)
    untrained: bool = False


@dataclass(frozen=True)
class Segment:
    """One chunk of the text and where it lies in the audio, in seconds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """What ``speak`` returns.

    waveform: 24 kHz, watermarked. parameters: every parameter that was used, resolved.
    warnings: sentences for the caller. stage_times_s: seconds by stage name.
    """

    waveform: Waveform
    segments: tuple[Segment, ...]
    parameters: Mapping[str, float | int | None]
    warnings: tuple[str, ...] = ()
    stage_times_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A chunk of the text as soon as it is spoken. What the pieces hold, one after the other, is the speech.

    index: from 0. count: of all. waveform: 24 kHz, watermarked, the pause behind it included.
    """

    index: int
    count: int
    text: str
    waveform: Waveform


class Listener:
    """Who waits for a speech. This one waits in patience and looks at nothing before it is whole."""

    def is_gone(self) -> bool:
        """Whether nobody waits any more. Asked every few steps, from whatever thread."""
        return False

    def hear(self, piece: Piece) -> None:
        """Called for each piece in order, by the thread that called ``speak``."""


PATIENT = Listener()


class SpeechStopped(Exception):
    """The listener is gone."""


class Speaker(Protocol):
    """A warm model. Several threads may speak at once."""

    @property
    def info(self) -> ModelInfo: ...

    def prepare_for_new_voices(self) -> None:
        """Does in advance what the first reference that is new would wait for. Raises nothing."""
        ...

    def check(self) -> None:
        """Says a word and raises ModelUnavailable, or DeviceLost, when what comes is not sound."""
        ...

    def speak(
        self, text: str, reference: Reference | None, params: SpeechParams, listener: Listener = PATIENT
    ) -> Speech:
        """Say ``text`` in the reference's voice, or in the built-in voice when it is None.

        text: not blank. Raises ReferenceInvalid, ReferenceTooShort, InvalidRequest, OutOfMemory, DeviceLost;
        SpeechStopped within a few steps once the listener is gone.
        The result depends on the arguments alone, never on an earlier call or on one beside it.
        """
        ...
