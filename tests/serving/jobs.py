"""Jobs as the platform hands them out."""

import base64

from tests.recordings import speech_like, wav_bytes


def tts(text="Good morning.", job_id="job-1", **fields):
    return {"id": job_id, "input": {"operation": "tts", "text": text, **fields}}


def convert(duration_s=4.0, *, job_id="job-1", operation="convert_voice", **fields):
    source = base64.b64encode(wav_bytes(speech_like(duration_s, 24_000, 5), 24_000)).decode()
    return {"id": job_id, "input": {"operation": operation, "source_audio": source, **fields}}


def clone(name, *, job_id="job-1", preview=False, seed=1):
    recording = base64.b64encode(wav_bytes(speech_like(6.0, 24_000, seed), 24_000)).decode()
    fields = {"voice_name": name, "reference_audio": recording, "preview": preview}
    return {"id": job_id, "input": {"operation": "clone_voice", **fields}}
