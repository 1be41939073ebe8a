"""Encoding of mono samples to audio files: whole, or part by part while the samples are made."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform

SAMPLE_RATES_HZ = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)

_OPUS_RATES_HZ = (8_000, 16_000, 24_000, 48_000)
_MP3_BITRATE_KBPS = 128
_AAC_BITRATE = 96_000  # the encoder lowers it where a frame could not hold it

# Long input is handled in blocks, so that resampling and conversion need little memory. libsndfile's Vorbis
# encoder moreover crashes the process when it is given ten minutes of audio at once.
_INPUT_BLOCK_SAMPLES = 65_536

_NO_SAMPLES: NDArray[np.float32] = np.zeros(0, np.float32)
_UNKNOWN_SIZE = struct.pack("<I", 0xFFFFFFFF)
_RIFF_SIZE, _WAV_DATA_SIZE = slice(4, 8), slice(40, 44)  # in the 44 bytes of libsndfile's WAV header

_OGG_BEGINS = 0x02  # the flag of the first page
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class _Format:
    container: str  # soundfile's name
    subtype: str  # soundfile's name
    content_type: str  # without parameters that depend on the sample rate
    # Number of samples given to the encoder at a time; None: as many as there are. The decisions of
    # libvorbis, and so its bytes, depend on how much audio lies before it.
    block_samples: int | None = None


_FORMATS = {
    "wav": _Format("WAV", "PCM_16", "audio/wav"),
    "mp3": _Format("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    "flac": _Format("FLAC", "PCM_16", "audio/flac"),
    "ogg": _Format("OGG", "VORBIS", "audio/ogg", block_samples=2048),
    "opus": _Format("OGG", "OPUS", "audio/ogg; codecs=opus"),
    "pcm": _Format("RAW", "PCM_16", "audio/pcm"),
    "ulaw": _Format("RAW", "ULAW", "audio/PCMU"),
    "aac": _Format("ADTS", "AAC", "audio/aac", block_samples=1024),
}
FORMATS = tuple(_FORMATS)
_COMPLETED_AT_THE_END = ("wav", "mp3", "flac")  # libsndfile goes back to their headers
CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {name: format.content_type for name, format in _FORMATS.items()}
)


def content_type(format: str, sample_rate_hz: int) -> str:
    """Returns the value of a Content-Type header for audio in one of FORMATS.

    The type of pcm and ulaw, which have no header, carries the sample rate. mp3 is ``audio/mpeg`` (RFC 3003),
    flac ``audio/flac`` (RFC 9639), Ogg ``audio/ogg`` with the codec as a parameter (RFC 5334). ulaw is
    ``audio/PCMU``, whose parameter ``rate`` is required (RFC 4856); ``audio/basic`` (RFC 2046) would be for
    8 kHz alone. pcm is ``audio/pcm``, which is not registered but which others use for little-endian samples
    (Amazon Lex): the registered ``audio/L16`` is big-endian (RFC 2586, RFC 3551).
    """
    rate = f"; rate={sample_rate_hz}" if _FORMATS[format].container == "RAW" else ""
    return CONTENT_TYPES[format] + rate


class StreamEncoder:
    """Encodes a stream of samples to consecutive parts of one file.

    The results of ``add`` and ``finish``, put end to end, are a valid file in the format. They are the same
    bytes however the samples are divided among the calls, apart from where the parts begin and end. Memory
    does not grow with the length of the stream.

    What a file knows only at its end is left out at its beginning: the sizes in a WAV header are 0xFFFFFFFF,
    FLAC's number of samples and MD5 are 0 (unknown, RFC 9639), and mp3 has no Info tag. A decoder of mp3
    therefore does not cut the encoder's padding: 1,105 samples of silence before the audio, and up to two
    frames after it; a decoder of aac cuts neither the 1,024 samples before the audio nor what fills its last
    frame. The other formats decode to the length of the audio. Parts of pcm and ulaw are whole
    numbers of samples. ogg and opus come in pages, so that about a second of audio may be held back.

    A stream without samples is an empty file in wav, pcm and ulaw, and one sample of silence in the formats
    that have no empty file.
    """

    def __init__(
        self, format: str, sample_rate_hz: int, *, source_rate_hz: int = MODEL_SAMPLE_RATE_HZ
    ) -> None:
        """Starts a file in one of FORMATS at one of SAMPLE_RATES_HZ; see ``encode`` for what it holds."""
        self._format, self._sample_rate_hz = format, sample_rate_hz
        self._output = _AppendOnly(drops_first_write=format == "mp3")
        self._encoder = _Encoder(self._output, format, sample_rate_hz, source_rate_hz)
        self._has_begun = False

    def add(self, samples: NDArray[np.float32]) -> bytes:
        """Encodes float32 [n] at the source's rate; returns the bytes that are ready, which may be none."""
        self._encoder.add(samples)
        return self._take()

    def finish(self) -> bytes:
        """Ends the file and returns the rest of it; no call may follow."""
        self._encoder.finish()
        return self._take()

    def close(self) -> None:
        """Frees what a stream holds that ends early; after ``finish`` there is nothing left to free."""
        self._encoder.close()

    def _take(self) -> bytes:
        data = self._output.take()
        if data and not self._has_begun and self._format == "wav":
            data[_RIFF_SIZE] = data[_WAV_DATA_SIZE] = _UNKNOWN_SIZE
        if self._format in ("ogg", "opus"):
            _fix_ogg_pages(data, self._sample_rate_hz)
        self._has_begun = self._has_begun or bool(data)
        return bytes(data)


