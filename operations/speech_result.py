"""Speech as an operation returns it: audio chunks on their way, and the receipt for them."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from audio.loudness import apply_gain, gain_for
from audio.speed import SpeedChanger
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from cancel import CancelToken
from errors import Internal
from operations.evenness import closed_at_end
from operations.timing import WordTimer
from speech.contract import AudioChunk, Synthesizer
from speech.subtitles import SubtitleFormat
from speech.text.replacements import SpokenText


class ReplacedText(TypedDict):
    """A part of a written text, and what is spoken in its place; empty: nothing is."""

    text: str
    spoken: str


class TakeReceipt(TypedDict):
    """One reading of a chunk by T3."""

    seed: int
    faults: list[str]  # keys of ``speech.contract.FAULTS``, the worst first
    used: bool  # whether it is the one that is heard


class SegmentReceipt(TypedDict):
    """A chunk of text as it was spoken, and where it lies in the audio, in seconds.

    A converted recording has start and end alone.
    """

    text: NotRequired[str]  # as it was written, without markup
    spoken: NotRequired[str]  # as the model was given it
    replaced: NotRequired[list[ReplacedText]]  # where the two differ; absent where they do not
    voice: NotRequired[str | None]  # the stored voice's name; null for others
    language: NotRequired[str]
    turn: NotRequired[int]  # index of the turn; absent where the job has none
    takes: NotRequired[list[TakeReceipt]]  # absent where the first one had no fault
    start: float
    end: float


@dataclass(frozen=True)
class SpokenLine:
    """What the receipt says of an utterance."""

    spoken: SpokenText
    voice: str | None
    language: str
    turn: int | None
    speed: float = 1.0

    def written_span(self, span: tuple[int, int]) -> tuple[int, int]:
        """Returns a chunk's place in the written text. span: that in the spoken one."""
        # What is replaced as a whole belongs to the chunk in which it begins.
        start = max(self.spoken.written_start(span[0]), self.spoken.written_end(span[0]))
        return start, max(start, self.spoken.written_end(span[1]))

    def segment(self, text: str, span: tuple[int, int], start_s: float) -> SegmentReceipt:
        """Returns the segment of a chunk that begins at a time. text, span: the chunk's."""
        start, end = self.written_span(span)
        written = self.spoken.written
        segment: SegmentReceipt = {
            "text": written[start:end].strip(),
            "spoken": text,
            "voice": self.voice,
            "language": self.language,
            "start": start_s,
            "end": start_s,
        }
        replaced: list[ReplacedText] = [
            {"text": written[each.start : each.end], "spoken": each.spoken}
            for each in self.spoken.within(start, end)
            if written[each.start : each.end] != each.spoken
        ]
        if replaced:
            segment["replaced"] = replaced
        if self.turn is not None:
            segment["turn"] = self.turn
        return segment


