"""Replies that hold speech: whole, or in pieces while it is made."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.encode import StreamEncoder, content_type, encode_chunks
from audio.speed import FASTEST
from cancel import CancelToken
from delivery import Delivery, Target
from delivery.delivering import ENVELOPE_BYTES, base64_length, posted_bytes
from errors import DeliveryFailed, InvalidRequest, OutputTooLarge, Problem
from operations.parameters import NORMAL_SPEED
from operations.speech_result import SpeechResult
from operations.tts import TtsRequest
from serving.envelope import PIECE_LIMIT_BYTES, Limits, complete
from speech.contract import AudioChunk

SMALLER_AUDIO = "ask for format mp3 or opus, a lower sample_rate, or send it in several jobs"
SUMMARY_BYTES = 100_000  # the largest last piece of a stream, which tells of the whole job
MAX_WARNINGS = 50  # of a summary
MAX_CHARS_PER_S = 30  # faster than anybody speaks: twice an ordinary pace
MP3_BYTES_PER_S = 16_000  # 8,000 below 16 kHz

# The SDK sends each report from a thread of its own: what is sent last may arrive after the result.
CHUNKS_WITHOUT_REPORT = 2
SECONDS_BETWEEN_REPORTS = 2.0

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Way:
    """The way of a job's speech to its caller."""

    target: Target
    delivery: Delivery
    limits: Limits
    cancel: CancelToken


@dataclass
class Piece:
    """A part of a reply that is sent ahead."""

    fields: dict[str, Any]  # as it is streamed
    kept: dict[str, Any] | None = None  # what the job's result has of it; None: all of it


# Sends a piece; may wait until the caller has taken earlier ones. Raises Cancelled.
Emit = Callable[[Piece, CancelToken], None]


def check_streaming(request: TtsRequest, *, can_stream: bool) -> None:
    """Raises InvalidRequest for a job in mode "streaming" that cannot be streamed."""
    if not can_stream:
        raise InvalidRequest(
            "'streaming' is not possible on this endpoint",
            field="mode",
            hint="send 'basic', or use an endpoint that has ENDPOINT_MODE=streaming",
        )
    problems = []
    if request.audio_normalization is not None:
        hint = "leave it out with mode 'streaming'"
        problems.append(Problem("needs the whole audio", "audio_normalization", hint))
    if request.delivery not in ("auto", "inline"):
        reason = f"'{request.delivery}' and mode 'streaming' exclude each other"
        problems.append(Problem(reason, "delivery"))
    if problems:
        raise InvalidRequest.of(problems)


def whole_reply(speech: SpeechResult, way: Way, report: Report | None) -> dict[str, Any]:
    """Returns the reply with all of the audio, or with where it is.

    report: told how far a long text is. Raises OutputTooLarge, DeliveryFailed, and what the speech raises.
    """
    with closing(speech.chunks):
        chunks: Iterator[AudioChunk] = speech.chunks
        if report is not None:
            chunks = reported(chunks, report)
        limit_bytes = way.limits.reply_bytes
        if limit_bytes is not None and not way.delivery.has_room_beside_the_reply(way.target):
            chunks = limited(chunks, speech, limit_bytes)
        samples = _Samples(chunks)
        start_s = time.perf_counter()
        audio = encode_chunks(samples, speech.format, speech.sample_rate_hz)
        encode_s = time.perf_counter() - start_s - samples.waited_s
    reply = complete(speech.receipt(encode_s))
    delivered = way.delivery.deliver(
        audio,
        way.target,
        extension=speech.format,
        content_type=content_type(speech.format, speech.sample_rate_hz),
        reply=reply,
        limit_bytes=limit_bytes,
        hint=SMALLER_AUDIO,
        cancel=way.cancel,
    )
    reply["warnings"] = [*reply["warnings"], *delivered.warnings]
    return reply | delivered.fields()


def reported(chunks: Iterable[AudioChunk], report: Report) -> Iterator[AudioChunk]:
    """Yields the chunks and reports, every now and then, how far a long text is."""
    audio_s = 0.0
    reported_at_s = -SECONDS_BETWEEN_REPORTS
    for chunk in chunks:
        audio_s += chunk.duration_s
        done, now_s = chunk.index + 1, time.monotonic()
        is_early = chunk.count - done >= CHUNKS_WITHOUT_REPORT
        if is_early and now_s - reported_at_s >= SECONDS_BETWEEN_REPORTS:
            reported_at_s = now_s
            report({"chunk": done, "chunks": chunk.count, "audio_seconds": round(audio_s, 3)})
        yield chunk


