"""The calls of the clients, as flows, and their results."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from chatterbox_voice.errors import InvalidRequest, UnexpectedReply, VoiceWorkerError
from chatterbox_voice.flow import Call, Flow
from chatterbox_voice.http_server import HttpServer
from chatterbox_voice.pieces import audio_of, decode, part_of, without_audio
from chatterbox_voice.queue_endpoint import QueueEndpoint, is_not_streaming
from chatterbox_voice.replies import as_list, as_object, number, objects, strings, whole

DEFAULT_FORMAT = "mp3"
LONG_TEXT_CHARS = 200  # in WAV some 13 s and 0.8 MB in base64
LIST_PAGE = 1000  # voices that are asked for at a time
MAX_RECORDING_BYTES = 25 * 1024**2  # that the worker reads

# A file, its content, or an https address of it.
Recording = str | os.PathLike[str] | bytes | IO[bytes]
# One recording of a speaker, or several of the same one.
Recordings = Recording | Sequence[Recording]
# What the field ``turns`` of the operation ``tts`` takes.
Turns = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Voice:
    """A stored voice."""

    id: str  # 8 hex digits
    name: str
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)  # all that the worker says of it


@dataclass(frozen=True)
class Speech:
    """Audio, and what the worker says of it."""

    audio: bytes = field(repr=False)  # a file in ``format``
    receipt: Mapping[str, Any] = field(repr=False)  # the worker's reply without the audio

    @property
    def warnings(self) -> list[str]:
        """What may differ from what was expected."""
        return strings(self.receipt, "warnings")

    @property
    def format(self) -> str:
        """The audio's format, such as "mp3"."""
        return str(self.receipt.get("format", ""))

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return whole(self.receipt, "sample_rate")

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return number(self.receipt, "duration")

    @property
    def seed(self) -> int | None:
        """The seed with which the same job gives the same audio."""
        return self.receipt.get("seed")

    @property
    def segments(self) -> list[dict[str, Any]]:
        """What was spoken in one go, with its ``text``, ``spoken``, ``voice``, ``start`` and ``end``."""
        return objects(self.receipt, "segments")

    @property
    def words(self) -> list[dict[str, Any]]:
        """Each word's ``text``, ``start``, ``end`` and ``segment``, of a job with ``timestamps="words"``."""
        return objects(self.receipt, "words")

    @property
    def subtitles(self) -> str | None:
        """The file of a job with ``subtitles="srt"`` or ``"vtt"``; None of others."""
        subtitles = self.receipt.get("subtitles")
        return subtitles if isinstance(subtitles, str) else None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the audio to a file; returns its path."""
        file = Path(path)
        file.write_bytes(self.audio)
        return file

    def save_subtitles(self, path: str | os.PathLike[str]) -> Path:
        """Writes the subtitles to a file; returns its path. Raises ValueError where there are none."""
        if self.subtitles is None:
            raise ValueError("the speech has no subtitles; ask for them with subtitles='srt' or 'vtt'")
        file = Path(path)
        file.write_text(self.subtitles, "utf-8", newline="")
        return file


@dataclass(frozen=True)
class ClonedVoice:
    """A voice that was made of one recording or several."""

    id: str | None  # None: it was measured and not stored
    name: str
    is_new: bool  # False: the same voice was stored before
    preview: bytes | None = field(repr=False)  # a sentence in the voice, a WAV file
    receipt: Mapping[str, Any] = field(repr=False)  # the worker's reply without the preview

    @property
    def warnings(self) -> list[str]:
        """What may differ from what was expected."""
        return strings(self.receipt, "warnings")

    @property
    def quality(self) -> Mapping[str, Any]:
        """Measurements of the recording."""
        quality = self.receipt.get("quality")
        return quality if isinstance(quality, dict) else {}

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What was taken of each of several recordings: ``parts``, with ``start``, ``end`` and ``at``."""
        return objects(self.receipt, "samples")


@dataclass(frozen=True)
class WatermarkCheck:
    """What the worker says of the watermark of Chatterbox's makers in a recording."""

    is_marked: bool
    confidence: float  # of the detector that the watermark is there, 0 to 1
    receipt: Mapping[str, Any] = field(repr=False)  # the worker's reply

    @property
    def warnings(self) -> list[str]:
        """What may differ from what was expected, such as a recording that is too short to be sure."""
        return strings(self.receipt, "warnings")


