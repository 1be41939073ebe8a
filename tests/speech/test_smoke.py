"""The untrained checkpoint: the same each time, laid out as the published one, lengths like speech."""

from __future__ import annotations

import filecmp
import json

import numpy as np
import pytest
import torch

from speech.contract import SpeechParams
from speech.decoders import make_decoder
from speech.smoke import CODEBOOK, SPEECH_PER_TEXT_TOKEN, main, write_smoke_checkpoint
from speech.t3.request import DecodeRequest
from speech.t3.sampling import Sampling
from speech.variants import CHATTERBOX


def test_the_same_seed_writes_the_same_files(smoke_checkpoint, tmp_path):
    write_smoke_checkpoint(tmp_path)
    names = [*CHATTERBOX.files, "config.json"]
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
    assert json.loads((tmp_path / "new" / "folder" / "config.json").read_text())["untrained"] is True


@pytest.mark.parametrize("cfg_weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "text", ["Yes.", "A sentence of some forty letters, or so.", "Word after word. " * 16]
)
def test_length_follows_the_text_and_ids_are_speech(our_model, text, cfg_weight):
    voice = our_model.builtin_voice
    text_tokens = our_model.tokenizer.encode(text)
    sampling = Sampling(cfg_weight, 0.8, 1.0, 0.05, 1.2)
    (decoded,) = make_decoder(our_model).decode(
        [
            DecodeRequest(
                voice.speaker_embedding, voice.t3_prompt_tokens, 0.5, text_tokens, sampling, 1000, seed=0
            )
        ]
    )
    assert decoded.stopped
    assert len(decoded.tokens) == pytest.approx(SPEECH_PER_TEXT_TOKEN * len(text_tokens), rel=0.15, abs=6)
    assert int(decoded.tokens.max()) < CODEBOOK


def test_audio_is_at_the_level_of_speech(engine):
    samples = engine.speak("A sentence to listen to.", None, SpeechParams(seed=0)).waveform.samples
    level_dbfs = 20 * np.log10(np.sqrt(np.mean(samples**2)))
    assert -35 < level_dbfs < -10
    assert np.abs(samples).max() < 1
