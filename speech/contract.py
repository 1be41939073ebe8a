"""What the rest of the worker knows of speech synthesis. Importable without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, Protocol

import numpy as np

from audio.waveform import Waveform
from cancel import CancelToken
from speech.models.spec import ModelSpec
from speech.text.events import event_tags, with_known_tags, without_tags
from speech.trim import decay_of

# What the log and every reply say of weights that are not the published ones, by the word in their
# ``config.json``.
NOTICES = {
    "untrained": "untrained smoke checkpoint: the audio is noise",
    "demonstration": "small demonstration model: intelligible, not natural; see the weights",
}


# When audio is rendered: "whole" waits for all speech tokens of a chunk of text, and equals upstream;
# "stream" renders them in pieces while more are decoded, so that the first audio comes early.
Hop = Literal["whole", "stream"]


@dataclass(frozen=True)
class SamplingParams:
    """How to speak. None means the model's own default (``ModelSpec.default_parameters``)."""

    exaggeration: float | None = None  # 0 to 2
    cfg_weight: float | None = None  # 0 to 1; 0 switches guidance off
    temperature: float | None = None  # 0 to 5; 0 is greedy
    top_p: float | None = None  # 0 to 1
    min_p: float | None = None  # 0 to 1
    repetition_penalty: float | None = None  # 1 to 2
    top_k: int | None = None  # 0 to 1000


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model: which one, of which weights."""

    spec: ModelSpec
    revision: str  # the weights' commit or content digest, hex
    notice: str | None = None  # of ``NOTICES``, for weights that are not the published ones
    # Languages of the model that this worker cannot read, and why: a sentence that says what to do.
    unavailable_languages: Mapping[str, str] = field(default_factory=dict)
    can_align: bool = False  # whether T3's attention tells when each text token is said

    @property
    def languages(self) -> list[str]:
        """The languages that it speaks here."""
        return [code for code in self.spec.languages if code not in self.unavailable_languages]

    @property
    def default_language(self) -> str:
        """The model's own default where it speaks that here, else the first language that it speaks."""
        own = self.spec.default_language
        return own if own in self.languages else self.languages[0]

    def resolve(self, params: SamplingParams) -> dict[str, float | int | None]:
        """Every parameter as the model uses it; None for one that the model does not have."""
        defaults = self.spec.default_parameters
        given = {name: getattr(params, name) for name in PARAMETER_NAMES}
        return {
            name: (defaults[name] if given[name] is None else given[name]) if name in defaults else None
            for name in PARAMETER_NAMES
        }

    def sayable(self, text: str) -> tuple[str, list[str]]:
        """Returns a text as the model can say it, and the event tags that were left out for that."""
        if self.spec.knows_event_tags:
            return with_known_tags(text), []
        unknown = event_tags(text)
        return (without_tags(text) if unknown else text), unknown

    def ignored(self, params: SamplingParams) -> list[str]:
        """Warnings about parameters that were given and that the model does not have."""
        return [
            f"{name} has no effect on the {self.spec.name} model"
            for name in PARAMETER_NAMES
            if getattr(params, name) is not None and name not in self.spec.default_parameters
        ]


PARAMETER_NAMES = tuple(field.name for field in fields(SamplingParams))
PARAMETER_RANGES: Mapping[str, tuple[float, float]] = {
    "exaggeration": (0, 2),
    "cfg_weight": (0, 1),
    "temperature": (0, 5),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (1, 2),
    "top_k": (0, 1000),
}


class Conditionals(Protocol):
    """What a model computes from a reference recording: opaque here, never changed once made."""

    def to_bytes(self, digest: str) -> bytes:
        """A file's content. digest: of the samples they were computed from, hex."""
        ...


MAX_TAKES = 5
DEFAULT_TAKES = 2

# What may be wrong with a take, by its code in replies, as a predicate.
FAULTS = {
    "empty": "came out empty",
    "ran_on": "ran on and was cut",
    "too_short": "is too short for its text",
    "too_long": "is too long for its text",
    "end_missing": "never reached its last words",
    "repeats": "says words again",
    "skips": "leaves words out",
    "stuck": "stayed at one place for too long",
}


@dataclass(frozen=True)
class Take:
    """One reading of a chunk by T3."""

    seed: int
    faults: tuple[str, ...]  # keys of ``FAULTS``, the worst first; empty for a good one
    used: bool  # whether it is the one that is heard


