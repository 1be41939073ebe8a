"""Voices on disk: a folder of small files that workers, and programs older than this one, share."""

from voice_store.live import Timing
from voice_store.mount import Mount
from voice_store.saving import save_voice_embedding, save_voice_from_file
from voice_store.store import DeleteResult, PutResult, Voice, VoiceStore

__all__ = [
    "DeleteResult",
    "Mount",
    "PutResult",
    "Timing",
    "Voice",
    "VoiceStore",
    "save_voice_embedding",
    "save_voice_from_file",
]
