"""Client of Chatterbox Voice Worker: speech in cloned voices, from a RunPod endpoint or a server of your own.

from chatterbox_voice import Client

with Client("ENDPOINT_ID") as client:
    client.speak("The tide waits for no one.", voice="Harbour Master").save("tide.mp3")
"""

from chatterbox_voice import errors
from chatterbox_voice.client import AsyncClient, AsyncSpeechStream, Client, SpeechStream
from chatterbox_voice.errors import VoiceWorkerError
from chatterbox_voice.flow import Progress
from chatterbox_voice.operations import ClonedVoice, Speech, Voice, WatermarkCheck

__all__ = [
    "AsyncClient",
    "AsyncSpeechStream",
    "Client",
    "ClonedVoice",
    "Progress",
    "Speech",
    "SpeechStream",
    "Voice",
    "VoiceWorkerError",
    "WatermarkCheck",
    "errors",
]
