"""Reference encoder: a recording to ``Conditionals``.

The values are those of upstream's ``ChatterboxTTS.prepare_conditionals`` and ``S3Token2Mel.embed_ref``
(chatterbox-tts 0.1.7), with three departures: samples come in instead of a path, the speech tokenizer runs
once over a batch of both prompts instead of twice, and nothing is left behind on the model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from errors import ReferenceTooShort
from speech.models.dimensions import ModelDimensions
from speech.models.spec import MEL_FRAMES_PER_TOKEN, Conditioning, ModelSpec
from speech.reference import speech_tokenizer, voice_encoder, xvector
from speech.reference.conditionals import Conditionals
from speech.reference.shapes import tokenizer_shapes, voice_encoder_shapes, xvector_shapes
from speech.reference.spectra import (
    ENCODER_SAMPLE_RATE_HZ,
    resample_prompt,
    s3gen_mel,
    tokenizer_mel,
    trim,
    voice_encoder_mel,
    xvector_features,
)
from speech.s3gen.weights import WeightsView
from speech.weights.files import check_shapes, read_weights

log = logging.getLogger(__name__)

# Below this the tokenizer's and the mel's window reflections fail; callers' limits are far above.
MIN_REFERENCE_S = 0.5

# Of the weights in S3Gen's file, those of a reference encoder (``S3Gen.state_dict()``).
_TOKENIZER, _XVECTOR = "tokenizer.", "speaker_encoder."


class RecordingEncoder(Protocol):
    """``ReferenceEncoder``, or upstream's behind the same interface."""

    def compute(self, waveform: Waveform) -> Conditionals:
        """Returns the conditionals of a 24 kHz recording, on the CPU. Raises ReferenceTooShort."""
        ...


def load_reference_encoder(
    folder: Path, spec: ModelSpec, dimensions: ModelDimensions, device: torch.device
) -> ReferenceEncoder:
    """Loads what a checkpoint has for new voices. Raises ModelUnavailable.

    On a CPU the weights stay in the file, of which the first recording reads them.
    """
    started = time.perf_counter()
    files = spec.files
    of_voice_encoder = read_weights(folder / files.voice_encoder, device)
    of_s3gen = read_weights(folder / files.s3gen, device, (_TOKENIZER, _XVECTOR))
    check_shapes(of_voice_encoder, voice_encoder_shapes(dimensions), files.voice_encoder)
    encoder = ReferenceEncoder(
        tokenizer=speech_tokenizer.prepare(
            _below(_TOKENIZER, of_s3gen, tokenizer_shapes(dimensions), files.s3gen)
        ),
        camp_plus=xvector.prepare(_below(_XVECTOR, of_s3gen, xvector_shapes(dimensions), files.s3gen)),
        voice_encoder=voice_encoder.prepare(of_voice_encoder),
        conditioning=spec.conditioning,
        device=device,
    )
    size_bytes = sum(tensor.nbytes for tensor in (*of_voice_encoder.values(), *of_s3gen.values()))
    log.info("reference encoder: %.0f MB in %.2f s", size_bytes / 1e6, time.perf_counter() - started)
    return encoder


def _below(
    prefix: str, weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], file: str
) -> dict[str, Tensor]:
    """Returns the tensors of one network by its own names. Raises ModelUnavailable when they do not fit."""
    network = {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
    check_shapes(network, shapes, file, may_exceed=True)
    return {name: network[name] for name in shapes}


def check_duration(waveform: Waveform) -> None:
    """Raises ReferenceTooShort for less than half a second."""
    if waveform.duration_s < MIN_REFERENCE_S:
        raise ReferenceTooShort(
            f"the reference audio is {waveform.duration_s:.2f} s long", hint="send at least 2 s of speech"
        )


class ReferenceEncoder:
    """Speech tokenizer, CAMPPlus, voice encoder and their mels."""

    def __init__(
        self,
        *,
        tokenizer: WeightsView,
        camp_plus: WeightsView,
        voice_encoder: WeightsView,
        conditioning: Conditioning,
        device: torch.device,
    ) -> None:
        self._tokenizer, self._camp_plus, self._voice_encoder = tokenizer, camp_plus, voice_encoder
        self._conditioning, self._device = conditioning, device

    @torch.inference_mode()
    def compute(self, waveform: Waveform) -> Conditionals:
        """Returns the conditionals of a 24 kHz recording, on the CPU.

        Raises ReferenceTooShort under half a second.
        """
        assert waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ
        check_duration(waveform)
        conditioning, device = self._conditioning, self._device
        # Copied: a stored voice's samples are the store's own, and read-only.
        prompt_24k = torch.tensor(waveform.first(conditioning.s3gen_prompt_s).samples, device=device)[None]
        # Upstream resamples S3Gen's prompt with torchaudio and the rest with soxr.
        prompt_16k = resample_prompt(prompt_24k)[0]
        samples_16k = resample(waveform, ENCODER_SAMPLE_RATE_HZ).samples
        t3_samples = round(conditioning.t3_prompt_s * ENCODER_SAMPLE_RATE_HZ)
        t3_prompt_16k = torch.from_numpy(samples_16k[:t3_samples]).to(device)

        prompt_mel = s3gen_mel(prompt_24k).transpose(1, 2)
        longest_frames = conditioning.t3_prompt_tokens * speech_tokenizer.FRAMES_PER_TOKEN
        mels = [tokenizer_mel(prompt_16k), tokenizer_mel(t3_prompt_16k)[:, :longest_frames]]
        prompt_tokens, t3_prompt_tokens = speech_tokenizer.tokenize(self._tokenizer, mels)
        voice_mel = torch.from_numpy(voice_encoder_mel(trim(samples_16k))).to(device)
        return Conditionals(
            speaker_embedding=voice_encoder.embed(self._voice_encoder, voice_mel),
            t3_prompt_tokens=t3_prompt_tokens[None],
            # The mel rounds down where the tokenizer rounds up.
            prompt_tokens=prompt_tokens[None, : prompt_mel.shape[1] // MEL_FRAMES_PER_TOKEN],
            prompt_mel=prompt_mel,
            xvector=xvector.embed(self._camp_plus, xvector_features(prompt_16k)),
        ).to(torch.device("cpu"))