def check_length(request: TtsRequest, limits: Limits) -> None:
    """Raises OutputTooLarge for a text whose audio cannot fit into a reply, however fast it is spoken."""
    most_s = _most_seconds(request.format, request.sample_rate, limits.reply_bytes)
    if request.markup == "ssml":  # whose letters are not all spoken
        return
    is_stored = request.voice_name is not None or request.voice_id is not None
    # A stored voice may have a speed of its own, and so may turns and passages.
    may_be_fast = request.turns is not None or any("[" in text for text in request.texts)
    speed = FASTEST if may_be_fast else request.speed or (FASTEST if is_stored else NORMAL_SPEED)
    chars = sum(sum(map(str.isalnum, text)) for text in request.texts)
    least_s = chars / MAX_CHARS_PER_S / speed
    if most_s is not None and least_s > most_s:
        raise _too_long(request.format, most_s)


def limited(chunks: Iterable[AudioChunk], speech: SpeechResult, limit_bytes: int) -> Iterator[AudioChunk]:
    """Yields the chunks until they are certain to be too large for a reply. Raises OutputTooLarge."""
    most_s = _most_seconds(speech.format, speech.sample_rate_hz, limit_bytes)
    audio_s = 0.0
    for chunk in chunks:
        audio_s += chunk.duration_s
        if most_s is not None and audio_s > most_s:
            raise _too_long(speech.format, most_s)
        yield chunk


def _most_seconds(format: str, sample_rate_hz: int, limit_bytes: int | None) -> float | None:
    """Seconds of audio that fit into a reply; None where nobody can say before it is encoded."""
    if limit_bytes is None:
        return None
    match format:
        case "wav" | "pcm":
            bytes_per_s = 2 * sample_rate_hz
        case "ulaw":
            bytes_per_s = sample_rate_hz
        case "mp3":
            bytes_per_s = MP3_BYTES_PER_S if sample_rate_hz >= 16_000 else MP3_BYTES_PER_S // 2
        case _:
            return None
    return limit_bytes * 3 / 4 / bytes_per_s


def _too_long(format: str, most_s: float) -> OutputTooLarge:
    return OutputTooLarge(
        f"the speech is too long: {most_s:.0f} s of {format} fit into a reply, and this endpoint has neither "
        "a network volume nor a bucket for more",
        hint=SMALLER_AUDIO,
    )


def stream_reply(speech: SpeechResult, way: Way, emit: Emit, text_bytes: int) -> dict[str, Any]:
    """Emits the audio in pieces while it is made; returns the summary that comes after them.

    text_bytes: of the whole text, as it is posted. Raises what the speech raises.
    """
    sender = _PieceSender(speech, way, emit, text_bytes)
    encode_s, spoken_chunks = 0.0, 0
    with closing(StreamEncoder(speech.format, speech.sample_rate_hz)) as encoder, closing(speech.chunks):
        for chunk in speech.chunks:
            start_s = time.perf_counter()
            data = encoder.add(chunk.with_pause().samples)
            is_last = chunk.ends_chunk and chunk.index + 1 == chunk.count
            if is_last:
                data += encoder.finish()
            encode_s += time.perf_counter() - start_s
            # The text comes with the first of its audio.
            text, spoken_chunks = (chunk.text if chunk.index == spoken_chunks else ""), chunk.index + 1
            sender.add(data, text, chunk.duration_s, is_last=is_last)
    summary = complete(speech.receipt(encode_s))
    summary["pieces"] = sender.count
    summary["warnings"] = [*summary["warnings"], *sender.warnings]
    if way.limits.result_bytes is not None:
        _shorten(summary)
    del summary["text"]  # each piece has its own
    return summary


def _shorten(summary: dict[str, Any]) -> None:
    """Makes the summary of a very long text fit into what is kept free for it."""
    count = len(summary["warnings"])
    if count > MAX_WARNINGS:
        kept = [*summary["warnings"][: MAX_WARNINGS - 2], summary["warnings"][-1]]
        summary["warnings"] = [*kept, f"and {count - len(kept)} more warnings"]
    room_bytes = SUMMARY_BYTES - ENVELOPE_BYTES + posted_bytes(summary["text"])
    for key, instead in (
        ("segments", "see the pieces"),
        ("words", "ask for them in mode 'basic'"),
        ("subtitles", "ask for them in mode 'basic'"),
    ):
        if key in summary and posted_bytes(summary) > room_bytes:
            summary[key] = "" if key == "subtitles" else []
            summary["warnings"].append(f"{key} are left out, because there are too many: {instead}")


@dataclass
class _Samples:
    """The samples of audio chunks, one after the other, and the seconds spent waiting for them."""

    chunks: Iterator[AudioChunk]
    waited_s: float = 0.0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        while True:
            start_s = time.perf_counter()
            chunk = next(self.chunks, None)
            self.waited_s += time.perf_counter() - start_s
            if chunk is None:
                return
            yield chunk.with_pause().samples


@dataclass
class _Pending:
    """Encoded audio that waits for its piece."""

    data: bytearray = field(default_factory=bytearray)
    texts: list[str] = field(default_factory=list)
    duration_s: float = 0.0


