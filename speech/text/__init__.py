"""Text as the model is given it: cleaned, split into chunks, with estimates of their durations. No torch."""

from characters import has_speakable
from speech.text.clean import clean_text, normalize_multilingual_text, normalize_text, normalize_turbo_text
from speech.text.duration import duration_units, estimate_duration_s, max_speech_tokens
from speech.text.split import DEFAULT_MAX_CHUNK_S, Chunk, split_text

__all__ = [
    "DEFAULT_MAX_CHUNK_S",
    "Chunk",
    "clean_text",
    "duration_units",
    "estimate_duration_s",
    "has_speakable",
    "max_speech_tokens",
    "normalize_multilingual_text",
    "normalize_text",
    "normalize_turbo_text",
    "split_text",
]
