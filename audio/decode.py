"""Decodes audio that strangers send: from memory, within limits, to mono at 24 kHz.

FFmpeg decodes all of it, in a sandboxed process of its own (``audio.ffmpeg``). The format is
recognised from the bytes alone, never from a name or a media type.
"""

from __future__ import annotations

import binascii
import re
from itertools import groupby
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from audio.ffmpeg import FORMATS_HINT, Segment, decode_with_ffmpeg
from audio.limits import MAX_ENCODED_BYTES as MAX_ENCODED_BYTES  # those who fetch and read recordings use it
from audio.limits import REFERENCE, RecordingLimits
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from cancel import CancelToken
from errors import ReferenceInvalid

# Endings of the names of files that can be decoded, for looking through folders.
RECORDING_SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".bwf", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
        *(".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".mpga", ".aac", ".amr", ".awb"),
        *(".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".3gp", ".3gpp", ".3g2"),
        *(".webm", ".weba", ".mka", ".mkv", ".wma", ".asf", ".wmv"),
    )
)

# Base64 takes 4 characters for 3 bytes; line breaks every 64 or 76 and a data: prefix come on top.
_MAX_BASE64_CHARS = MAX_ENCODED_BYTES * 4 // 3 * 33 // 32 + 1024
_MAX_DATA_PREFIX_CHARS = 256
_DATA_PREFIX_END = re.compile(r";\s*base64\s*,", re.IGNORECASE)  # a comma may stand within a media type, too
_ASCII_WHITESPACE = b" \t\r\n\v\f"
_WHITESPACE_BUT_SPACES = b"\t\r\n\v\f"
_TOKEN = re.compile(rb"[^ \t\r\n\v\f]+")
_BASE64_WITH_SPACES = re.compile(r"[A-Za-z0-9+/=\s]*\Z")

_MIN_OFFSET = 0.005  # of full scale; converters and truncation to 8 bit have less, and nobody hears it
# The power of the channels' average over what it would be if they had nothing in common. Equal channels
# measure their number, two microphones at one speaker 1 to 2, a channel beside its negative 0.
_CANCELLED_BELOW = 0.25
_BLOCK_FRAMES = 2**16