class _PieceSender:
    """Cuts the bytes of one file into pieces that the platform carries.

    The platform gives all pieces together as the job's result, too, within the limit for one reply. Audio
    that goes beyond that is put into the bucket or onto the volume; where there is neither, it is streamed,
    and the result has its piece without the audio.
    """

    def __init__(self, speech: SpeechResult, way: Way, emit: Emit, text_bytes: int) -> None:
        self.count = 0  # pieces so far
        self.warnings: list[str] = []  # what the summary says of the pieces
        self._speech, self._way, self._emit = speech, way, emit
        self._position_s = 0.0
        self._pending = _Pending()
        self._is_full = False  # once one piece's audio was too much for the result
        self._room_bytes = self._audio_room_bytes = None
        if way.limits.result_bytes is not None:
            self._room_bytes = way.limits.result_bytes - SUMMARY_BYTES
            # What the pieces say besides their audio, with the texts that the model was given, often longer.
            reserve_bytes = min(3 * text_bytes, self._room_bytes // 2)
            self._audio_room_bytes = self._room_bytes - reserve_bytes

    def add(self, data: bytes, text: str, duration_s: float, *, is_last: bool) -> None:
        """Takes the audio of one chunk of text, and sends it once there is enough of it."""
        pending = self._pending
        pending.data += data
        pending.texts += [text] if text else []
        pending.duration_s += duration_s
        # Beyond the result's limit fewer and larger pieces: each takes room in the result.
        is_enough = len(pending.data) >= (PIECE_LIMIT_BYTES // 2 if self._is_full else 1)
        if is_last or is_enough:
            self._pending = _Pending()
            self._send_all(bytes(pending.data), " ".join(pending.texts), pending.duration_s)

    def _send_all(self, data: bytes, text: str, duration_s: float) -> None:
        """Sends the audio in as many pieces as it takes. Times within it are shares of its bytes."""
        start_s, sent_bytes = self._position_s, 0
        while sent_bytes < len(data) or sent_bytes == 0:
            fields = {
                "index": self.count,
                "continuous": True,
                "format": self._speech.format,
                "sample_rate": self._speech.sample_rate_hz,
                "start": 0.0,
                "duration": 0.0,
                "text": text if sent_bytes == 0 else "",
            }
            room_bytes = PIECE_LIMIT_BYTES - ENVELOPE_BYTES - posted_bytes(fields)
            part = data[
                sent_bytes : sent_bytes + max(room_bytes // 16 * 12, 12)
            ]  # whole samples, whole base64
            sent_bytes += len(part)
            end_s = start_s + duration_s * (sent_bytes / len(data) if data else 1.0)
            fields["start"] = round(self._position_s, 3)
            fields["duration"] = round(end_s - self._position_s, 3)
            self._position_s = end_s
            self._send(part, fields)
            if not data:
                break

    def _send(self, part: bytes, fields: dict[str, Any]) -> None:
        size_bytes = posted_bytes(fields) + base64_length(len(part)) + len(', "audio": "", ')
        if self._audio_room_bytes is None or (not self._is_full and size_bytes <= self._audio_room_bytes):
            fields["audio"] = base64.b64encode(part).decode("ascii")
            self._emit_piece(fields, fields)
            return
        kept = fields if (elsewhere := self._put_elsewhere(part)) is None else {**fields, **elsewhere}
        if not self._is_full:
            self._is_full = True
            where = (
                "streamed, and left out of the result"
                if elsewhere is None
                else f"in {' and '.join(elsewhere)}"
            )
            self.warnings.append(
                f"from piece {self.count} on: the audio is {where}, because all pieces together are too "
                f"large for a result; else {SMALLER_AUDIO}"
            )
        streamed = {**fields, "audio": base64.b64encode(part).decode("ascii")} if elsewhere is None else kept
        self._emit_piece(streamed, kept)

    def _put_elsewhere(self, part: bytes) -> dict[str, str] | None:
        """Where the audio was put, as the piece says it; None when nothing took it."""
        delivery, target = self._way.delivery, self._way.target
        if not delivery.has_room_beside_the_reply(target):
            return None
        name = delivery.file_name(target, self._speech.format, part=self.count)
        try:
            kind = content_type(self._speech.format, self._speech.sample_rate_hz)
            delivered = delivery.deliver_elsewhere(part, target, name, kind, self._way.cancel)
        except DeliveryFailed as error:
            self.warnings.append(f"piece {self.count}: {error.message}")
            return None
        return delivered.fields()

    def _emit_piece(self, streamed: dict[str, Any], kept: dict[str, Any]) -> None:
        if self._room_bytes is not None and self._audio_room_bytes is not None:
            used_bytes = posted_bytes(kept) + len(", ")
            if used_bytes > self._room_bytes:  # so many pieces that the result can but count them
                kept = {"index": self.count, "continuous": True}
                used_bytes = posted_bytes(kept) + len(", ")
            self._room_bytes -= used_bytes
            self._audio_room_bytes -= used_bytes
        self.count += 1
        self._emit(Piece(dict(streamed), None if kept is streamed else dict(kept)), self._way.cancel)
