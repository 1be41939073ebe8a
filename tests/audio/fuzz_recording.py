"""Made-up recordings for the decoders of strangers' bytes, guided by coverage: `make fuzz`.

Whatever they are, they are decoded or refused; anything else that is raised, and a crash of a library, ends
the run. FFmpeg has a process of its own for each recording, and tests of its own.
"""

from __future__ import annotations

import base64
import sys
from contextlib import suppress
from pathlib import Path

from audio import decode, foreign
from audio.decode import decode_audio, decode_base64
from audio.encode import encode
from audio.waveform import Waveform
from errors import ReferenceInvalid
from tests.recordings import speech_like, wav_bytes

HEADS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb")


def try_bytes(data: bytes) -> None:
    if data:
        assert decode_base64(base64.b64encode(data).decode(), "reference_audio") == data
    with suppress(ReferenceInvalid):
        decode_base64(data.decode("latin-1"), "reference_audio")
    with suppress(ReferenceInvalid):
        decode_audio(data)


def seeds() -> list[bytes]:
    short = Waveform(speech_like(0.3, 24_000, 1), 24_000)
    files = [encode(short, kind, 24_000) for kind in ("wav", "mp3", "flac", "ogg", "opus")]
    return [*files, wav_bytes(speech_like(0.2, 8_000, 2), 8_000), *HEADS, b"data:audio/wav;base64,UklGRg=="]


def main(arguments: list[str]) -> None:
    import atheris

    corpus = Path(arguments[0])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    foreign.FORMATS.clear()
    assert decode.FORMATS is foreign.FORMATS
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], str(corpus), *arguments[1:]], try_bytes)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