def decode_base64(text: str, field: str) -> bytes:
    """Decodes standard base64 of at most 25 MiB, with or without a ``data:...;base64,`` prefix.

    White space that folds the text into lines of one length is skipped, and so are line breaks anywhere. A
    space elsewhere stands for ``+``, which decoders of URLs and forms turn into a space. The length is
    looked at before anything is decoded. Raises ReferenceInvalid, which names ``field``.
    """
    if len(text) > _MAX_BASE64_CHARS:
        raise _too_large(field)
    start = text[:_MAX_DATA_PREFIX_CHARS].lstrip()
    if start[:5].lower() == "data:":
        prefix_end = _DATA_PREFIX_END.search(text, 0, _MAX_DATA_PREFIX_CHARS)
        if prefix_end is None:
            raise ReferenceInvalid(
                "is a data: URL that is not base64", field=field, hint="send data:audio/...;base64,..."
            )
        text = text[prefix_end.end() :]
    try:
        data = binascii.a2b_base64(_without_whitespace(text.encode("ascii")), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        if " " in text.strip() and _BASE64_WITH_SPACES.match(text):
            raise ReferenceInvalid(
                "is base64 in which characters became spaces",
                field=field,
                hint="send it unchanged in JSON, or in a URL or form with + written as %2B",
            ) from error
        raise ReferenceInvalid(
            "is not base64",
            field=field,
            hint="encode the bytes of an audio file with the standard alphabet and padding",
        ) from error
    if not data:
        raise ReferenceInvalid("is empty", field=field, hint=f"{FORMATS_HINT}, encoded as base64")
    if len(data) > MAX_ENCODED_BYTES:
        raise _too_large(field)
    return data


def decode_audio(
    data: bytes,
    field: str = "reference_audio",
    cancel: CancelToken | None = None,
    limits: RecordingLimits = REFERENCE,
) -> Waveform:
    """Decodes a recording to mono at 24 kHz, whole: what changes its format midway, too.

    Accepts the containers and codecs listed in ``audio.ffmpeg_child``; at most 25 MiB, 8 channels, rates
    of 8 to 192 kHz, and the length that ``limits`` allows. Channels are averaged; where that cancels them, as
    when one side of a stereo recording is inverted, the strongest channel is used. A constant offset is
    removed. Audio beyond full scale (floats and MP3 can be) is scaled down to fit, not clipped. Memory stays
    under about 400 MB, or 500 MB with ``LONG``, whatever the recording claims or unpacks to. Raises
    ReferenceInvalid, which names ``field`` and says what to send; Cancelled.
    """
    if len(data) > MAX_ENCODED_BYTES:
        raise _too_large(field)
    segments = decode_with_ffmpeg(data, field, cancel or CancelToken(), limits)
    duration_s = sum(len(segment.frames) / segment.sample_rate_hz for segment in segments)
    if duration_s == 0:
        raise ReferenceInvalid("holds no audio", field=field, hint=f"{FORMATS_HINT} with speech in it")
    if duration_s > limits.max_duration_s:
        raise ReferenceInvalid(f"is longer than {limits.max_duration_s} s", field=field, hint=limits.advice)
    runs = _mix_down(segments)
    del segments  # the largest arrays of all
    if not all(np.isfinite(run.samples).all() for run in runs):
        raise ReferenceInvalid(
            "holds samples that are not finite numbers", field=field, hint="export the audio again"
        )
    runs = _fit_full_scale(_remove_offset(runs))
    resampled = [resample(run, MODEL_SAMPLE_RATE_HZ).samples for run in runs]
    samples = resampled[0] if len(resampled) == 1 else np.concatenate(resampled)
    return Waveform(samples, MODEL_SAMPLE_RATE_HZ)


def _without_whitespace(encoded: bytes) -> bytes:
    """The base64 meant by text that may be folded, or have spaces in the place of ``+``.

    Raises binascii.Error where neither reading has a possible length.
    """
    dense = encoded.translate(None, _ASCII_WHITESPACE)
    if b" " not in encoded or (_is_folded(encoded) and len(dense) % 4 == 0):
        return dense
    meant = encoded.translate(None, _WHITESPACE_BUT_SPACES).replace(b" ", b"+")
    if len(meant) % 4:  # which the decoder would overlook where padding follows whole groups
        raise binascii.Error("length")
    return meant


def _is_folded(encoded: bytes) -> bool:
    """Whether white space only separates lines of one length, a multiple of 4; the last may be shorter.

    A ``+`` that became a space leaves pieces of other lengths.
    """
    width, previous = 0, 0
    for token in _TOKEN.finditer(encoded):
        length = token.end() - token.start()
        width = width or length
        if previous and (previous != width or width % 4 or length > width):
            return False
        previous = length
    return True


def _mix_down(segments: list[Segment]) -> list[Waveform]:
    """Mono audio of the same rates; neighbours of one rate are joined.

    Two channels near the end of float32's range overflow to infinity.
    """
    runs = []
    for sample_rate_hz, group in groupby(segments, attrgetter("sample_rate_hz")):
        mixed = [_mix_channels(segment.frames) for segment in group]
        runs.append(Waveform(mixed[0] if len(mixed) == 1 else np.concatenate(mixed), sample_rate_hz))
    return runs


def _mix_channels(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The average of the channels, or the strongest one where they cancel each other.

    frames: float32 [n, channels]. Returns float32 [n].
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if frames.shape[1] > 1:
            covariance = _covariance(frames)
            powers = covariance.diagonal()
            # Both sums are the power of the average, times the square of the number of channels.
            if covariance.sum() < _CANCELLED_BELOW * powers.sum():
                return np.ascontiguousarray(frames[:, powers.argmax()])
        mixed: NDArray[np.float32] = frames.mean(axis=1, dtype=np.float32)
    return mixed


def _covariance(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """float32 [n, channels] to float64 [channels, channels], in blocks to bound the memory."""
    channels = frames.shape[1]
    products = np.zeros((channels, channels))
    total = np.zeros(channels)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = frames[start : start + _BLOCK_FRAMES].astype(np.float64)
        products += block.T @ block
        total += block.sum(axis=0)
    count = max(len(frames), 1)
    covariance: NDArray[np.float64] = products / count - np.outer(total, total) / count**2
    return covariance


def _remove_offset(runs: list[Waveform]) -> list[Waveform]:
    """The same audio around zero. A recording without an offset to speak of stays as it is, bit for bit."""
    duration_s = sum(run.duration_s for run in runs)
    offset = sum(
        float(run.samples.mean(dtype=np.float64)) * run.duration_s for run in runs if len(run.samples)
    )
    offset /= duration_s
    if abs(offset) < _MIN_OFFSET:
        return runs
    return [Waveform(run.samples - np.float32(offset), run.sample_rate_hz) for run in runs]


def _fit_full_scale(runs: list[Waveform]) -> list[Waveform]:
    peak = max(max(float(run.samples.max()), -float(run.samples.min())) for run in runs if len(run.samples))
    if peak <= 1.0:
        return runs
    return [Waveform(run.samples / np.float32(peak), run.sample_rate_hz) for run in runs]


def _too_large(field: str) -> ReferenceInvalid:
    return ReferenceInvalid(
        f"is larger than {MAX_ENCODED_BYTES // 2**20} MiB",
        field=field,
        hint="send a shorter or compressed recording",
    )
