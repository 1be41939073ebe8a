"""Fuzzes, guided by coverage, what the worker itself reads of a recording: `make fuzz`.

That is the base64 around it, and the report of the process that decodes it, which a recording may have
taken over. Whatever the bytes are, they are read or refused; anything else that is raised ends the run.
FFmpeg works in that process alone, and has tests of its own.
"""

from __future__ import annotations

import base64
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from audio import ffmpeg
from audio.decode import decode_base64
from errors import ReferenceInvalid

SEEDS = (
    b"UklGRg==",
    b"data:audio/webm;codecs=opus;base64,UklGRg==",
    b"UklG\nRg==",
    b"Ukl Rg==",
    b'{"unprotected": [], "segments": [[24000, 1, 4], [48000, 2, 2]]}',
    b'{"unprotected": ["another user (EPERM)"], "refused": "codec", "detail": "dts"}',
    b'{"refused": "channels", "detail": 9}',
)


def try_bytes(data: bytes) -> None:
    if data:
        assert decode_base64(base64.b64encode(data).decode(), "reference_audio") == data
    with suppress(ReferenceInvalid):
        decode_base64(data.decode("latin-1"), "reference_audio")
    samples = os.memfd_create("samples")
    try:
        os.write(samples, data)
        os.ftruncate(samples, ffmpeg.REPORT_BYTES + 1_024)
        with suppress(ReferenceInvalid):
            ffmpeg.read_samples(samples, "reference_audio")
    finally:
        os.close(samples)


def main(arguments: list[str]) -> None:
    import atheris

    logging.disable()
    corpus = Path(arguments[0])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(SEEDS):
        (corpus / f"seed-{number}").write_bytes(data)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], str(corpus), *arguments[1:]], try_bytes)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