class SpeechResult:
    """Watermarked speech. ``chunks`` can be iterated once; ``receipt`` is complete after that."""

    def __init__(
        self,
        chunks: Iterator[AudioChunk],
        synthesizer: Synthesizer,
        cancel: CancelToken,
        *,
        format: str,
        sample_rate_hz: int,
        normalization: str | None,
        lines: Sequence[SpokenLine] = (),
        pause_before_s: float = 0.0,
        times_words: bool = False,
        subtitles: SubtitleFormat | None = None,
        facts: Mapping[str, Any],
        warnings: Iterable[str],
        stage_times_s: Mapping[str, float],
        started_s: float,
    ) -> None:
        """chunks: as the synthesizer yields them. normalization: see ``audio.loudness.gain_for``.

        lines: of each utterance; none for a converted recording. pause_before_s: silence before all of it.
        times_words, subtitles: whether the receipt has the times of words, and which subtitles.
        facts, warnings, stage_times_s: what the receipt says besides what the chunks tell. started_s: when
        the job began, by ``time.perf_counter``.
        """
        self.format = format
        self.sample_rate_hz = sample_rate_hz  # to encode at; the chunks are at 24 kHz
        self.warnings = list(dict.fromkeys(warnings))
        self.facts = facts  # known before the audio is
        # What is odd about the weights, if anything is: the last warning of the receipt.
        notice = synthesizer.info.notice
        self.notices = () if notice is None else (notice,)
        self._started_s = started_s
        self._stage_times_s = dict(stage_times_s)
        self._lines, self._pause_before_s = lines, pause_before_s
        self._segments: list[SegmentReceipt] = []
        self._times_words, self._subtitles = times_words, subtitles
        self._timer = None
        if times_words or subtitles is not None:
            has_several_speakers = len({(line.voice, line.turn) for line in lines}) > 1
            self._timer = WordTimer(names_speakers=has_several_speakers)
        self._duration_s = 0.0
        self._speech_s = 0.0  # without pauses
        leveled = chunks if normalization is None else level(chunks, normalization, cancel)
        self.chunks = self._finished(leveled, chunks, synthesizer, cancel)

    def _finished(
        self,
        chunks: Iterator[AudioChunk],
        source: Iterator[AudioChunk],
        synthesizer: Synthesizer,
        cancel: CancelToken,
    ) -> Generator[AudioChunk, None, None]:
        """Watermarks the chunks and notes what the receipt says of it; nothing of the audio is kept.

        Raises Cancelled: what consumes the chunks, such as encoding, ends here once nobody waits.
        """
        start_s = 0.0  # of the chunk
        try:
            for chunk in synthesizer.watermark(until_cancelled(chunks, cancel)):
                self._speech_s += chunk.speech_s
                silence_s = 0.0 if self._segments else self._pause_before_s
                if chunk.index == len(self._segments):
                    start_s = self._duration_s + silence_s
                    self._segments.append(self._segment(chunk, start_s))
                if self._timer is not None:
                    self._time_words(self._timer, chunk, start_s)
                if silence_s:
                    chunk = _after_silence(chunk, silence_s)
                segment = self._segments[-1]
                segment["end"] = milliseconds(self._duration_s + chunk.speech_s)
                if len(chunk.takes) > 1 or any(take.faults for take in chunk.takes):
                    segment["takes"] = [
                        {"seed": take.seed, "faults": list(take.faults), "used": take.used}
                        for take in chunk.takes
                    ]
                self._duration_s += chunk.duration_s
                self.warnings.extend(warning for warning in chunk.warnings if warning not in self.warnings)
                add_times(self._stage_times_s, chunk.stage_times_s)
                yield replace(chunk, text=segment.get("text", ""))
            if self._speech_s == 0:
                raise Internal("the model gave no audio", hint="send the job again")
        finally:
            if isinstance(source, Generator):
                source.close()  # whoever stops listening ends the work on the device

    def _timing(self) -> dict[str, Any]:
        """What the receipt says of the times of words, where they were asked for."""
        if self._timer is None:
            return {}
        timing: dict[str, Any] = {"timing": self._timer.timing}
        if self._times_words:
            timing["words"] = self._timer.receipt()
        if self._subtitles is not None:
            timing["subtitles"] = self._timer.subtitles(self._subtitles)
        return timing

    def _segment(self, chunk: AudioChunk, start_s: float) -> SegmentReceipt:
        start_s = milliseconds(start_s)
        if not self._lines:
            return {"start": start_s, "end": start_s}
        return self._lines[chunk.utterance].segment(chunk.text, chunk.span, start_s)

    def _time_words(self, timer: WordTimer, chunk: AudioChunk, start_s: float) -> None:
        line = self._lines[chunk.utterance]
        timer.add(
            chunk,
            line.spoken,
            line.written_span(chunk.span),
            start_s,
            language=line.language,
            speed=line.speed,
            speaker=line.voice,
            turn=line.turn,
        )

    def receipt(self, encode_s: float = 0.0) -> dict[str, Any]:
        """Returns the facts about the speech, JSON-safe. encode_s: seconds that encoding took."""
        total_s = time.perf_counter() - self._started_s
        stages_s = {**self._stage_times_s, "encode": encode_s}
        return {
            "format": self.format,
            "sample_rate": self.sample_rate_hz,
            "duration": milliseconds(self._duration_s),
            **self.facts,
            "segments": list(self._segments),
            **self._timing(),
            "metrics": {
                "audio_duration": milliseconds(self._duration_s),
                "total_generation_time": milliseconds(total_s),
                "rtf": round(total_s / self._duration_s, 4),
                "stages": {stage: milliseconds(time_s) for stage, time_s in stages_s.items()},
            },
            "warnings": [*self.warnings, *self.notices],
        }


