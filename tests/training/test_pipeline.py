"""Every stage after the speech, a step each, from recordings to a checkpoint that a worker loads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import load_model, read_config
from training import __main__ as training
from training import assemble, mels
from training.codes import Voices
from training.data import INDEX, RATE_HZ, Sentence
from training.origins import note_finished
from training.t3 import SHARPNESS

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
    note_finished(tmp_path, "speech", {})
    return tmp_path


def run(folder: Path, *stages: str) -> None:
    for stage in stages:
        training.main([stage, "--folder", str(folder)])


def written_when(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in (*folder.glob("*.npz"), *folder.glob("*.pt"))}


def test_a_checkpoint_comes_out_that_a_worker_loads(folder, monkeypatch):
    run(folder, *STAGES)
    checkpoint = folder / "checkpoint"
    config = read_config(checkpoint)
    assert (config.dimensions, config.kind) == (TINY, "demonstration")
    assert (
        config.default_parameters["repetition_penalty"] > CHATTERBOX.default_parameters["repetition_penalty"]
    )
    model = load_model(CHATTERBOX, Checkpoint(checkpoint, None, may_be_unpublished=True), torch.device("cpu"))
    assert model.builtin_voice.fits(CHATTERBOX.conditioning)
    # T3's head is sharper than it was trained, its tables within the steps of eight bits.
    trained = assemble.read_average(folder / "t3.pt", "t3.")["speech_head.weight"] * SHARPNESS
    written = load_file(checkpoint / CHATTERBOX.files.t3)["speech_head.weight"]
    assert written.element_size() == 1
    assert torch.allclose(written.float(), trained, rtol=2**-4, atol=2**-10)

    made = written_when(folder)
    run(folder, *STAGES)
    assert written_when(folder) == made  # by no stage again

    monkeypatch.setitem(training.STEPS, "flow", 2)
    with pytest.raises(SystemExit, match="flow.pt is not finished: run STAGE=flow again"):
        run(folder, "mels")

    index = folder / "speech" / INDEX
    index.write_text(index.read_text().replace("ferry", "boat"))
    with pytest.raises(SystemExit, match="features was made with another speech/sentences.jsonl: remove it"):
        run(folder, "features")
    with pytest.raises(SystemExit, match="t3.pt was made with another speech/sentences.jsonl"):
        run(folder, "t3")


def test_the_mels_that_the_flow_draws_are_those_of_the_sentences_at_their_place(folder):
    """With a flow that gives back what it was trained on, prompt and sound belong together."""
    run(folder, "features")
    work = training.Work(folder, 12_000, 0)
    sentences = work.read()
    codes = [torch.arange(len(one.mel) // 2) + 200 * index for index, (_, one) in enumerate(sentences)]

    class Flow:
        def inference(self, *, token, prompt_token, prompt_feat, **_: object):
            for prompt, mel in zip(prompt_token, prompt_feat, strict=True):
                frames = torch.from_numpy(sentences[int(prompt[0]) // 200][1].mel.astype("float32"))
                assert torch.equal(mel, frames[: 2 * len(prompt)])
            drawn = []
            for row in token:
                first = int(row[0]) % 200 * 2
                mel = sentences[int(row[0]) // 200][1].mel[first : first + 2 * len(row)]
                drawn.append(torch.from_numpy(mel.T.astype("float32")))
            return torch.stack(drawn), None

    voices = {one.speaker: Voices(torch.zeros(1, 256), torch.zeros(1, 192)) for one, _ in sentences}
    mels.write_mels(Flow(), sentences, codes, voices, folder / "mels.npz")
    drawn = mels.read_mels(folder / "mels.npz")
    for index, first, mel in zip(drawn.sentences, drawn.first_frames, drawn.mels, strict=True):
        assert np.array_equal(mel, sentences[index][1].mel[first : first + len(mel)])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["checkpoint"], "tokenizer.pt is not there: run STAGE=tokenizer first"),
        (["codes"], "features is not there: run STAGE=features first"),
        (["texts", "--sentences", "3"], "must be 1000 or more"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(folder, capsys, arguments, says):
    with pytest.raises(SystemExit) as ended:
        training.main([*arguments, "--folder", str(folder)])
    assert says in str(ended.value) + capsys.readouterr().err


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="File exists"):
        training.main(["texts", "--folder", str(tmp_path / "file")])