# A stored voice by its name, or as it was listed or cloned.
AnyVoice = str | Voice | ClonedVoice


class Operations:
    """Flows for one endpoint or server."""

    def __init__(self, worker: QueueEndpoint | HttpServer, *, is_streaming: bool | None) -> None:
        """is_streaming: whether the endpoint streams; None: to be found out."""
        self.worker = worker
        self._is_streaming = True if isinstance(worker, HttpServer) else is_streaming

    def run(self, call: Call, job_input: Mapping[str, Any]) -> Flow[Any]:
        """Runs any job; returns the worker's reply. Raises VoiceWorkerError."""
        reply = yield from self.worker.run(call, job_input)
        if isinstance(reply, list):  # an endpoint that streams
            self._is_streaming = True
            if len(reply) == 1:
                return reply[0]
        return reply

    def speak(self, call: Call, job_input: Mapping[str, Any]) -> Flow[Speech]:
        """Runs a job that speaks; returns all of its audio."""
        if isinstance(self.worker, QueueEndpoint) and self._is_better_streamed(job_input):
            receipt = yield from self.stream(call, job_input)
            return Speech(b"".join(call.parts), receipt)
        reply = as_object((yield from self.run(call, job_input)))
        audio = yield from audio_of(call, reply)
        return Speech(audio, without_audio(reply))

    def _is_better_streamed(self, job_input: Mapping[str, Any]) -> bool:
        """Whether to ask a queue endpoint for pieces, though the whole audio is wanted.

        An endpoint that streams gives at most 1 MB in one reply, and puts larger audio elsewhere. One that
        does not stream refuses the job at once: that is worth a try only for a text that may be too long.
        """
        if not can_stream(job_input) or self._is_streaming is False:
            return False
        return self._is_streaming is True or text_chars(job_input, "text") > LONG_TEXT_CHARS

    def stream(self, call: Call, job_input: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
        """Runs a job that speaks and hands over its audio while it is made; returns its receipt.

        An endpoint that does not stream gives the audio in one part.
        """
        if self._is_streaming is not False and can_stream(job_input):
            try:
                receipt = yield from self.worker.stream(call, _with_mode(job_input, "streaming"))
                self._is_streaming = True
                return receipt
            except VoiceWorkerError as error:
                if not is_not_streaming(error):
                    raise
                self._is_streaming = False
        reply = as_object((yield from self.run(call, job_input)))
        yield from part_of(call, reply)
        return without_audio(reply)

    def clone(self, call: Call, job_input: Mapping[str, Any]) -> Flow[ClonedVoice]:
        """Stores a voice."""
        reply = as_object((yield from self.run(call, job_input)))
        sample = reply.pop("sample_audio", None)
        return ClonedVoice(
            reply.get("voice_id"),
            str(reply.get("voice_name", "")),
            bool(reply.get("created")),
            decode(sample) if isinstance(sample, str) else None,
            reply,
        )

    def check_watermark(self, call: Call, job_input: Mapping[str, Any]) -> Flow[WatermarkCheck]:
        """Looks for the watermark in a recording."""
        reply = as_object((yield from self.run(call, job_input)))
        is_marked = reply.get("watermarked")
        if not isinstance(is_marked, bool):  # nothing that could be taken for a no
            raise UnexpectedReply("the reply does not say whether the recording is watermarked")
        return WatermarkCheck(is_marked, number(reply, "confidence"), reply)

    def voices(self, call: Call, filters: Mapping[str, Any]) -> Flow[list[Voice]]:
        """Returns the stored voices, also where one reply cannot hold all of them."""
        voices: list[Voice] = []
        while True:
            page = {"limit": LIST_PAGE, "offset": len(voices)}
            reply = as_object((yield from self.run(call, job("list_voices", {**page, **filters}))))
            listed = as_list(reply.get("voices"), "the list of voices")
            voices += [_voice(each) for each in listed]
            is_last = not listed or len(voices) >= whole(reply, "total_voices")
            if is_last or "limit" in filters or "offset" in filters:
                return voices

    def preview(self, call: Call, job_input: Mapping[str, Any]) -> Flow[bytes | None]:
        """Returns the kept preview of a voice; None where there is none."""
        reply = as_object((yield from self.run(call, job_input)))
        preview = reply.get("preview")
        return decode(preview) if isinstance(preview, str) else None

    def delete(self, call: Call, job_input: Mapping[str, Any]) -> Flow[bool]:
        """Deletes a voice; returns whether it was there."""
        reply = as_object((yield from self.run(call, job_input)))
        return bool(reply.get("deleted"))


def job(operation: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a job's input. Fields that are None are left out."""
    sent = {name: value for name, value in fields.items() if value is not None}
    return {"operation": operation, **sent}


def voice_fields(voice: AnyVoice | None, voice_id: str | None) -> dict[str, Any]:
    """Returns the fields that name a stored voice. Raises InvalidRequest for one that was not stored."""
    if isinstance(voice, Voice | ClonedVoice):
        if voice.id is None:
            raise InvalidRequest(f"the voice {voice.name!r} was not stored; clone it with save_to_library")
        return {"voice_id": voice.id}
    return {"voice_name": voice, "voice_id": voice_id}


def recording_fields(prefix: str, recording: Recording | None) -> dict[str, Any]:
    """Returns the field for a recording: ``PREFIX_url`` for an address, else ``PREFIX`` in base64.

    Raises InvalidRequest for an empty or very large one, OSError for a file that cannot be read.
    """
    if recording is None:
        return {}
    if recording == "":  # which Path takes for the folder that the program runs in
        raise InvalidRequest("the recording is an empty string; give a file, an address or its bytes")
    if isinstance(recording, str) and recording.startswith(("https://", "http://")):
        return {f"{prefix}_url": recording}
    if isinstance(recording, bytes):
        content = recording
    elif isinstance(recording, str | os.PathLike):
        content = Path(recording).read_bytes()
    else:
        content = recording.read()
    if not content:
        raise InvalidRequest("the recording is empty")
    if len(content) > MAX_RECORDING_BYTES:
        raise InvalidRequest(
            f"the recording has {len(content):,} bytes, and the worker reads {MAX_RECORDING_BYTES:,}; send a "
            "shorter one, or mp3 or flac"
        )
    return {prefix: base64.b64encode(content).decode("ascii")}


def clone_recordings(recordings: Recordings) -> dict[str, Any]:
    """Returns the field of ``clone_voice`` for a recording, or for a list of them.

    Raises InvalidRequest for an empty list, and what ``recording_fields`` raises.
    """
    if isinstance(recordings, str | bytes | os.PathLike) or not isinstance(recordings, Sequence):
        return recording_fields("reference_audio", recordings)
    samples = cast("Sequence[Recording]", recordings)
    if not samples:
        raise InvalidRequest("there is no recording")
    return {"samples": [recording_fields("audio", sample) for sample in samples]}


def text_chars(fields: Mapping[str, Any], name: str) -> int:
    """Returns the characters of all that a job speaks. name: of the field with a text that has no turns."""
    turns = fields.get("turns")
    texts = [turn.get("text") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    return sum(len(text) for text in [fields.get(name), *texts] if isinstance(text, str))


def can_stream(job_input: Mapping[str, Any]) -> bool:
    """Whether a job's audio can be sent while it is made: not if it needs the whole, or goes elsewhere."""
    if job_input.get("operation") != "tts" and "openai_input" not in job_input:
        return False
    fields = job_input.get("openai_input", job_input)
    is_whole = fields.get("audio_normalization") is not None or fields.get("mode") == "basic"
    return not is_whole and fields.get("delivery") not in ("s3", "volume")


def _voice(said: Any) -> Voice:
    details = as_object(said, "a voice")
    return Voice(str(details.get("voice_id")), str(details.get("speaker_name")), details)


def _with_mode(job_input: Mapping[str, Any], mode: str) -> dict[str, Any]:
    if "openai_input" in job_input:
        return {**job_input, "openai_input": {**job_input["openai_input"], "mode": mode}}
    return {**job_input, "mode": mode}
