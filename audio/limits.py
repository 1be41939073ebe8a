"""Limits of a recording, and of what is exchanged with the process that decodes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_ENCODED_BYTES = 25 * 1024 * 1024  # 120 s of 24-bit stereo at 36 kHz; compressed, far more than 120 s
MAX_CHANNELS = 8
MIN_SAMPLE_RATE_HZ = 8_000
MAX_SAMPLE_RATE_HZ = 192_000

# The decoding process writes a report of at most so many bytes, and the samples behind it.
REPORT_BYTES = 65_536
MAX_SEGMENTS = 1_000


@dataclass(frozen=True)
class RecordingLimits:
    """How long a recording may be, and what decoding it may take."""

    max_duration_s: int
    cpu_s: int  # of the process that decodes it
    max_samples_bytes: int  # of decoded float32 samples, all channels together
    advice: str  # what to do about a recording that is too long


def _stereo_bytes(duration_s: int, sample_rate_hz: int) -> int:
    return (duration_s + 1) * sample_rate_hz * 2 * 4


REFERENCE = RecordingLimits(
    120, 2, _stereo_bytes(120, MAX_SAMPLE_RATE_HZ), "cut it, 10 to 30 s of clear speech is best"
)
# A recording that is worked on as a whole, such as one to be converted.
LONG = RecordingLimits(600, 8, _stereo_bytes(600, 48_000), "cut it, and send it in several jobs")
# By the byte that asks for a decoding process.
LIMITS_BY_REQUEST: Mapping[bytes, RecordingLimits] = {b".": REFERENCE, b"L": LONG}
