"""A model that nobody has published speaks by its ``ModelSpec`` alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from audio.waveform import Waveform
from cancel import CancelToken
from settings import Settings
from speech.contract import SamplingParams, Utterance
from speech.models import spec as specs
from speech.models.dimensions import FULL, TINY
from speech.models.spec import Conditioning, FlowSpec, ModelSource, ModelSpec, SpecialTokens, WeightFiles
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer
from speech.smoke import write_smoke_checkpoint
from speech.t3 import batch as batch_module
from speech.text import split_text
from tests.recordings import speech_like

MADE_UP = ModelSpec(
    name="made-up",
    repository="nobody/made-up",
    files=WeightFiles(
        t3="t3_made_up.safetensors",
        s3gen="sound.safetensors",
        voice_encoder="voices.safetensors",
        tokenizer=("letters.json",),
        builtin_voice="own_voice.pt",
    ),
    family="llama",
    dimensions=FULL,
    tokenizer="english",
    languages=("en", "eo"),
    tokens=SpecialTokens(start_text=301, stop_text=3, start_speech=6570, stop_speech=6571),
    text_vocabulary=900,
    speech_vocabulary=6600,
    conditioning=Conditioning(t3_prompt_s=3, t3_prompt_tokens=60, s3gen_prompt_s=5),
    flow=FlowSpec(steps=4, guidance=0.4),
    sampler=("temperature", "min_p", "top_p", "repetition_penalty"),  # no guidance, penalty last
    default_parameters={"temperature": 0.9, "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.1},
    max_chunk_s=8.0,
    max_speech_tokens=90,
)
DIMENSIONS = replace(TINY, t3_width=48, t3_layers=3, t3_heads=4, flow_width=48, vocoder_width=64)
TEXT = (
    "The harbour was quiet, and the boats lay still on the water. The town behind them woke up, one window "
    "after the other, to a clear morning."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made-up")
    write_smoke_checkpoint(folder, spec=MADE_UP, dimensions=DIMENSIONS)
    return folder


@pytest.fixture
def made_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatterboxSynthesizer]:
    monkeypatch.setitem(specs.MODELS, MADE_UP.name, MADE_UP)
    with closing(load_synthesizer("made-up", checkpoint_dir=folder, device="cpu")) as synthesizer:
        yield synthesizer


def speak(synthesizer: ChatterboxSynthesizer, text: str = TEXT, **params) -> list[Waveform]:
    utterance = Utterance(text, synthesizer.builtin_voice(), 1, SamplingParams(**params))
    return [chunk.waveform for chunk in synthesizer.synthesize([utterance], CancelToken())]


def test_it_speaks_by_its_own_limits(made_up):
    waveforms = speak(made_up)
    assert len(waveforms) == len(split_text(TEXT, MADE_UP.max_chunk_s)) > 1
    for waveform in waveforms:
        assert np.isfinite(waveform.samples).all()
        assert waveform.samples.any()
        assert 0 < waveform.duration_s <= MADE_UP.max_speech_tokens / specs.SPEECH_TOKENS_PER_S


def test_the_settings_know_it(made_up):
    (source,) = Settings.from_env({"MODEL": "made-up"}).models
    assert source == ModelSource("made-up")


def test_its_parameters_are_its_own(made_up):
    resolved = made_up.info.resolve(SamplingParams(temperature=0.5, cfg_weight=0.7))
    assert resolved == {
        "exaggeration": None,
        "cfg_weight": None,
        "temperature": 0.5,
        "top_p": 0.95,
        "min_p": 0.02,
        "repetition_penalty": 1.1,
        "top_k": None,
    }
    assert made_up.info.ignored(SamplingParams(cfg_weight=0.7)) == [
        "cfg_weight has no effect on the made-up model"
    ]


def test_the_sampler_runs_in_its_order(made_up, monkeypatch):
    orders = []
    draw = batch_module.draw

    def watched(*args, order, **options):
        orders.append(order)
        return draw(*args, order=order, **options)

    monkeypatch.setattr(batch_module, "draw", watched)
    speak(made_up, "No.")
    assert set(orders) == {MADE_UP.sampler}


def test_a_new_voice_gets_its_conditioning(made_up):
    recording = Waveform(speech_like(8.0, 24_000, seed=1), 24_000)
    voice = made_up.encode_reference(recording, CancelToken())
    assert voice.t3_prompt_tokens.shape == (1, 60)
    assert voice.prompt_tokens.shape == (1, 125)
    assert voice.fits(MADE_UP.conditioning)
    content = voice.to_bytes("ab" * 32)
    again = made_up.read_conditionals(content, "ab" * 32)
    assert torch.equal(again.prompt_mel, voice.prompt_mel)
