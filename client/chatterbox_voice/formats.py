"""Formats of audio and their media types, as the worker has them."""

from __future__ import annotations

FORMATS = ("wav", "mp3", "flac", "ogg", "opus", "pcm", "ulaw", "aac")
_MEDIA_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "aac": "audio/aac",
}


def media_type(format: str, sample_rate: int) -> str:
    """Returns the media type of a format. Formats without a header need the sample rate in Hz."""
    if format in ("pcm", "ulaw"):
        return f"audio/{'pcm' if format == 'pcm' else 'PCMU'}; rate={sample_rate}"
    return _MEDIA_TYPES.get(format, "application/octet-stream")


def format_of(name: str) -> str | None:
    """Returns the format that a file's name ends with, or None."""
    ending = name.rpartition(".")[2].lower()
    return ending if ending in FORMATS else None
