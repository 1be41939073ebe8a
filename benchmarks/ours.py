"""Our synthesizer and a known voice, as a tts job has them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

from audio.decode import decode_audio
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from cancel import CancelToken
from errors import ModelUnavailable
from speech.contract import Conditionals
from speech.models.spec import CHATTERBOX
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer

SAMPLE = Path("samples/reference.flac")


def reference() -> Waveform:
    """Returns the sample recording at the model's rate, 11.5 s."""
    return resample(decode_audio(SAMPLE.read_bytes(), str(SAMPLE)), MODEL_SAMPLE_RATE_HZ)


def load(
    checkpoint: Path, device: str, max_concurrency: int, model: str = CHATTERBOX.name
) -> tuple[ChatterboxSynthesizer, Conditionals]:
    """Loads the model, lets it say a word, and encodes the sample. Raises ModelUnavailable."""
    synthesizer = load_synthesizer(
        model, checkpoint_dir=checkpoint, device=device, max_concurrency=max_concurrency
    )
    synthesizer.check()
    return synthesizer, synthesizer.encode_reference(reference(), CancelToken())


def load_for_most(
    checkpoint: Path, device: str, counts: Sequence[int], model: str = CHATTERBOX.name
) -> tuple[ChatterboxSynthesizer, Conditionals, list[int]]:
    """Loads for the largest number of jobs that the device's memory allows.

    Returns the numbers that fit as well, and prints the others. Raises ModelUnavailable when none does.
    """
    for most in sorted(counts, reverse=True):
        try:
            synthesizer, voice = load(checkpoint, device, most, model)
        except ModelUnavailable as error:
            if most == min(counts):
                raise
            print(f"{most} at once: left out: {error}")
        else:
            return synthesizer, voice, [count for count in counts if count <= most]
        gc.collect()  # the failed try's tensors, which its exception held
    raise ValueError("no count")
