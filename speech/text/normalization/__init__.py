"""Text normalisation by language: digits, signs and abbreviations in words. Importable without torch."""

from speech.text.normalization.normalize import normalize
from speech.text.normalization.say_as import say_as

__all__ = ["normalize", "say_as"]
