"""Turbo's conditionals of a recording, against upstream's ``ChatterboxTurboTTS.prepare_conditionals``."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import soundfile
import torch
from chatterbox.tts_turbo import ChatterboxTurboTTS

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import ReferenceTooShort
from speech.models.spec import TURBO
from speech.reference.encoder import at_loudness
from speech.upstream import build_voice_encoder
from speech.weights.modules import assign_weights
from tests.speech.reference.recordings import NAMES, recording

LEVELS = {"quiet": 0.05, "as it is": 1.0}


@pytest.fixture(scope="module")
def upstreams(upstream_turbo, turbo_checkpoint):
    """Upstream's class around the modules of the checkpoint, which its constructor would fix in size."""
    voice_encoder = build_voice_encoder(upstream_turbo.dimensions)
    assign_weights(voice_encoder, turbo_checkpoint.folder / TURBO.files.voice_encoder, torch.device("cpu"))
    return SimpleNamespace(
        t3=upstream_turbo.t3,
        s3gen=upstream_turbo.s3gen._s3gen,
        ve=voice_encoder,
        device="cpu",
        ENC_COND_LEN=ChatterboxTurboTTS.ENC_COND_LEN,
        DEC_COND_LEN=ChatterboxTurboTTS.DEC_COND_LEN,
        norm_loudness=lambda *arguments: ChatterboxTurboTTS.norm_loudness(None, *arguments).astype("float32"),
        conds=None,
    )


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("duration_s", [5.1, 15.5, 31.0])
def test_conditionals_are_upstreams(turbo, upstream_turbo, upstreams, tmp_path, duration_s, level):
    one = recording(NAMES[0], duration_s)
    waveform = Waveform(level * one.samples, one.sample_rate_hz)
    soundfile.write(tmp_path / "voice.wav", waveform.samples, MODEL_SAMPLE_RATE_HZ, subtype="FLOAT")
    ChatterboxTurboTTS.prepare_conditionals(upstreams, tmp_path / "voice.wav")
    t3, gen = upstreams.conds.t3, upstreams.conds.gen
    for model in (turbo, upstream_turbo):
        ours = model.reference_encoder.compute(waveform)
        assert ours.fits(TURBO.conditioning)
        assert torch.equal(ours.t3_prompt_tokens, t3.cond_prompt_speech_tokens)
        assert torch.equal(ours.prompt_tokens, gen["prompt_token"])
        for found, expected in (
            (ours.speaker_embedding, t3.speaker_emb),
            (ours.prompt_mel, gen["prompt_feat"]),
            (ours.xvector, gen["embedding"]),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("duration_s", [0.4, 4.0, 5.0])
def test_a_recording_that_is_too_short_is_refused(turbo, upstream_turbo, duration_s):
    for model in (turbo, upstream_turbo):
        with pytest.raises(ReferenceTooShort) as refused:
            model.reference_encoder.compute(recording(NAMES[0], duration_s))
        assert f"{duration_s:.2f} s long" in str(refused.value)


def test_silence_stays_as_it_is():
    silence = Waveform(0.0 * recording(NAMES[0], 6.0).samples, MODEL_SAMPLE_RATE_HZ)
    assert at_loudness(silence, -27.0) is silence
