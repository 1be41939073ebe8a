"""Dialogues by the real modules: twenty turns of four voices are what each of them is alone."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import webvtt

from operations.script import TURN_SEED_STEP
from tests.fakes import build_services
from tests.operations.conftest import run_operation, start_operation
from tests.recordings import speech_like, wav_bytes

RATE_HZ = 24_000
SEED = 40
NAMES = ["Ada", "Bo", "李雷", "Zoë"]
SAYINGS = [
    "Where were you last night?",
    "At the harbour, counting crates.",
    "Nobody saw you there.",
    "Then nobody looked.",
    "It was raining.",
]


@pytest.fixture(scope="module")
def services(synthesizer, tmp_path_factory):
    services = build_services(tmp_path_factory.mktemp("voices"), synthesizer)
    for number, name in enumerate(NAMES, start=1):
        recording = base64.b64encode(wav_bytes(speech_like(7.0, RATE_HZ, number), RATE_HZ)).decode()
        fields = {"voice_name": name, "reference_audio": recording, "preview": False}
        run_operation(services, "clone_voice", **fields)
    return services


def test_twenty_turns_of_four_voices_are_what_each_is_alone(services, synthesizer):
    turns = [{"voice_name": NAMES[index % 4], "text": SAYINGS[index % 5]} for index in range(20)]
    result = start_operation(services, "tts", turns=turns, seed=SEED, subtitles="vtt")
    chunks, rows = [], []
    for chunk in result.chunks:
        rows.append(synthesizer.usage.rows_in_use)
        chunks.append(chunk)
    receipt = result.receipt()
    assert max(rows) > 2, "several turns are in the batch at once"
    assert [segment["voice"] for segment in receipt["segments"]] == NAMES * 5
    for index in range(20):
        own = [chunk for chunk in chunks if chunk.utterance == index]
        spoken = np.concatenate([chunk.waveform.samples for chunk in own])
        fields = {"voice_name": NAMES[index % 4], "text": SAYINGS[index % 5]}
        alone = run_operation(services, "tts", seed=SEED + index * TURN_SEED_STEP, **fields)
        np.testing.assert_allclose(spoken, alone["samples"], rtol=0, atol=5e-6)
        assert spoken.any()
    captions = list(webvtt.from_buffer(io.StringIO(receipt["subtitles"])))
    speakers = [caption.voice for caption in captions]
    assert [name for name, before in zip(speakers, [None, *speakers], strict=False) if name != before] == (
        NAMES * 5
    )


def test_a_text_with_everything_is_one_reply(services):
    text = (
        "[pause:0.2s]Hello [voice:Bo]there,[pause:1s] [voice:李雷][rate:1.5]it is 5 o'clock."
        "[voice:] Good night."
    )
    reply = run_operation(services, "tts", text=text, timestamps="words", even_level=True, room_tone=True)
    assert [segment["voice"] for segment in reply["segments"]] == [None, "Bo", "李雷", None]
    assert reply["segments"][2]["spoken"] == "it is five o'clock."
    assert np.isfinite(reply["samples"]).all()
    assert reply["segments"][2]["start"] - reply["segments"][1]["end"] == pytest.approx(1.0, abs=1e-3)
    assert len(reply["words"]) == 8