def _after_silence(chunk: AudioChunk, silence_s: float) -> AudioChunk:
    rate_hz = chunk.waveform.sample_rate_hz
    silence = np.zeros(round(silence_s * rate_hz), np.float32)
    return replace(chunk, waveform=Waveform(np.concatenate([silence, chunk.waveform.samples]), rate_hz))


def at_speed(chunks: Iterator[AudioChunk], speeds: Sequence[float]) -> Generator[AudioChunk, None, None]:
    """Yields the chunks of each utterance at its speed, see ``audio.speed``; a speed of 1 changes nothing.

    speeds: by the index of the utterance. The pauses after chunks change as their speech does, but those
    that are exact. Of a chunk in pieces, the end of each piece is yielded with the next one. Closes the
    chunks at its end.
    """
    with closed_at_end(chunks):
        changer: SpeedChanger | None = None
        for chunk in chunks:
            speed, rate_hz = speeds[chunk.utterance], chunk.waveform.sample_rate_hz
            if speed == 1:
                yield chunk
                continue
            changer = changer or SpeedChanger(speed, rate_hz)
            samples = changer.add(chunk.waveform.samples)
            if chunk.ends_chunk:
                samples, changer = np.concatenate([samples, changer.finish()]), None
            pause_s = chunk.pause_after_s if chunk.pause_is_exact else chunk.pause_after_s / speed
            yield replace(chunk, waveform=Waveform(samples, rate_hz), pause_after_s=pause_s)


def level(chunks: Iterator[AudioChunk], normalization: str, cancel: CancelToken) -> Iterator[AudioChunk]:
    """Yields the chunks with one gain throughout, see ``audio.loudness.gain_for``.

    The gain depends on the whole audio: the first chunk comes when the last one is there. Raises Cancelled.
    """

    def samples_until_cancelled() -> Iterator[NDArray[np.float32]]:
        for chunk in waiting:
            cancel.raise_if_cancelled()
            yield chunk.with_pause().samples

    waiting = list(chunks)
    gain = gain_for(samples_until_cancelled(), normalization)
    while waiting:
        chunk = waiting.pop(0)  # nothing keeps what was yielded
        samples = apply_gain(chunk.waveform.samples, gain)
        yield replace(chunk, waveform=Waveform(samples, chunk.waveform.sample_rate_hz))


def until_cancelled(chunks: Iterator[AudioChunk], cancel: CancelToken) -> Iterator[AudioChunk]:
    """Yields the chunks. Raises Cancelled instead of the next one."""
    for chunk in chunks:
        cancel.raise_if_cancelled()
        yield chunk


def join(chunks: Iterable[AudioChunk]) -> Waveform:
    """The chunks in a row, with their pauses."""
    samples = np.concatenate([chunk.with_pause().samples for chunk in chunks])
    return Waveform(samples, MODEL_SAMPLE_RATE_HZ)


def add_times(total_s: dict[str, float], times_s: Mapping[str, float]) -> None:
    """Adds seconds by stage to a total."""
    for stage, time_s in times_s.items():
        total_s[stage] = total_s.get(stage, 0.0) + time_s


def milliseconds(time_s: float) -> float:
    """Seconds, rounded to whole milliseconds."""
    return round(time_s, 3)
