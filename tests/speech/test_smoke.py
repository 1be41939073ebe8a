"""The untrained checkpoint: the same each time, laid out as the published one, lengths like speech."""

from __future__ import annotations

import filecmp
import json

import numpy as np
import pytest
import torch

from cancel import CancelToken
from speech.contract import Utterance
from speech.models.spec import CHATTERBOX, CODEBOOK_SIZE
from speech.pipeline import make_batch
from speech.smoke import SPEECH_PER_TEXT_TOKEN, main, write_smoke_checkpoint
from speech.t3.sampling import Sampling
from tests.speech.t3.requests import decode_all, request


def test_the_same_seed_writes_the_same_files(smoke_checkpoint, tmp_path):
    write_smoke_checkpoint(tmp_path)
    names = [*CHATTERBOX.files.all, "config.json"]
    matching, differing, missing = filecmp.cmpfiles(smoke_checkpoint, tmp_path, names, shallow=False)
    assert sorted(matching) == sorted(names), (differing, missing)


def test_another_seed_writes_other_weights(smoke_checkpoint, tmp_path):
    write_smoke_checkpoint(tmp_path, seed=1)
    assert not filecmp.cmp(smoke_checkpoint / "ve.safetensors", tmp_path / "ve.safetensors", shallow=False)


def test_writing_does_not_disturb_the_callers_random_numbers(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    write_smoke_checkpoint(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_the_command_line_says_that_it_is_noise(tmp_path, capsys):
    main([str(tmp_path / "new" / "folder")])
    assert "noise" in capsys.readouterr().out
    assert json.loads((tmp_path / "new" / "folder" / "config.json").read_text())["weights"] == "untrained"


@pytest.mark.parametrize("cfg_weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "text", ["Yes.", "A sentence of some forty letters, or so.", "Word after word. " * 16]
)
def test_length_follows_the_text_and_ids_are_speech(our_model, text, cfg_weight):
    sampling = Sampling(cfg_weight, 0.8, 1.0, 0.05, 1.2)
    one = request(our_model, text, sampling=sampling, max_tokens=1000)
    (decoded,) = decode_all(make_batch(our_model), [one])
    assert decoded.stopped
    expected = SPEECH_PER_TEXT_TOKEN * len(one.text_tokens)
    assert len(decoded.tokens) == pytest.approx(expected, rel=0.15, abs=6)
    assert int(decoded.tokens.max()) < CODEBOOK_SIZE


def test_audio_is_at_the_level_of_speech(synthesizer):
    utterance = Utterance("A sentence to listen to.", synthesizer.builtin_voice(), seed=0)
    (chunk,) = synthesizer.synthesize([utterance], CancelToken())
    samples = chunk.waveform.samples
    level_dbfs = 20 * np.log10(np.sqrt(np.mean(samples**2)))
    assert -35 < level_dbfs < -10
    assert np.abs(samples).max() < 1
