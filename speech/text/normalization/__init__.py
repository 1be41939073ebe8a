"""Text normalisation by language: what is written with digits, signs and abbreviations, in words. No torch."""

from speech.text.normalization.normalize import normalize
from speech.text.normalization.say_as import say_as

__all__ = ["normalize", "say_as"]
