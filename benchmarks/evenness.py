"""How even speech is between its chunks, before and after ``even_level``: one row for each way of speaking.

    python -m benchmarks.evenness [--checkpoint DIR] [--voice FILE] [--sentences 10] [--device cpu]
                                  [--json FILE]

Sentences are spoken in the built-in voice, in a voice cloned from a recording, and in both in turn; as whole
chunks and in the pieces of a stream, on which the level of a chunk is not known when it begins. "spread" is
the difference between the loudest and the softest chunk by ITU-R BS.1770-4, "median" their median, "peak" the
highest of all. "change" is the largest change of gain within a chunk. "noise" is the median level of the
noise that ``room_tone`` puts into pauses; pauses of digital silence do not count. "work" is milliseconds of
both for a second of speech. Random weights say nothing about speech.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.decode import decode_audio
from audio.loudness import measure_loudness_lufs, measure_peak_dbfs
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks.machine import describe, keep, results_file
from benchmarks.sentences import sentences
from cancel import CancelToken
from operations.evenness import even_level, room_tone
from operations.speech_result import join
from speech.contract import AudioChunk, Hop, Utterance
from speech.pipeline import load_synthesizer

SMALL_MODEL = Path("samples/small")
REFERENCE = Path("samples/reference.flac")
PAUSE_S = 0.4
HOPS: tuple[Hop, ...] = ("whole", "stream")
AUDIBLE = 1e-3  # of full scale: softer samples say little about a gain


def texts_of(chunks: Sequence[AudioChunk]) -> list[Waveform]:
    """Returns the speech of each chunk of text, its pieces joined, without what fills its pause."""
    waveforms = []
    for _, pieces in groupby(chunks, key=lambda chunk: chunk.index):
        samples = np.concatenate([piece.waveform.samples for piece in pieces])
        waveforms.append(Waveform(samples, MODEL_SAMPLE_RATE_HZ))
    return waveforms


def largest_change_db(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Returns how far the gain of a chunk changes from its beginning to its end."""
    is_audible = np.abs(before) > AUDIBLE
    return float(np.ptp(20 * np.log10(after[is_audible] / before[is_audible]))) if is_audible.any() else 0.0


def noise_dbfs(chunks: Sequence[AudioChunk]) -> float | None:
    """Returns the median level of the noise in pauses; None where there is none."""
    levels = []
    for chunk in chunks:
        if count := round(chunk.filled_pause_s * MODEL_SAMPLE_RATE_HZ):
            power = float(np.square(chunk.waveform.samples[-count:], dtype=np.float64).mean())
            levels.append(10 * np.log10(power))
    return statistics.median(levels) if levels else None


def measure(name: str, hop: Hop, spoken: Sequence[AudioChunk]) -> dict[str, Any]:
    """Returns the figures of one row."""
    started = time.perf_counter()
    even = list(even_level(iter(spoken), streamed=hop == "stream"))
    filled = list(room_tone(iter(even), 0))
    work_s = time.perf_counter() - started
    figures: dict[str, Any] = {"name": name, "hop": hop, "chunks": spoken[-1].count}
    for when, chunks in (("before", spoken), ("after", even)):
        loudness = [measure_loudness_lufs(each) for each in texts_of(chunks)]
        audible = [each for each in loudness if each is not None]
        figures[f"spread_{when}_lu"] = max(audible) - min(audible)
        figures[f"median_{when}_lufs"] = statistics.median(audible)
        figures[f"peak_{when}_dbfs"] = measure_peak_dbfs(join(chunks))
    pairs = zip(texts_of(spoken), texts_of(even), strict=True)
    figures["change_db"] = max(largest_change_db(one.samples, other.samples) for one, other in pairs)
    figures["noise_dbfs"] = noise_dbfs(filled)
    figures["work_ms_a_second"] = 1e3 * work_s / sum(chunk.duration_s for chunk in spoken)
    figures["warnings"] = [warning for chunk in even for warning in chunk.warnings]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evenness")
    parser.add_argument("--checkpoint", type=Path, default=SMALL_MODEL)
    parser.add_argument("--voice", type=Path, default=REFERENCE)
    parser.add_argument("--sentences", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    synthesizer = load_synthesizer("chatterbox", checkpoint_dir=options.checkpoint, device=options.device)
    recording = decode_audio(options.voice.read_bytes(), options.voice.name)
    builtin, cloned = synthesizer.builtin_voice(), synthesizer.encode_reference(recording, CancelToken())
    ways = {"built-in": [builtin], "cloned": [cloned], "in turn": [builtin, cloned]}
    rows = []
    for name, voices in ways.items():
        utterances = [
            Utterance(text, voices[number % len(voices)], seed=number, pause_after_s=PAUSE_S)
            for number, text in enumerate(sentences(options.sentences))
        ]
        for hop in HOPS:
            spoken = list(synthesizer.synthesize(utterances, CancelToken(), hop=hop))
            rows.append(measure(name, hop, spoken))
    synthesizer.close()
    keep(options.json, options.device, sentences=options.sentences, rows=rows)
    print(f"{describe(options.device)}; {options.sentences} sentences")
    print("                 spread, LU     median, LUFS     peak, dBFS      change  noise  work")
    print("voice    hop     before after   before  after   before  after        dB   dBFS  ms/s")
    for row in rows:
        noise = "-" if row["noise_dbfs"] is None else f"{row['noise_dbfs']:.1f}"
        print(
            f"{row['name']:8} {row['hop']:7}{row['spread_before_lu']:7.2f}{row['spread_after_lu']:6.2f}"
            f"{row['median_before_lufs']:9.1f}{row['median_after_lufs']:7.1f}"
            f"{row['peak_before_dbfs']:9.1f}{row['peak_after_dbfs']:7.1f}"
            f"{row['change_db']:10.2f}{noise:>7}{row['work_ms_a_second']:6.1f}"
        )
        for warning in row["warnings"]:
            print(f"         {warning}")


if __name__ == "__main__":
    main()
