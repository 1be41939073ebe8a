"""Speech that is sent while it is made, in pieces that the platform carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from audio.encode import encode
from audio.waveform import Waveform
from operations.base import Job, Services, posted_bytes
from speech.contract import Listener, Piece

PIECE_LIMIT_BYTES = 1_000_000  # the platform's, for one piece
# Base64 makes four of three bytes; a sample takes two at most in every format; the rest is for the other
# fields.
_LONGEST_PIECE_SAMPLES = PIECE_LIMIT_BYTES // 3
_SUMMARY_BYTES = 100_000  # what is kept free for the last piece, which tells of the whole job


class PieceSender(Listener):
    """Sends what it hears. count: of the pieces so far. warnings: what to tell of them at the end.

    The platform gives all pieces together as the job's result, too, within the limit for one: what would go
    beyond that is put where the job's audio goes that is too large for a reply.
    """

    def __init__(
        self, audio_format: str, sample_rate_hz: int, advice: str, services: Services, job: Job
    ) -> None:
        assert job.emit is not None
        self.count = 0
        self.warnings: list[str] = []
        self._format, self._sample_rate_hz, self._advice = audio_format, sample_rate_hz, advice
        self._services, self._job, self._emit = services, job, job.emit
        limit_bytes = job.stream_limit_bytes
        self._room_bytes = None if limit_bytes is None else limit_bytes - _SUMMARY_BYTES
        self._position_s = 0.0

    def is_gone(self) -> bool:
        return self._job.listener.is_gone()

    def hear(self, piece: Piece) -> None:
        self._job.listener.hear(piece)
        samples, rate_hz = piece.waveform.samples, piece.waveform.sample_rate_hz
        longest = _LONGEST_PIECE_SAMPLES * rate_hz // self._sample_rate_hz
        for start in range(0, len(samples), longest):
            text = piece.text if start == 0 else ""
            self._send(Waveform(samples[start : start + longest], rate_hz), text)

    def _send(self, waveform: Waveform, text: str) -> None:
        sent: dict[str, Any] = {
            "index": self.count,
            "format": self._format,
            "sample_rate": self._sample_rate_hz,
            "start": round(self._position_s, 3),
            "duration": round(waveform.duration_s, 3),
            "text": text,
        }
        job = replace(self._job, reply_limit_bytes=self._room_bytes, part=f".{self.count:04d}")
        delivered = self._services.delivery.deliver(
            encode(waveform, self._format, self._sample_rate_hz),
            extension=self._format,
            mode="auto",
            reply=sent,
            advice=self._advice,
            job=job,
        )
        sent |= delivered.fields()
        if delivered.warnings and not self.warnings:
            self.warnings.append(f"from piece {self.count} on: {delivered.warnings[-1]}")
        if self._room_bytes is not None:
            self._room_bytes = max(0, self._room_bytes - posted_bytes(sent) - len(", "))
        self.count += 1
        self._position_s += waveform.duration_s
        self._emit(sent)
