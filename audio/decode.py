"""Audio that strangers send, to samples: from memory, within limits.

Everything is decided from the bytes themselves. Only what the first bytes show to be WAV, FLAC,
OGG or MP3 reaches libsndfile, which would otherwise try two dozen formats; what phones and
browsers make goes to FFmpeg, in a process of its own; a header's claims are never trusted with
memory; and no temporary file takes part.
"""

from __future__ import annotations

import binascii
import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio.foreign import FORMATS, decode_foreign
from audio.ogg import OggError, read_packets
from audio.vorbis import VorbisError, check_headers
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from errors import ReferenceInvalid

MAX_ENCODED_BYTES = 25 * 1024 * 1024  # 120 s of 24-bit stereo at 36 kHz; compressed, far more than 120 s
MAX_DURATION_S = 120
MAX_CHANNELS = 2
MIN_SAMPLE_RATE_HZ = 8_000
MAX_SAMPLE_RATE_HZ = 192_000

# Endings of the names of files that can be decoded, for looking through folders.
RECORDING_SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mpga", ".aac", ".amr"),
        *(".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".3gp", ".3gpp", ".3g2"),
        *(".webm", ".weba", ".mka", ".mkv"),
    )
)

# Base64 takes 4 characters for 3 bytes; line breaks every 64 or 76 and a data: prefix come on top.
_MAX_BASE64_CHARS = MAX_ENCODED_BYTES * 4 // 3 * 33 // 32 + 1024
_MAX_DATA_PREFIX_CHARS = 256
_ASCII_WHITESPACE = b" \t\r\n\v\f"

_ADVICE = "send WAV, FLAC, OGG, Opus, MP3, M4A, WebM, AAC or AMR"
# What soundfile may report for each container that we let through. Whatever else libsndfile makes
# of the bytes (GSM, ADPCM or MPEG layer II inside, say) is more parser than a voice needs.
_LINEAR_SUBTYPES = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"})
_SUBTYPES_BY_FORMAT = {
    "WAV": _LINEAR_SUBTYPES | {"ULAW", "ALAW"},
    "WAVEX": _LINEAR_SUBTYPES | {"ULAW", "ALAW"},
    "FLAC": _LINEAR_SUBTYPES,
    "OGG": frozenset({"VORBIS", "OPUS"}),
    "MP3": frozenset({"MPEG_LAYER_III"}),
}
_MAX_TAGS = 4  # one is usual, two happen; millions of empty ones would only cost time
_UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's count for a stream whose header gives no length


def decode_base64(text: str, field: str) -> bytes:
    """The bytes behind standard base64, with or without a ``data:...;base64,`` prefix.

    White space between the characters is skipped. The length is looked at before anything is
    decoded: at most 25 MiB come out. Raises ReferenceInvalid, naming ``field``.
    """
    if len(text) > _MAX_BASE64_CHARS:
        raise _too_large(field)
    text = text.lstrip()
    if text[:5].lower() == "data:":
        text = _strip_data_prefix(text, field)
    try:
        encoded = text.encode("ascii").translate(None, _ASCII_WHITESPACE)
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ReferenceInvalid(
            f"{field} is not base64: encode the bytes of an audio file with the standard alphabet and padding"
        ) from error
    if not data:
        raise ReferenceInvalid(f"{field} is empty: {_ADVICE}, encoded as base64")
    if len(data) > MAX_ENCODED_BYTES:
        raise _too_large(field)
    return data


def decode_audio(data: bytes, field: str = "reference_audio") -> Waveform:
    """The audio in a WAV, FLAC, OGG Vorbis, Ogg Opus, MP3, M4A, MP4, 3GP, WebM, AAC or AMR file as
    mono at 24 kHz.

    At most 25 MiB, 2 channels, 8 to 192 kHz and 120 s, all checked before resampling; memory stays
    under about 400 MB whatever the file claims or unpacks to. Channels are averaged. Audio beyond
    full scale (floats and MP3 can be) is scaled down to fit, not clipped.
    Raises ReferenceInvalid with a sentence that names ``field`` and says what to send.
    """
    if len(data) > MAX_ENCODED_BYTES:
        raise _too_large(field)
    frames, sample_rate_hz = _read_frames(_skip_id3v2(data), field)
    # Two channels near the end of float32's range overflow to inf, which is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        samples = frames.mean(axis=1, dtype=np.float32)
    del frames  # the largest array of all
    if not np.isfinite(samples).all():
        raise ReferenceInvalid(f"{field} holds samples that are not finite numbers: export the audio again")
    peak = max(float(samples.max()), -float(samples.min()))
    if peak > 1.0:
        samples /= peak
    return resample(Waveform(samples, sample_rate_hz), MODEL_SAMPLE_RATE_HZ)


def _read_frames(data: bytes, field: str) -> tuple[NDArray[np.float32], int]:
    """Decode to float32 [n, channels] and the sample rate, n at least 1 and at most 120 s."""
    container = _sniff(data)
    if container in FORMATS:
        return _checked(*decode_foreign(data, container, field), field)
    if container not in ("WAV", "FLAC", "OGG", "MP3"):
        found = f"is {container}, which is not supported" if container else "is not audio that can be read"
        raise ReferenceInvalid(f"{field} {found}: {_ADVICE}")
    try:
        if container == "OGG":
            _check_ogg(data, field)
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check_header(file, container, field)
            frames = _read_capped(file)
            sample_rate_hz: int = file.samplerate
    except (soundfile.LibsndfileError, OggError, VorbisError) as error:
        raise ReferenceInvalid(
            f"{field} looks like {container} but cannot be decoded, it is damaged or incomplete: "
            f"export it again, or {_ADVICE}"
        ) from error
    return _checked(frames, sample_rate_hz, field)