def encode_chunks(
    chunks: Iterable[NDArray[np.float32]],
    format: str,
    sample_rate_hz: int,
    *,
    source_rate_hz: int = MODEL_SAMPLE_RATE_HZ,
) -> bytes:
    """Encodes consecutive chunks, each float32 [n], to a whole file; see ``encode`` for what it holds.

    Needs little more memory than the file. Whoever wants to end the work early raises from ``chunks``.
    """
    if format not in _COMPLETED_AT_THE_END:
        with closing(StreamEncoder(format, sample_rate_hz, source_rate_hz=source_rate_hz)) as stream:
            return b"".join([*map(stream.add, chunks), stream.finish()])
    output = io.BytesIO()
    with closing(_Encoder(output, format, sample_rate_hz, source_rate_hz)) as encoder:
        for chunk in chunks:
            encoder.add(chunk)
        encoder.finish()
    return output.getvalue()


def encode(waveform: Waveform, format: str, sample_rate_hz: int) -> bytes:
    """Encodes a waveform to a whole file in one of FORMATS at one of SAMPLE_RATES_HZ.

    wav and flac are 16 bit; mp3 is 128 kbit/s (64 below 16 kHz, where MPEG-2.5 ends) and carries the Info tag
    by which players cut its padding; ogg is Vorbis and opus Ogg Opus, both at the encoder's usual quality;
    aac is AAC-LC in ADTS frames, 96 kbit/s where they hold that; pcm is headerless little-endian signed 16
    bit and ulaw headerless G.711 mu-law. Samples beyond full scale are clipped. The same samples give the
    same bytes.

    Opus knows 8, 16, 24 and 48 kHz, and players decode it at 48 kHz whatever went in. 22,050 and
    44,100 Hz are therefore encoded at the next rate up, with the rate asked for in the header,
    where RFC 7845 keeps it for information.
    """
    return encode_chunks([waveform.samples], format, sample_rate_hz, source_rate_hz=waveform.sample_rate_hz)


