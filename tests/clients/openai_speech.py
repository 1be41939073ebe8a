"""What OpenAI's SDK makes of the worker; runs in an environment of its own, for one version of the SDK.

    python openai_speech.py ADDRESS FOLDER VOICE

Writes what it got to the folder, one file a call, and its findings to stdout as JSON.
"""

import asyncio
import json
import sys
from pathlib import Path

import openai

TEXT = "The ferry was late again, and nobody minded."
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


def main() -> None:
    address, folder, voice = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="a-key-of-the-tests", max_retries=0)
    speech = {"model": "tts-1", "voice": voice, "input": TEXT, "extra_body": {"seed": 7}}
    found: dict[str, object] = {"version": openai.__version__, "types": {}}

    reply = client.audio.speech.create(**speech)
    reply.write_to_file(folder / "created.mp3")
    dialogue = {"seed": 7, "turns": [{"text": TEXT}]}
    reply = client.audio.speech.create(**{**speech, "input": "", "extra_body": dialogue})
    reply.write_to_file(folder / "dialogue.mp3")
    for format in FORMATS:
        with client.audio.speech.with_streaming_response.create(**speech, response_format=format) as reply:
            reply.stream_to_file(folder / f"streamed.{format}")
            found["types"][format] = reply.headers["content-type"]
    sse = {**speech, "extra_body": {"seed": 7, "stream_format": "sse"}}
    with client.audio.speech.with_streaming_response.create(**sse) as reply:
        found["events"] = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: ")]
    found["models"] = [model.id for model in client.models.list()]
    found["model"] = client.models.retrieve("tts-1").id
    found["voices"] = client.get("/audio/voices", cast_to=object)["voices"]
    found["errors"] = [error_of(client, speech | wrong) for wrong in ({"voice": "nobody"}, {"input": "..."})]
    found["no key"] = error_of(client.with_options(api_key="wrong"), speech)
    asyncio.run(speak_async(address, folder, speech))
    print(json.dumps(found))


def error_of(client: openai.OpenAI, speech: dict[str, object]) -> list[object]:
    try:
        client.audio.speech.create(**speech)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code, error.param]
    return ["no error"]


async def speak_async(address: str, folder: Path, speech: dict[str, object]) -> None:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="a-key-of-the-tests") as client:
        reply = await client.audio.speech.create(**speech)
        (folder / "async.mp3").write_bytes(await reply.aread() if hasattr(reply, "aread") else reply.content)


if __name__ == "__main__":
    main()
