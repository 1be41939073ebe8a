"""How far estimated times of words are from those that were set by hand.

    python -m benchmarks.word_times [--recording FILE --words FILE] [--json FILE]

Without options: samples/reference.flac, whose words were set by hand in its spectrogram. --words: of another
recording, a line for each word: its start and end in milliseconds, and the word with its marks, with tabs
between. "sound" is what replies have, where there is no alignment; "text" is the text's letters alone, spread
over the recording. An error is the distance of a word's start or end from that set by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.decode import decode_audio
from audio.waveform import Waveform
from benchmarks.machine import describe, keep, results_file
from speech.text.replacements import SpokenText
from speech.text.words import words_of
from speech.word_times import Span, estimate_word_times, times_by_weight

RECORDING = Path("samples/reference.flac")
WORDS = Path(__file__).parent / "reference_words.tsv"
WAYS = ("sound", "text")


def hand_alignment(file: Path = WORDS) -> tuple[str, list[Span]]:
    """Returns a text, and start and end of each word in seconds."""
    rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()]
    return " ".join(word for _, _, word in rows), [(int(a) / 1000, int(b) / 1000) for a, b, _ in rows]


def errors_s(text: str, spans: list[Span], recording: Waveform, way: str = "sound") -> NDArray[np.float64]:
    """Returns the errors of starts and ends, [words, 2], in seconds. way: one of ``WAYS``."""
    words = words_of(SpokenText(text))
    if way == "sound":
        estimated = estimate_word_times(words, recording.samples, recording.sample_rate_hz)
    else:
        estimated = times_by_weight(words, 0.0, recording.duration_s)
    errors: NDArray[np.float64] = np.abs(np.array(estimated) - np.array(spans))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.word_times")
    parser.add_argument("--recording", type=Path, default=RECORDING)
    parser.add_argument("--words", type=Path, default=WORDS)
    parser.add_argument("--json", type=results_file)
    parser.add_argument("--device", help="is ignored: no model is measured")
    options = parser.parse_args()
    recording = decode_audio(options.recording.read_bytes())
    text, spans = hand_alignment(options.words)
    print(f"{describe()}; {options.recording.name}: {len(spans)} words, {recording.duration_s:.1f} s")
    print("by     median, ms  90th percentile, ms  starts alone")
    figures = {}
    for way in WAYS:
        errors = 1000 * errors_s(text, spans, recording, way)
        starts = errors[:, 0]
        figures[way] = {
            "median_ms": float(np.median(errors)),
            "p90_ms": float(np.percentile(errors, 90)),
            "starts_median_ms": float(np.median(starts)),
            "starts_p90_ms": float(np.percentile(starts, 90)),
        }
        own = figures[way]
        print(
            f"{way:6} {own['median_ms']:10.0f} {own['p90_ms']:20.0f}"
            f"  {own['starts_median_ms']:.0f}, {own['starts_p90_ms']:.0f}"
        )
    keep(options.json, "cpu", recording=options.recording.name, words=len(spans), errors=figures)


if __name__ == "__main__":
    main()
