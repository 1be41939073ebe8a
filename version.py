"""The worker's version."""

VERSION = "0.2.0.dev0"
WORKER = f"chatterbox-voice-worker/{VERSION}"  # as replies name it
