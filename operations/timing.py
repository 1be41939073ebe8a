"""When words are spoken: the times of words and the subtitles of a reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech.contract import Alignment, AudioChunk
from speech.subtitles import SubtitleFormat, TimedSegment, subtitles
from speech.text.replacements import SpokenText
from speech.text.spans import letters_before
from speech.text.words import Word, words_of
from speech.word_times import Span, WordTime, estimate_word_times, times_from_boundaries, word_times


@dataclass
class WordTimer:
    """Times the words of a reply, segment by segment."""

    names_speakers: bool  # in subtitles
    words: list[WordTime] = field(default_factory=list)
    is_aligned: bool = True  # whether all times so far come from T3's attention
    _segments: list[TimedSegment] = field(default_factory=list)
    _pieces: list[NDArray[np.float32]] = field(default_factory=list)  # of the segment on its way

    def add(
        self,
        chunk: AudioChunk,
        spoken: SpokenText,
        written: tuple[int, int],
        start_s: float,
        *,
        language: str,
        speed: float,
        speaker: str | None,
        turn: int | None,
    ) -> None:
        """Takes a chunk or a piece of one; times the words of the chunk once it is whole.

        spoken: the chunk's utterance. written: the chunk's place in ``spoken.written``. start_s: where the
        chunk, not the piece, starts in the reply. speed: at which it is heard.
        """
        speech = round(chunk.speech_s * chunk.waveform.sample_rate_hz)
        self._pieces.append(chunk.waveform.samples[: max(speech, 0)])
        if not chunk.ends_chunk:
            return
        samples = np.concatenate(self._pieces)
        self._pieces.clear()
        rate_hz = chunk.waveform.sample_rate_hz
        words = words_of(spoken, language, *written)
        spans: Sequence[Span] = ()
        if words and len(samples):
            if chunk.alignment is None:
                self.is_aligned = False
                spans = estimate_word_times(words, samples, rate_hz)
            else:
                spans = _aligned(words, chunk, chunk.alignment, spoken, speed, len(samples) / rate_hz)
        else:
            words = []
        timed = word_times(words, spans, len(self._segments), start_s)
        self.words += timed
        self._segments.append(
            TimedSegment(
                spoken.written[slice(*written)],
                start_s,
                start_s + len(samples) / rate_hz,
                timed,
                speaker if self.names_speakers else None,
                language,
                turn,
            )
        )

    @property
    def timing(self) -> str:
        """How the times were found, as replies say it."""
        return "aligned" if self.is_aligned and self.words else "estimated"

    def receipt(self) -> list[dict[str, Any]]:
        """Returns the words for a reply. Times in seconds."""
        return [
            {
                "text": word.text,
                "start": round(word.start_s, 3),
                "end": round(word.end_s, 3),
                "segment": word.segment,
            }
            for word in self.words
        ]

    def subtitles(self, format: SubtitleFormat) -> str:
        """Returns the subtitles so far."""
        return subtitles(self._segments, format)


def _aligned(
    words: Sequence[Word],
    chunk: AudioChunk,
    alignment: Alignment,
    spoken: SpokenText,
    speed: float,
    duration_s: float,
) -> list[Span]:
    """Returns the words' times by an alignment, which knows places in the chunk's text."""
    start, end = chunk.span
    places = _places(chunk.text, spoken.text[start:end])
    boundaries = [(start, 0.0)]
    for place, time_s in alignment.character_times():
        boundaries.append((start + places[place], min(time_s / speed, duration_s)))
    # The sound of the last letter ends with the chunk's.
    boundaries.append((max(end, boundaries[-1][0]), duration_s))
    return times_from_boundaries(words, boundaries)


def _places(chunk: str, text: str) -> list[int]:
    """Returns for each place in a chunk's text, its end included, the place in the text that it is from.

    Both hold the same letters and digits.
    """
    letters = letters_before(text)
    after = {count: place for place, count in reversed(list(enumerate(letters)))}  # right behind a letter
    return [after.get(count, len(text)) for count in letters_before(chunk)]
