"""Limits of a recording, and of what is exchanged with the process that decodes it."""

from __future__ import annotations

MAX_ENCODED_BYTES = 25 * 1024 * 1024  # 120 s of 24-bit stereo at 36 kHz; compressed, far more than 120 s
MAX_DURATION_S = 120
MAX_CHANNELS = 8
MIN_SAMPLE_RATE_HZ = 8_000
MAX_SAMPLE_RATE_HZ = 192_000

# The decoding process writes a report of at most so many bytes, and the samples behind it.
REPORT_BYTES = 65_536
MAX_SAMPLES_BYTES = (MAX_DURATION_S + 1) * MAX_SAMPLE_RATE_HZ * 2 * 4  # float32, stereo at the highest rate
MAX_SEGMENTS = 1_000
