"""Every stage after the speech, a step each, from recordings to a checkpoint that a worker loads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX
from speech.weights.find import Checkpoint
from speech.weights.load import load_model, read_config
from training import __main__ as training
from training import assemble, mels
from training.data import INDEX, RATE_HZ, Sentence

SAMPLES = Path(__file__).parent.parent / "speech_samples"
STAGES = tuple(training.STAGES)[2:]  # those after the texts and the speech


def write_speech(folder: Path) -> None:
    """Writes three sentences of each of two speakers, as the stage ``speech`` does."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(6):
        name = ("slt", "rms")[number % 2]
        samples, _ = soundfile.read(SAMPLES / f"{name}-ferry.flac", dtype="float32")
        samples = np.roll(np.tile(samples, 2), number * 1000)[: 4 * RATE_HZ]
        soundfile.write(folder / f"{number}.flac", samples, RATE_HZ)
        duration_s = len(samples) / RATE_HZ
        phones = [("pau", 0.1), ("f", 0.3), ("eh", duration_s)]
        sentence = Sentence(number, "The ferry was late.", f"{name}*1.00", duration_s, phones)
        lines.append(json.dumps(dataclasses.asdict(sentence)) + "\n")
    (folder / INDEX).write_text("".join(lines))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for module in (training, assemble):
        monkeypatch.setattr(module, "SMALL", TINY)
    monkeypatch.setattr(training, "STEPS", dict.fromkeys(training.STEPS, 1))
    monkeypatch.setattr(mels, "COUNT", mels.BATCH)
    write_speech(tmp_path / "speech")
    return tmp_path


def test_a_checkpoint_comes_out_that_a_worker_loads(folder):
    for stage in STAGES:
        training.main([stage, "--folder", str(folder)])
    checkpoint = folder / "checkpoint"
    assert read_config(checkpoint) == (TINY, "demonstration")
    model = load_model(CHATTERBOX, Checkpoint(checkpoint, None, may_be_unpublished=True), torch.device("cpu"))
    assert model.builtin_voice.fits(CHATTERBOX.conditioning)


def test_a_stage_whose_input_is_missing_says_so(folder):
    with pytest.raises(SystemExit, match="checkpoint: "):
        training.main(["checkpoint", "--folder", str(folder)])
