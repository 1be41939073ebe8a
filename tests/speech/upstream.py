"""Upstream's own code around the same weights: what ours is compared with."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import soundfile
from chatterbox import ChatterboxTTS
from chatterbox.tts import Conditionals as UpstreamConditionals


def upstream_conditionals(upstream: ChatterboxTTS, samples: np.ndarray, folder: Path) -> UpstreamConditionals:
    """What upstream makes of a 24 kHz recording, handed over in the only way that it takes: a file."""
    file = folder / "reference.wav"
    soundfile.write(file, samples, 24_000, subtype="FLOAT")
    logging.disable(logging.WARNING)  # it warns at every odd length
    try:
        upstream.prepare_conditionals(file)
    finally:
        logging.disable(logging.NOTSET)
    return upstream.conds
