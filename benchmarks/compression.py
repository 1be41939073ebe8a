"""Ways to compress a voice, losslessly and so that plain ``gzip`` reads it: size, saving, loading.

    python -m benchmarks.compression

The two recordings of benchmarks.store, 30 s each. Medians of some runs, in memory.
"""

from __future__ import annotations

import zlib
from functools import partial

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks.machine import describe
from benchmarks.store import median_ms, recordings
from voice_store.voice_file import decode_voice, encode_voice, pickle_voice

GZIP_WINDOW = 31
STRATEGIES = {
    "": zlib.Z_DEFAULT_STRATEGY,
    "filtered": zlib.Z_FILTERED,
    "Huffman only": zlib.Z_HUFFMAN_ONLY,
    "runs": zlib.Z_RLE,
}
WAYS = (
    (0, ""),
    *((level, "") for level in (1, 2, 4, 6, 9)),
    (1, "filtered"),
    (6, "filtered"),
    (1, "Huffman only"),
    (1, "runs"),
)


def compress(payload: bytes, level: int, strategy: str) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, GZIP_WINDOW, 8, STRATEGIES[strategy])
    return compressor.compress(payload) + compressor.flush()


def main() -> None:
    print(describe())
    for kind, samples in recordings().items():
        waveform = Waveform(samples, MODEL_SAMPLE_RATE_HZ)
        payload = pickle_voice(waveform, "Amy", "2026-01-01T00:00:00")
        print(f"{kind:22} {'kB':>8} {'save, ms':>9} {'load, ms':>9}")
        for level, strategy in WAYS:
            pack = partial(compress, payload, level, strategy)
            data = pack()
            save_ms, load_ms = median_ms(pack, runs=5), median_ms(partial(decode_voice, data, "id"))
            print(f"level {level} {strategy:14} {len(data) / 1e3:8.0f} {save_ms:9.1f} {load_ms:9.1f}")
        chosen = encode_voice(waveform, "Amy", "2026-01-01T00:00:00")
        print(f"{'as voices are kept':22} {len(chosen) / 1e3:8.0f}")


if __name__ == "__main__":
    main()
