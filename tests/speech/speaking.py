"""How tests let a synthesizer speak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from cancel import CancelToken
from speech.contract import AudioChunk, Conditionals, Hop, SamplingParams, Synthesizer, Utterance
from tests.recordings import speech_like

SENTENCE = "The harbour was quiet, and the boats lay still."
PAGE = " ".join(
    f"Sentence number {count} tells of {count * 7} boats that came home late." for count in range(1, 86)
)


def recording(seed: int, duration_s: float = 4.0) -> Waveform:
    return Waveform(speech_like(duration_s, MODEL_SAMPLE_RATE_HZ, seed=seed), MODEL_SAMPLE_RATE_HZ)


def encode(synthesizer: Synthesizer, seed: int, duration_s: float = 4.0) -> Conditionals:
    """The conditionals of a recording."""
    return synthesizer.encode_reference(recording(seed, duration_s), CancelToken())


def utter(
    synthesizer: Synthesizer,
    text: str,
    voice: Conditionals | None,
    seed: int,
    language: str | None = None,
    **params,
) -> Utterance:
    """An utterance; voice: None for the built-in one. language: None for the model's default."""
    return Utterance(
        text,
        voice or synthesizer.builtin_voice(),
        seed,
        SamplingParams(**params),
        language or synthesizer.info.spec.default_language,
    )


def speak(
    synthesizer: Synthesizer,
    text: str = SENTENCE,
    voice: Conditionals | None = None,
    *,
    seed: int = 7,
    cancel: CancelToken | None = None,
    hop: Hop = "whole",
    language: str | None = None,
    **params: float,
) -> list[AudioChunk]:
    """The chunks of one utterance. voice: None for the built-in one."""
    utterance = utter(synthesizer, text, voice, seed, language, **params)
    return list(synthesizer.synthesize([utterance], cancel or CancelToken(), hop=hop))


def join(chunks: Sequence[AudioChunk]) -> np.ndarray:
    """The samples of chunks in a row, with their pauses, not watermarked."""
    return np.concatenate([chunk.with_pause().samples for chunk in chunks])


def join_marked(synthesizer: Synthesizer, chunks: Sequence[AudioChunk]) -> np.ndarray:
    """The samples as a caller gets them: each chunk watermarked."""
    return join(list(synthesizer.watermark(chunks)))


def mark(synthesizer: Synthesizer, chunk: AudioChunk) -> Waveform:
    """The watermarked audio of a whole chunk."""
    (marked,) = synthesizer.watermark([chunk])
    return marked.waveform


def says(synthesizer: Synthesizer, text: str = SENTENCE, voice: Conditionals | None = None, **options):
    """The samples of one utterance, not watermarked."""
    return join(speak(synthesizer, text, voice, **options))
