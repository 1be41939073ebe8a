"""Tools for assistants by the Model Context Protocol, over stdio: ``speak`` and ``list_voices``."""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path
from typing import Any, Literal

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import AudioContent, ContentBlock, TextContent

from chatterbox_voice.client import AsyncClient
from chatterbox_voice.errors import VoiceWorkerError
from chatterbox_voice.formats import media_type

INSTRUCTIONS = "Speaks texts in cloned voices. Ask list_voices for the names that speak takes as voice."


def build_server(client: AsyncClient, folder: Path | None, version: str = "") -> MCPServer[Any]:
    """Returns the server. folder: gets each speech as a file, whose path is the result; None: the result is
    the audio itself."""
    server: MCPServer[Any] = MCPServer(
        "voice-worker", instructions=INSTRUCTIONS, version=version, log_level="WARNING"
    )

    async def speak(
        text: str,
        voice: str | None = None,
        format: Literal["mp3", "wav", "flac", "opus"] = "mp3",
        speed: float | None = None,
        seed: int | None = None,
        language: str | None = None,
        model: str | None = None,
        markup: Literal["tags", "ssml", "plain"] = "tags",
        subtitles: Literal["srt", "vtt"] | None = None,
    ) -> list[ContentBlock]:
        """Speak a text aloud in a voice, and return the audio or the path of the audio file.

        voice: the name of a stored voice, from list_voices; none: the built-in voice. speed: 0.25 to 4.
        seed: the same one gives the same audio. language: of the text, a code such as "de"; none: the
        voice's, or the worker's default. model: a model of the worker; none: one that speaks the language.
        markup: what the text may hold. "tags": [pause:1.5s], [voice:NAME], [lang:CODE] and [rate:0.9], of
        which the last three hold until the next such tag, and [voice:] ends it; "ssml": a <speak> document;
        "plain": nothing else than what is read aloud. subtitles: return them too, in that format.
        """
        fields: dict[str, Any] = {"speed": speed, "seed": seed, "language": language, "model": model}
        fields |= {"markup": markup, "subtitles": subtitles}
        try:
            speech = await client.speak(text, voice=voice, format=format, **fields)
        except VoiceWorkerError as error:
            raise ToolError(str(error)) from None
        said = f"{speech.duration_s:.1f} s of speech, seed {speech.seed}"
        said = "\n".join([said, *(f"warning: {warning}" for warning in speech.warnings)])
        if folder is not None:
            name = f"speech-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}.{format}"
            path = await anyio.to_thread.run_sync(speech.save, folder / name)
            paths = [path]
            if speech.subtitles:
                beside = path.with_suffix(f".{subtitles}")
                paths.append(await anyio.to_thread.run_sync(speech.save_subtitles, beside))
            return [TextContent(type="text", text="\n".join([*map(str, paths), said]))]
        audio = AudioContent(
            type="audio",
            data=base64.b64encode(speech.audio).decode("ascii"),
            mime_type=media_type(format, speech.sample_rate),
        )
        content: list[ContentBlock] = [audio, TextContent(type="text", text=said)]
        return [*content, TextContent(type="text", text=speech.subtitles)] if speech.subtitles else content

    async def list_voices(query: str | None = None) -> list[dict[str, Any]]:
        """List the stored voices. query: only those with this text in their name, description or tags."""
        try:
            voices = await client.voices(query=query)
        except VoiceWorkerError as error:
            raise ToolError(str(error)) from None
        details = ("description", "gender", "language", "tags")
        return [
            {"name": voice.name, "id": voice.id, **{name: voice.details.get(name) for name in details}}
            for voice in voices
        ]

    server.add_tool(speak, structured_output=False)
    server.add_tool(list_voices)
    return server
