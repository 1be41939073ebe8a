"""Samples to the bytes of an audio file. The bytes are always what the format's name says."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio import ogg
from audio.waveform import Waveform, resample

SAMPLE_RATES_HZ = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)

# libsndfile's Vorbis encoder crashes the process on ten minutes of audio given at once.
_WRITE_BLOCK_FRAMES = 65_536
_OPUS_RATES_HZ = (8_000, 16_000, 24_000, 48_000)
_MP3_BITRATE_KBPS = 128


@dataclass(frozen=True)
class _Format:
    """container, subtype: soundfile's names."""

    container: str
    subtype: str


_FORMATS = {
    "wav": _Format("WAV", "PCM_16"),
    "mp3": _Format("MP3", "MPEG_LAYER_III"),
    "flac": _Format("FLAC", "PCM_16"),
    "ogg": _Format("OGG", "VORBIS"),
    "opus": _Format("OGG", "OPUS"),
    "pcm": _Format("RAW", "PCM_16"),
    "ulaw": _Format("RAW", "ULAW"),
}
FORMATS = tuple(_FORMATS)


def encode(waveform: Waveform, format: str, sample_rate_hz: int) -> bytes:
    """The waveform as a complete file in one of FORMATS at one of SAMPLE_RATES_HZ.

    wav and flac are 16 bit; mp3 is 128 kbit/s (64 below 16 kHz, where MPEG-2.5 ends) and carries
    the Info tag by which players cut its padding; ogg is Vorbis and opus Ogg Opus, both at the
    encoder's usual quality; pcm is headerless little-endian signed 16 bit and ulaw headerless
    G.711 mu-law. Samples beyond full scale are clipped. The same samples give the same bytes.

    Opus knows 8, 16, 24 and 48 kHz, and players decode it at 48 kHz whatever went in. 22,050 and
    44,100 Hz are therefore encoded at the next rate up, with the rate asked for in the header,
    where RFC 7845 keeps it for information.
    """
    assert format in _FORMATS, format
    assert sample_rate_hz in SAMPLE_RATES_HZ, sample_rate_hz
    codec_rate_hz = sample_rate_hz
    if format == "opus":
        codec_rate_hz = next(rate_hz for rate_hz in _OPUS_RATES_HZ if rate_hz >= sample_rate_hz)
    samples = np.clip(resample(waveform, codec_rate_hz).samples, -1.0, 1.0)
    assert np.isfinite(samples).all()
    spec = _FORMATS[format]
    frames = np.rint(samples * 32767.0).astype(np.int16) if spec.subtype in ("PCM_16", "ULAW") else samples
    options = (
        {"compression_level": _mp3_level(codec_rate_hz), "bitrate_mode": "CONSTANT"}
        if format == "mp3"
        else {}
    )
    data = _write(frames, spec, codec_rate_hz, **options)
    if format == "opus":
        return ogg.fix_headers(data, opus_input_rate_hz=sample_rate_hz)
    return ogg.fix_headers(data) if format == "ogg" else data


def encode_lossless(waveform: Waveform) -> bytes:
    """A FLAC file of 24 bit at the waveform's own rate.

    Samples are kept to within 2**-24 of full scale, and exactly where they have no more than 24 bits, as
    those of a recording that was never resampled. Beyond full scale they are clipped.
    """
    largest = 2**23 - 1
    # In float64: float32 has no room for the rounding of what is close to full scale.
    levels = np.rint(waveform.samples.astype(np.float64) * 2**23).clip(-largest - 1, largest)
    # libsndfile takes the upper 24 bits of a 32-bit sample.
    return _write((levels * 2**8).astype(np.int32), _Format("FLAC", "PCM_24"), waveform.sample_rate_hz)


def _write(
    frames: NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int32],
    spec: _Format,
    sample_rate_hz: int,
    **options: Any,
) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=sample_rate_hz,
        channels=1,
        format=spec.container,
        subtype=spec.subtype,
        endian="LITTLE" if spec.container in ("WAV", "RAW") else "FILE",
        **options,
    ) as file:
        for start in range(0, len(frames), _WRITE_BLOCK_FRAMES):
            file.write(frames[start : start + _WRITE_BLOCK_FRAMES])
    return buffer.getvalue()


def _mp3_level(sample_rate_hz: int) -> float:
    """The compression level, 0 to 1, at which libsndfile asks LAME for our bit rate.

    It spreads the level over the bit rates of MPEG-1, -2 or -2.5, 0 being the highest, and cuts
    the result to whole kbit/s (libsndfile, mpeg_l3_encode.c): half of one keeps it from falling short.
    """
    if sample_rate_hz >= 32_000:
        lowest_kbps, highest_kbps = 32, 320
    elif sample_rate_hz >= 16_000:
        lowest_kbps, highest_kbps = 8, 160
    else:
        lowest_kbps, highest_kbps = 8, 64
    bitrate_kbps = min(_MP3_BITRATE_KBPS + 0.5, highest_kbps)
    return (highest_kbps - bitrate_kbps) / (highest_kbps - lowest_kbps)
