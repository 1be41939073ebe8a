"""Evenness of speech between its chunks: one level, and pauses that are not emptier than the voice's own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from audio.leveling import Level, StreamLeveler, common_loudness_lufs
from audio.loudness import apply_gain
from audio.room_tone import FADE_S, Noise, make_noise, measure_noise
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from speech.contract import AudioChunk
from speech.trim import decay_of, ends_in_silence

Samples = NDArray[np.float32]

LARGEST_SPREAD_LU = 1.0  # of a reply's chunks, without a warning
_NO_SAMPLES: Samples = np.zeros(0, np.float32)


def even_level(chunks: Iterator[AudioChunk], *, streamed: bool) -> Generator[AudioChunk, None, None]:
    """Yields the chunks at one loudness, by ITU-R BS.1770, see ``audio.leveling``.

    streamed: each chunk as soon as it is there, brought to the loudness of those before it; else all of them,
    once the last one is there, to their median. Nothing is raised so far that its peak exceeds -1 dBFS, or by
    more than 12 dB. A chunk that remains more than 1 LU away from the others has a warning. Silent chunks and
    pauses stay as they are. Closes the chunks at its end.
    """
    with closed_at_end(chunks):
        yield from _even_stream(chunks) if streamed else _even_whole(chunks)


def _even_whole(chunks: Iterator[AudioChunk]) -> Iterator[AudioChunk]:
    waiting: list[list[AudioChunk]] = []
    levels: list[Level] = []
    for _, group in groupby(chunks, key=lambda chunk: chunk.index):
        waiting.append(list(group))
        levels.append(Level.of(_joined(waiting[-1])))  # while later chunks are on their way
    target_lufs = common_loudness_lufs(levels)
    for level in levels:
        pieces = waiting.pop(0)  # nothing keeps what was yielded
        gain_db = 0.0 if target_lufs is None else level.gain_to(target_lufs)
        excess_lu = None
        if level.loudness_lufs is not None and target_lufs is not None:
            excess_lu = level.loudness_lufs + gain_db - target_lufs
        for piece in pieces:
            samples = apply_gain(piece.waveform.samples, 1.0 if gain_db == 0 else 10 ** (gain_db / 20))
            leveled = _with_samples(piece, samples)
            yield _with_warning(leveled, excess_lu) if piece.ends_chunk else leveled


def _even_stream(chunks: Iterator[AudioChunk]) -> Iterator[AudioChunk]:
    leveler = None
    for chunk in chunks:
        leveler = leveler or StreamLeveler(chunk.waveform.sample_rate_hz)
        samples, excess_lu = leveler.add(chunk.waveform.samples, is_last=chunk.ends_chunk)
        yield _with_warning(_with_samples(chunk, samples), excess_lu)


def _with_warning(chunk: AudioChunk, excess_lu: float | None) -> AudioChunk:
    """excess_lu: by how much the chunk is louder than the others; None where nothing can be compared."""
    if excess_lu is None or abs(excess_lu) <= LARGEST_SPREAD_LU:
        return chunk
    what = "louder" if excess_lu > 0 else "quieter"
    warning = (
        f"segment {chunk.index + 1} of {chunk.count} stays {abs(excess_lu):.1f} dB {what} than the others; "
        "listen to it"
    )
    return replace(chunk, warnings=(*chunk.warnings, warning))


def room_tone(chunks: Iterator[AudioChunk], seed: int) -> Generator[AudioChunk, None, None]:
    """Yields the chunks with their pauses filled with the voice's own quietest noise.

    The noise of a pause is made from the spectrum of the quietest frames of the chunk before it, or where
    that has none, as a single vowel has not, of the last chunk of the same utterance. It rises and falls
    while the chunks beside it are faded, so that its level hardly changes there. Pauses keep their length to
    the sample; they are silent where the voice has digital silence between its words. What follows must
    take the audio as it is: change speed and level before. seed: the job's. Closes the chunks at its end.
    """
    noise: Noise | None = None
    utterance = -1
    pieces: list[AudioChunk] = []  # of the chunk of text so far
    rest = _NO_SAMPLES  # of the noise before this chunk, which fades out while the chunk begins
    with closed_at_end(chunks):
        for chunk in chunks:
            if chunk.utterance != utterance:
                noise, utterance = None, chunk.utterance
            pieces.append(chunk)
            samples, rest = _add_over(chunk.waveform.samples, rest)
            if chunk.ends_chunk:
                noise = measure_noise(_joined(pieces)) or noise
                pieces = []
                if chunk.pause_samples and (noise is not None or len(rest)):
                    samples, rest = _fill(samples, chunk.pause_samples, rest, noise, [seed, chunk.index])
                    filled_s = chunk.pause_samples / chunk.waveform.sample_rate_hz
                    chunk = replace(chunk, pause_after_s=0.0, filled_pause_s=filled_s)
            yield _with_samples(chunk, samples)


def _fill(
    samples: Samples, pause: int, rest: Samples, noise: Noise | None, seed: list[int]
) -> tuple[Samples, Samples]:
    """Returns samples with a pause of noise behind them, and the noise for the start of what follows.

    rest: noise that still fades out. noise: None for silence.
    """
    silence = np.zeros(pause, np.float32)
    decay = decay_of(samples, MODEL_SAMPLE_RATE_HZ)[:pause]
    silence[: len(decay)] = decay
    silence, rest = _add_over(silence, rest)
    speech, is_faded = len(samples), ends_in_silence(samples)
    samples = np.concatenate([samples, silence])
    if noise is None:
        return samples, rest
    fade = round(FADE_S * noise.sample_rate_hz)
    start = max(speech - fade, 0) if is_faded else speech  # while the speech fades
    tone = make_noise(noise, len(samples) - start + fade, seed)
    # The speech and its noise fall by (1 + cos) / 2; powers of independent noises add up.
    falling = 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, fade))
    rise = np.sqrt(1 - np.square(falling)).astype(np.float32)
    tone[:fade] *= rise
    tone[-fade:] *= rise[::-1]
    samples[start:] += tone[:-fade]
    return samples, _add_over(tone[-fade:], rest)[0]


def _add_over(samples: Samples, rest: Samples) -> tuple[Samples, Samples]:
    """Returns samples with the rest of some noise added from their start on, and what then is left of it."""
    if len(rest) == 0:
        return samples, rest
    length = min(len(samples), len(rest))
    return np.concatenate([samples[:length] + rest[:length], samples[length:]]), rest[length:]


def _joined(pieces: list[AudioChunk]) -> Waveform:
    """Returns a chunk's pieces in a row."""
    if len(pieces) == 1:
        return pieces[0].waveform
    samples = np.concatenate([piece.waveform.samples for piece in pieces])
    return Waveform(samples, pieces[0].waveform.sample_rate_hz)


def _with_samples(chunk: AudioChunk, samples: Samples) -> AudioChunk:
    return replace(chunk, waveform=Waveform(samples, chunk.waveform.sample_rate_hz))


@contextmanager
def closed_at_end(chunks: Iterator[AudioChunk]) -> Iterator[None]:
    """Closes the chunks at its end: whoever stops listening ends the work on the device."""
    try:
        yield
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
