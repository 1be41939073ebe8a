"""Recordings of phones and browsers, which libsndfile does not read: FFmpeg does, in a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from errors import ReferenceInvalid

# What the first bytes show, and FFmpeg's name for it. No other of its hundreds of formats is ever tried.
FORMATS = {"M4A or MP4": "mov", "WebM or Matroska": "matroska", "AAC": "aac", "AMR": "amr"}

# The child's own limit is 2 s of CPU time; on a machine that is busy these take longer.
WALL_S = 20
_CHILD = Path(__file__).with_name("ffmpeg_child.py")

log = logging.getLogger(__name__)


def decode_foreign(data: bytes, container: str, field: str) -> tuple[NDArray[np.float32], int]:
    """float32 [n, channels] and the sample rate; of what is too long, so much that it shows.

    container: one of FORMATS. Raises ReferenceInvalid, naming ``field``.
    """
    try:
        child = subprocess.run(  # noqa: S603, our own program
            [sys.executable, "-I", str(_CHILD), FORMATS[container]],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            timeout=WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _damaged(container, field) from error
    head, _, samples = child.stdout.partition(b"\n")
    if child.returncode != 0 or not head:
        log.warning("the decoder of %s ended with %d", container, child.returncode)
        raise _damaged(container, field)
    told = json.loads(head)
    if "refused" in told:
        raise ReferenceInvalid(f"{field} is {container} and {told['refused']}")
    frames = np.frombuffer(samples, np.float32).reshape(-1, told["channels"])
    return frames, told["sample_rate"]


def _damaged(container: str, field: str) -> ReferenceInvalid:
    return ReferenceInvalid(
        f"{field} looks like {container} but cannot be decoded, it is damaged, incomplete or made to be "
        "expensive: export it again"
    )
