"""What Home Assistant gets from wyoming_openai in front of the worker; runs in an environment of its own.

    python wyoming_speech.py PORT FOLDER TEXT VOICE

Asks the Wyoming server on a port of loopback as Home Assistant does: for what it offers, for a text at once,
and for one in pieces. Writes the audio to the folder as pcm, and its findings to stdout as JSON.
"""

import asyncio
import json
import sys
from importlib.metadata import version
from pathlib import Path

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Eventable
from wyoming.info import Describe, Info
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

WAIT_S = 120


async def connected(port: int) -> AsyncTcpClient:
    """Returns a client of a server that may still be starting."""
    async with asyncio.timeout(WAIT_S):
        while True:
            client = AsyncTcpClient("127.0.0.1", port)
            try:
                await client.connect()
                return client
            except OSError:
                await asyncio.sleep(0.05)


async def offered(port: int) -> list[dict[str, object]]:
    client = await connected(port)
    await client.write_event(Describe().event())
    while not Info.is_type((event := await client.read_event()).type):
        pass
    await client.disconnect()
    return [
        {"voices": [voice.name for voice in program.voices], "streams": program.supports_synthesize_streaming}
        for program in Info.from_event(event).tts
    ]


async def spoken(port: int, asked: list[Eventable], last: type[Eventable]) -> tuple[bytes, list[int]]:
    """Returns the audio up to the last event, and its rate, width and channels."""
    client = await connected(port)
    for one in asked:
        await client.write_event(one.event())
    audio, format = b"", []
    async with asyncio.timeout(WAIT_S):
        while True:
            event = await client.read_event()
            assert event is not None, "the server hung up"
            assert not Error.is_type(event.type), event.data
            if AudioStart.is_type(event.type):
                start = AudioStart.from_event(event)
                format = [start.rate, start.width, start.channels]
            elif AudioChunk.is_type(event.type):
                audio += AudioChunk.from_event(event).audio
            elif last.is_type(event.type):
                break
    await client.disconnect()
    return audio, format


async def main() -> None:
    port, folder, text, name = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    voice = SynthesizeVoice(name=name)
    whole, format = await spoken(port, [Synthesize(text=text, voice=voice)], AudioStop)
    (folder / "whole.pcm").write_bytes(whole)
    pieces = [SynthesizeChunk(text=word + " ") for word in f"{text} It left at noon.".split()]
    asked = [SynthesizeStart(voice=voice), *pieces, Synthesize(text=text, voice=voice), SynthesizeStop()]
    streamed, _ = await spoken(port, asked, SynthesizeStopped)
    (folder / "pieces.pcm").write_bytes(streamed)
    found = {"version": version("wyoming-openai"), "offered": await offered(port), "format": format}
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