def _checked(frames: NDArray[np.float32], sample_rate_hz: int, field: str) -> tuple[NDArray[np.float32], int]:
    if len(frames) == 0:
        raise ReferenceInvalid(f"{field} holds no audio: {_ADVICE} with 5 to 30 s of speech")
    if len(frames) > MAX_DURATION_S * sample_rate_hz:
        raise _too_long(field)
    return frames, sample_rate_hz


def _check_ogg(data: bytes, field: str) -> None:
    """Refuse what must not reach libvorbis. Raises OggError, VorbisError, ReferenceInvalid."""
    first_packet = read_packets(data, 1)[0]
    if first_packet.startswith(b"\x01vorbis"):
        check_headers(*read_packets(data, 3))
    elif not first_packet.startswith(b"OpusHead"):
        raise _unsupported_encoding("OGG", field)


def _check_header(file: soundfile.SoundFile, container: str, field: str) -> None:
    """Refuse by what the header says, before a single frame is decoded."""
    if file.subtype not in _SUBTYPES_BY_FORMAT.get(file.format, ()):
        raise _unsupported_encoding(container, field)
    if file.channels > MAX_CHANNELS:
        raise ReferenceInvalid(f"{field} has {file.channels} channels: send mono or stereo")
    if not MIN_SAMPLE_RATE_HZ <= file.samplerate <= MAX_SAMPLE_RATE_HZ:
        raise ReferenceInvalid(
            f"{field} has a sample rate of {file.samplerate} Hz: "
            f"send {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz"
        )
    if MAX_DURATION_S * file.samplerate < file.frames < _UNKNOWN_FRAMES:
        raise _too_long(field)


def _read_capped(file: soundfile.SoundFile) -> NDArray[np.float32]:
    """All frames, or the first that show the audio to be too long: float32 [n, channels].

    One call, because soundfile seeks after each and libsndfile's MP3 decoder loses its place then.
    """
    max_frames = MAX_DURATION_S * file.samplerate + 1
    if file.frames < _UNKNOWN_FRAMES:
        frames: NDArray[np.float32] = file.read(max_frames, dtype="float32", always_2d=True)
        return frames
    # A streamed FLAC: soundfile reads it, then fails to seek to its unknown end and forgets how
    # much it read. Integers never decode to NaN, so the first NaN that is left marks the end.
    frames = np.full((max_frames, file.channels), np.nan, dtype=np.float32)
    try:
        file.read(out=frames)
    except soundfile.LibsndfileError:
        if file.format != "FLAC" or np.isnan(frames[0, 0]):
            raise
    unwritten = np.isnan(frames[:, 0])
    return frames[: unwritten.argmax()] if unwritten.any() else frames


def _sniff(data: bytes) -> str | None:
    """Name what the first bytes announce, None when they announce nothing known.

    An MPEG frame starts with 11 set bits; the two layer bits are 01 for MP3 and 00 in AAC's ADTS.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    if data[4:8] == b"ftyp":
        return "M4A or MP4"
    if len(data) >= 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        return {0b00: "AAC", 0b01: "MP3", 0b10: "MP2", 0b11: "MP1"}[data[1] >> 1 & 0b11]
    return next((name for magic, name in _NAME_BY_MAGIC.items() if data.startswith(magic)), None)


_NAME_BY_MAGIC = {
    b"fLaC": "FLAC",
    b"OggS": "OGG",
    b"\x1aE\xdf\xa3": "WebM or Matroska",
    b"#!AMR": "AMR",
    b"ADIF": "AAC",
    b"0&\xb2u": "WMA",
    b"FORM": "AIFF",
    b"caff": "CAF",
    b".snd": "AU",
    b"RF64": "RF64",
    b"riff": "Wave64",
}


def _skip_id3v2(data: bytes) -> bytes:
    """The file behind its ID3v2 tags, so that the tag of an MP3 cannot hide another format.

    A tag is a 10-byte header whose last four bytes give the size of the rest, 7 bits in each; a
    footer, when flagged, adds 10 (ID3v2.4 structure, section 3.1). Zeros may pad the tag.
    """
    start = 0
    for _ in range(_MAX_TAGS):
        if data[start : start + 3] != b"ID3" or len(data) - start <= 10:
            break
        size = 0
        for byte in data[start + 6 : start + 10]:
            size = size << 7 | byte & 0x7F
        start += 10 + size + (10 if data[start + 5] & 0x10 else 0)
    return data[start:].lstrip(b"\0") if start else data


def _unsupported_encoding(container: str, field: str) -> ReferenceInvalid:
    return ReferenceInvalid(f"{field} is {container} with an encoding that is not supported: {_ADVICE}")


def _too_large(field: str) -> ReferenceInvalid:
    return ReferenceInvalid(
        f"{field} is larger than {MAX_ENCODED_BYTES // 2**20} MiB: send a shorter or compressed recording"
    )


def _too_long(field: str) -> ReferenceInvalid:
    return ReferenceInvalid(
        f"{field} is longer than {MAX_DURATION_S} s: cut it, 10 to 30 s of clear speech is best"
    )


def _strip_data_prefix(text: str, field: str) -> str:
    comma = text.find(",", 0, _MAX_DATA_PREFIX_CHARS)
    if comma < 0 or not text[:comma].lower().rstrip().endswith(";base64"):
        raise ReferenceInvalid(f"{field} is a data: URL that is not base64: send data:audio/...;base64,...")
    return text[comma + 1 :]