def encode_lossless(waveform: Waveform) -> bytes:
    """Encodes a waveform to a FLAC file of 24 bit at the waveform's own rate.

    Samples are kept to within 2**-24 of full scale, and exactly where they have no more than 24 bits, as
    those of a recording that was never resampled. Beyond full scale they are clipped.
    """
    largest = 2**23 - 1
    output = io.BytesIO()
    with soundfile.SoundFile(
        output, "w", samplerate=waveform.sample_rate_hz, channels=1, format="FLAC", subtype="PCM_24"
    ) as file:
        for block in _blocks(waveform.samples, _INPUT_BLOCK_SAMPLES):
            # In float64: float32 has no room for the rounding of what is close to full scale.
            levels = np.rint(block.astype(np.float64) * 2**23).clip(-largest - 1, largest)
            file.write((levels * 2**8).astype(np.int32))  # libsndfile takes the upper 24 bits of 32
    return output.getvalue()


class _Encoder:
    """Resamples and encodes a stream of samples, writing to a file object."""

    def __init__(
        self, output: io.BytesIO | _AppendOnly, format: str, sample_rate_hz: int, source_rate_hz: int
    ) -> None:
        assert format in _FORMATS, format
        assert sample_rate_hz in SAMPLE_RATES_HZ, sample_rate_hz
        spec = _FORMATS[format]
        rate_hz = sample_rate_hz
        if format == "opus":
            rate_hz = next(rate_hz for rate_hz in _OPUS_RATES_HZ if rate_hz >= sample_rate_hz)
        self._block_samples = spec.block_samples
        self._is_integer = spec.subtype in ("PCM_16", "ULAW")
        self._may_be_empty = spec.container in ("WAV", "RAW")
        self._resampler = (
            soxr.ResampleStream(source_rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
            if source_rate_hz != rate_hz
            else None
        )
        self._pending = _NO_SAMPLES  # short of a block
        self._is_empty = True
        self._file: soundfile.SoundFile | _AdtsFile
        if format == "aac":
            self._file = _AdtsFile(output, rate_hz)
            return
        options = {"compression_level": _mp3_level(rate_hz), "bitrate_mode": "CONSTANT"}
        self._file = soundfile.SoundFile(
            output,
            "w",
            samplerate=rate_hz,
            channels=1,
            format=spec.container,
            subtype=spec.subtype,
            endian="LITTLE" if spec.container in ("WAV", "RAW") else "FILE",
            **(options if format == "mp3" else {}),
        )

    def add(self, samples: NDArray[np.float32]) -> None:
        assert samples.ndim == 1, samples.shape
        assert samples.dtype == np.float32, samples.dtype
        for block in _blocks(samples, _INPUT_BLOCK_SAMPLES):
            self._write(block if self._resampler is None else self._resampler.resample_chunk(block))

    def finish(self) -> None:
        if self._resampler is not None:
            self._write(self._resampler.resample_chunk(_NO_SAMPLES, last=True))
        self._block_samples = None
        self._write(_NO_SAMPLES)
        if self._is_empty and not self._may_be_empty:
            self._write(np.zeros(1, np.float32))
        self._file.close()

    def close(self) -> None:
        # Left to the garbage collector, libsndfile would write to an output that is gone before it.
        self._file.close()

    def _write(self, samples: NDArray[np.float32]) -> None:
        if len(self._pending):
            samples = np.concatenate([self._pending, samples])
        size = self._block_samples or max(len(samples), 1)
        ready = len(samples) // size * size
        self._pending = samples[ready:].copy()
        for block in _blocks(samples[:ready], size):
            assert np.isfinite(block).all()
            clipped = np.clip(block, -1.0, 1.0)
            self._file.write(np.rint(clipped * 32767.0).astype(np.int16) if self._is_integer else clipped)
            self._is_empty = False


class _AdtsFile:
    """A file of AAC in ADTS frames that FFmpeg writes, as ``soundfile.SoundFile`` is one of other formats."""

    def __init__(self, output: io.BytesIO | _AppendOnly, sample_rate_hz: int) -> None:
        import av  # for this format alone

        self._make_frame = av.AudioFrame.from_ndarray
        # Each frame is written as soon as it is encoded.
        self._container = av.open(output, "w", format="adts", options={"flush_packets": "1"})
        self._stream = self._container.add_stream("aac", rate=sample_rate_hz, layout="mono", format="fltp")
        self._stream.bit_rate = _AAC_BITRATE
        self._sample_rate_hz, self._written, self._is_open = sample_rate_hz, 0, True

    def write(self, samples: NDArray[np.float32]) -> None:
        """Encodes float32 [n], n at most a frame's 1,024."""
        frame = self._make_frame(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = self._sample_rate_hz, self._written
        self._written += len(samples)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes what the encoder holds back; further calls do nothing."""
        if self._is_open:
            self._is_open = False
            if self._written:
                self._container.mux(self._stream.encode(None))
            self._container.close()


class _AppendOnly:
    """A file object for libsndfile whose bytes are taken away while it writes.

    What libsndfile writes over earlier bytes, to complete a header, is dropped.
    """

    def __init__(self, drops_first_write: bool) -> None:
        # libsndfile's first write of an mp3 file is a silent frame in place of the Info tag.
        self._drops_next_write = drops_first_write
        self._data = bytearray()
        self._position = self._end = 0

    def write(self, data: bytes) -> int:
        if self._position == self._end:
            self._end += len(data)
            if not self._drops_next_write:
                self._data += data
            self._drops_next_write = False
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def take(self) -> bytearray:
        """Returns the bytes written since the last call."""
        data, self._data = self._data, bytearray()
        return data


def _blocks(samples: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    return (samples[start : start + size] for start in range(0, len(samples), size))


def _fix_ogg_pages(pages: bytearray, opus_input_rate_hz: int) -> None:
    """Sets the serial number of whole Ogg pages (RFC 3533) to 1 and an OpusHead's input rate, in place.

    libsndfile draws the serial number from the clock, so that encoding the same audio twice gives different
    files. The number only tells apart the streams within one file, and there is one. The input rate says
    what the audio was before it was encoded (RFC 7845, section 5.1); libsndfile writes the encoder's rate.
    """
    start = 0
    while start < len(pages):
        assert pages[start : start + 4] == b"OggS"
        segments = pages[start + 26]
        body = start + 27 + segments
        end = body + sum(pages[start + 27 : body])
        if pages[start + 5] & _OGG_BEGINS and pages[body : body + 8] == b"OpusHead":
            struct.pack_into("<I", pages, body + 12, opus_input_rate_hz)
        struct.pack_into("<I", pages, start + 14, 1)
        struct.pack_into("<I", pages, start + 22, 0)  # the checksum counts as zeros in its own sum
        struct.pack_into("<I", pages, start + 22, _ogg_checksum(bytes(pages[start:end])))
        start = end


def _ogg_checksum(page: bytes) -> int:
    """Computes Ogg's CRC-32: polynomial 0x04C11DB7, most significant bit first, nothing inverted.

    zlib computes the same polynomial from the other end of each byte and inverts before and after, so its
    result on mirrored bytes, uninverted and mirrored, is Ogg's; a loop in Python is far slower.
    """
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _mp3_level(sample_rate_hz: int) -> float:
    """Returns the compression level, 0 to 1, at which libsndfile asks LAME for _MP3_BITRATE_KBPS.

    libsndfile spreads the level over the bit rates of MPEG-1, -2 or -2.5, 0 being the highest, and cuts
    the result to whole kbit/s (mpeg_l3_encode.c): half of one keeps it from falling short.
    """
    if sample_rate_hz >= 32_000:
        lowest_kbps, highest_kbps = 32, 320
    elif sample_rate_hz >= 16_000:
        lowest_kbps, highest_kbps = 8, 160
    else:
        lowest_kbps, highest_kbps = 8, 64
    bitrate_kbps = min(_MP3_BITRATE_KBPS + 0.5, highest_kbps)
    return (highest_kbps - bitrate_kbps) / (highest_kbps - lowest_kbps)