@dataclass(frozen=True)
class Alignment:
    """When the text tokens of a chunk are said, by T3's attention, to 40 ms."""

    ends_s: tuple[float, ...]  # of each text token, within the chunk's audio; they do not fall
    spans: tuple[tuple[int, int], ...]  # the characters of the chunk's text that each stands for

    def behind(self, place: int, time_s: float) -> Alignment:
        """Returns the alignment of the text behind a place, whose audio begins at a time."""
        behind = [
            (max(0.0, end_s - time_s), (max(0, start - place), end - place))
            for end_s, (start, end) in zip(self.ends_s, self.spans, strict=True)
            if end > place
        ]
        return Alignment(tuple(end_s for end_s, _ in behind), tuple(span for _, span in behind))

    def character_times(self) -> list[tuple[int, float]]:
        """Returns places in the chunk's text and the seconds at which what is before them is said.

        A place is a number of characters. Places rise and times do not fall. Where the text front end keeps
        letters a place is exact; within what it rewrites, such as Han characters, it is interpolated.
        """
        times: dict[int, float] = {}
        place = 0
        for (_, end), time_s in zip(self.spans, self.ends_s, strict=True):
            place = max(place, end)
            times[place] = time_s
        return list(times.items())


@dataclass(frozen=True)
class Utterance:
    """A text to speak in one voice. A request is a list of them."""

    text: str  # with at least one letter or digit
    voice: Conditionals
    seed: int  # 0 to 2**63 - 1; of the first chunk, from which the seeds of the others follow
    params: SamplingParams = field(default_factory=SamplingParams)
    language: str = "en"  # one of the model's
    pause_after_s: float = 0.0  # silence after it
    pause_is_exact: bool = False  # the pause was asked for by its length, which no speed changes
    max_takes: int = DEFAULT_TAKES  # 1 to 5; readings of a chunk, until one has no fault
    align: bool = False  # whether audio chunks are to have their alignment, where the model can tell
    field: str = "text"  # where the text was sent, for errors
    # Whether a chunk of one to three words is spoken after a sentence that is cut away again; only by
    # models that can align, and never in a stream.
    context: bool = False


@dataclass(frozen=True)
class AudioChunk:
    """The audio of one chunk of text or of a piece of it.

    All of a request in a row, with their pauses, are its speech.
    """

    waveform: Waveform  # 24 kHz mono, trimmed and faded, not watermarked
    pause_after_s: float  # silence after it; 0 where more of the chunk follows
    text: str  # as it was spoken; empty for a converted recording
    utterance: int  # index of its utterance
    index: int  # from 0, over all utterances
    count: int  # chunks of the whole request
    ends_chunk: bool = True  # False: more audio of the same chunk of text follows
    span: tuple[int, int] = (0, 0)  # start and end index of the chunk in its utterance's text
    pause_is_exact: bool = False  # the pause was asked for by its length, which no speed changes
    filled_pause_s: float = 0.0  # of the waveform's end: a pause with noise instead of silence
    warnings: tuple[str, ...] = ()  # sentences for the caller
    stage_times_s: Mapping[str, float] = field(default_factory=dict)  # seconds by stage
    takes: tuple[Take, ...] = ()  # of the chunk, on its last piece; empty for a converted recording
    alignment: Alignment | None = None  # of the chunk, on its last piece, where it was asked for and is known

    @property
    def duration_s(self) -> float:
        """Seconds, the pause included."""
        return (len(self.waveform.samples) + self.pause_samples) / self.waveform.sample_rate_hz

    @property
    def speech_s(self) -> float:
        """Seconds without any pause after it."""
        return self.waveform.duration_s - self.filled_pause_s

    def with_pause(self) -> Waveform:
        """The waveform and the silence after it.

        Speech that does not end in silence fades out within the pause, so that nothing clicks.
        """
        pause = np.zeros(self.pause_samples, np.float32)
        decay = decay_of(self.waveform.samples, self.waveform.sample_rate_hz)[: len(pause)]
        pause[: len(decay)] = decay
        return Waveform(np.concatenate([self.waveform.samples, pause]), self.waveform.sample_rate_hz)

    @property
    def pause_samples(self) -> int:
        """Samples of silence after it."""
        return round(self.pause_after_s * self.waveform.sample_rate_hz)


