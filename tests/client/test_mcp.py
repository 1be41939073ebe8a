"""``voice-worker mcp``, asked over stdio by the MCP SDK's own client."""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path

import pytest
import soundfile

mcp = pytest.importorskip("mcp", reason="the client's extra of that name")

from tests.client.conftest import client_of  # noqa: E402
from tests.client.platform import KEY  # noqa: E402
from tests.job_server import REPOSITORY  # noqa: E402
from tests.recordings import speech_like, wav_bytes  # noqa: E402

TEXT = "Nobody knew. The ship left at dawn."


def asking(platform, *arguments):
    """The SDK's client of the command, which runs in a process of its own."""
    command = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "chatterbox_voice.cli", "mcp", *arguments],
        env={
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "client"), *sys.path]),
            "VOICE_WORKER_ENDPOINT": platform.address,
            "VOICE_WORKER_API_KEY": KEY,
        },
    )
    return mcp.Client(mcp.stdio_client(command))


async def test_an_assistant_lists_voices_and_speaks(endpoint):
    with client_of(endpoint) as client:
        recording = wav_bytes(speech_like(6.0, 24_000, 1), 24_000)
        voice = client.clone(recording, "Ada", preview=False, gender="female")
        expected = client.speak(TEXT, voice="Ada", seed=7)
    async with asking(endpoint) as assistant:
        tools = {tool.name: tool for tool in (await assistant.list_tools()).tools}
        assert set(tools) == {"speak", "list_voices"}
        assert tools["speak"].input_schema["required"] == ["text"]
        listed = await assistant.call_tool("list_voices", {})
        (found,) = listed.structured_content["result"]
        assert (found["id"], found["name"], found["gender"]) == (voice.id, "Ada", "female")
        spoken = await assistant.call_tool("speak", {"text": TEXT, "voice": "Ada", "seed": 7})
        audio, said = spoken.content
        assert audio.mime_type == "audio/mpeg"
        assert base64.b64decode(audio.data) == expected.audio
        assert "seed 7" in said.text
        refused = await assistant.call_tool("speak", {"text": TEXT, "voice": "Nobody"})
        assert refused.is_error
        assert "voice_not_found" in refused.content[0].text


async def test_speech_goes_into_a_folder(endpoint, tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    async with asking(endpoint, "--folder", str(folder)) as assistant:
        spoken = await assistant.call_tool("speak", {"text": TEXT, "format": "wav"})
    (content,) = spoken.content
    path = Path(content.text.splitlines()[0])
    assert path.parent == folder
    assert soundfile.info(io.BytesIO(path.read_bytes())).duration > 1


async def test_markup_and_subtitles_are_asked_for(endpoint, tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    asked = {"text": "It is late. [pause:2s] Good night.", "subtitles": "vtt"}
    async with asking(endpoint) as assistant:
        spoken = await assistant.call_tool("speak", asked)
        plain = await assistant.call_tool("speak", {**asked, "markup": "plain"})
    _, _, subtitles = spoken.content
    assert subtitles.text.startswith("WEBVTT")
    assert "[pause" not in subtitles.text
    assert "[pause:2s]" in plain.content[2].text
    async with asking(endpoint, "--folder", str(folder)) as assistant:
        (content,) = (await assistant.call_tool("speak", {**asked, "subtitles": "srt"})).content
    audio, written, _ = content.text.splitlines()
    assert Path(written) == Path(audio).with_suffix(".srt")
    assert "Good night" in Path(written).read_text("utf-8")
