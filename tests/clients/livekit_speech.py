"""What LiveKit's plugin for OpenAI makes of the worker; runs in an environment of its own.

    python livekit_speech.py SETUP FOLDER TEXT OTHER_SETUP...

SETUP: a Python file that makes the plugin's ``tts``. Writes the audio of ``synthesize``, and that of a
session, which goes through ``StreamAdapter``, to the folder as pcm, and its findings to stdout as JSON. Of
each other setup, ``synthesize`` alone, to a file of its name.
"""

import asyncio
import json
import runpy
import sys
from importlib.metadata import version
from pathlib import Path

from livekit import rtc
from livekit.agents import APIConnectOptions, APIStatusError
from livekit.agents.tts import TTS, StreamAdapter


def pcm(frames: list[rtc.AudioFrame]) -> bytes:
    assert {(frame.sample_rate, frame.num_channels) for frame in frames} == {(24_000, 1)}
    return b"".join(bytes(frame.data) for frame in frames)


def made_by(setup: str, replies: list[list[object]]) -> TTS:
    """Returns the setup's ``tts``, which notes the replies that it gets."""
    tts = runpy.run_path(setup)["tts"]

    async def note(reply) -> None:
        names = ("content-type", "x-seed", "x-voice-id")
        replies.append([reply.status_code, *(reply.headers.get(name) for name in names)])

    tts._client._client.event_hooks = {"response": [note]}
    return tts


async def speak(tts: TTS, text: str) -> bytes:
    async with tts.synthesize(text, conn_options=APIConnectOptions(max_retry=1)) as stream:
        return pcm([audio.frame async for audio in stream])


async def speak_as_a_session_does(tts: TTS, text: str) -> bytes:
    async with StreamAdapter(tts=tts).stream() as stream:
        for word in text.split():
            stream.push_text(word + " ")
        stream.end_input()
        return pcm([audio.frame async for audio in stream])


async def main() -> None:
    setup, folder, text, *others = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    replies, other_replies = [], []
    tts = made_by(setup, replies)
    (folder / "whole.pcm").write_bytes(await speak(tts, text))
    session = await speak_as_a_session_does(tts, f"{text} It left at noon, with nobody on it.")
    (folder / "session.pcm").write_bytes(session)
    tts.update_options(voice="nobody")
    refused = None
    try:
        await speak(tts, text)
    except APIStatusError as error:
        refused = [error.status_code, error.retryable]
    await tts.aclose()
    for other in others:
        tts = made_by(other, other_replies)
        (folder / Path(other).name).with_suffix(".pcm").write_bytes(await speak(tts, text))
        await tts.aclose()
    found = {"version": version("livekit-plugins-openai"), "replies": replies, "refused": refused}
    print(json.dumps({**found, "others": other_replies}))


if __name__ == "__main__":
    asyncio.run(main())
