"""Samples and files: decode, encode, measure, make louder. No models, and no audio touches the disk."""