@dataclass(frozen=True)
class DeviceUsage:
    """How much of the device is in use now."""

    rows_in_use: int  # of the decoder's batch: two for a chunk of text with guidance, one without
    rows: int
    memory_bytes: int | None = None  # that this process has taken of a GPU; None on a CPU
    memory_total_bytes: int | None = None


class Synthesizer(Protocol):
    """A warm model. All methods may be called from several threads at once.

    Models of one worker share the device: ``usage`` is of all of them, and a watermark is the same by each.
    """

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""
        ...

    @property
    def conditionals_key(self) -> str:
        """Names everything besides the recording that conditionals depend on; fit for a file name."""
        ...

    @property
    def usage(self) -> DeviceUsage:
        """How much of the device is in use now. Asks the device nothing."""
        ...

    def check(self) -> None:
        """Says a word. Raises ModelUnavailable or DeviceLost when no sound comes."""
        ...

    def builtin_voice(self) -> Conditionals:
        """The model's own voice. Raises InvalidRequest when the weights have none."""
        ...

    def encode_reference(self, waveform: Waveform, cancel: CancelToken) -> Conditionals:
        """Computes the conditionals of a 24 kHz recording.

        Raises ReferenceTooShort, OutOfMemory, DeviceLost, Cancelled.
        """
        ...

    def read_conditionals(self, content: bytes, digest: str) -> Conditionals | None:
        """What ``Conditionals.to_bytes`` wrote for these samples; None for anything else."""
        ...

    def synthesize(
        self, utterances: Sequence[Utterance], cancel: CancelToken, *, hop: Hop = "whole"
    ) -> Iterator[AudioChunk]:
        """Speaks the utterances; yields each chunk or piece as soon as it is rendered, in order.

        All chunks are on their way once the first one is asked for. Closing the iterator ends the work.
        Raises InvalidRequest, OutOfMemory, DeviceLost, Internal; Cancelled within a few steps of the model
        after ``cancel`` was called. The audio depends on the arguments alone, never on other requests.
        """
        ...

    def convert(
        self, recording: Waveform, voice: Conditionals, seed: int, cancel: CancelToken
    ) -> Iterator[AudioChunk]:
        """Says what a recording says in another voice, with the recording's words, pace and pauses.

        recording: 24 kHz, at least 0.1 s. Yields one chunk for each piece of at most 30 s, with an empty text
        and with 40 ms for each token: all in a row are as long as the recording, at most 40 ms longer.
        Raises and ends as ``synthesize`` does; after ``cancel`` was called at the end of the pieces that are
        being rendered.
        """
        ...

    def watermark(self, chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
        """Yields audio with the PerTh watermark, each chunk as long as it was. The last step before encoding.

        Of a chunk in pieces, the end of each piece is yielded with the next one. Raises OutOfMemory,
        DeviceLost.
        """
        ...

    def detect_watermark(self, recording: Waveform, cancel: CancelToken) -> float:
        """How sure PerTh's detector is that a recording carries its watermark, 0 to 1.

        recording: at least 0.1 s, not silent. Raises OutOfMemory, DeviceLost, Cancelled.
        """
        ...


class Models:
    """The warm models of a worker, in the order of the setting MODEL."""

    def __init__(self, synthesizers: Sequence[Synthesizer]) -> None:
        """synthesizers: at least one, each with a name of its own."""
        self._by_name = {each.info.spec.name: each for each in synthesizers}
        assert len(self._by_name) == len(synthesizers) > 0

    def __iter__(self) -> Iterator[Synthesizer]:
        return iter(self._by_name.values())

    @property
    def first(self) -> Synthesizer:
        return next(iter(self))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def named(self, name: str) -> Synthesizer | None:
        """Returns the model of a name; None where there is no such model."""
        return self._by_name.get(name)

    def check(self) -> None:
        """Lets each model say a word. Raises what ``Synthesizer.check`` raises."""
        for each in self:
            each.check()

    @property
    def languages(self) -> dict[str, list[str]]:
        """The languages that each model speaks here, by its name."""
        return {name: each.info.languages for name, each in self._by_name.items()}

    @property
    def notices(self) -> list[str]:
        """What is said of weights that are not the published ones, each sentence once."""
        return list(dict.fromkeys(each.info.notice for each in self if each.info.notice is not None))
