"""Reference encoder: a recording to ``Conditionals``.

The values are those of upstream's ``ChatterboxTTS.prepare_conditionals`` and ``S3Token2Mel.embed_ref``
(chatterbox-tts 0.1.7), with three departures: samples come in instead of a path, the speech tokenizer runs
once over a batch of both prompts instead of twice, and nothing is left behind on the model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio.loudness import measure_loudness_lufs
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
from speech.transfer import upload
from speech.weights.checkpoint import Checkpoint
from speech.weights.files import check_shapes, read_weights

log = logging.getLogger(__name__)

# Below this the tokenizer's and the mel's window reflections fail; callers' limits are far above.
MIN_REFERENCE_S = 0.5

# Of the weights in S3Gen's file, those of a reference encoder (``S3Gen.state_dict()``).
_TOKENIZER, _XVECTOR = "tokenizer.", "speaker_encoder."


class RecordingEncoder(Protocol):
    """``ReferenceEncoder``, or upstream's behind the same interface."""

    def prepare(self, waveform: Waveform) -> Any:
        """Computes what can be computed without the device, for any thread. Raises ReferenceTooShort.

        waveform: at 24 kHz.
        """
        ...

    def encode(self, prepared: Any) -> Conditionals:
        """Returns the conditionals, on the CPU, of a recording that ``prepare`` has prepared.

        For the one thread that submits work to the device.
        """
        ...

    def tokenize(self, samples_16k: NDArray[np.float32]) -> Tensor:
        """Returns the speech tokens, int64 [ceil(n / 640)], of a recording [n] of at most 30 s at 16 kHz.

        They are on the device. For the one thread that submits work to it.
        """
        ...

    def compute(self, waveform: Waveform) -> Conditionals:
        """Prepares and encodes a recording."""
        return self.encode(self.prepare(waveform))


@dataclass(frozen=True, eq=False)
class PreparedRecording:
    """What a recording's networks take, as far as the host computes it. Arrays that can be written to."""

    s3gen_prompt_24k: NDArray[np.float32]  # [n], the first seconds
    t3_prompt_16k: NDArray[np.float32]  # [n], the first seconds
    voice_mel: NDArray[np.float32]  # [T, 40], of all but the silence around it


def load_reference_encoder(
    checkpoint: Checkpoint, spec: ModelSpec, dimensions: ModelDimensions, device: torch.device
) -> ReferenceEncoder:
    """Loads what a checkpoint has for new voices. Raises ModelUnavailable.

    On a CPU the weights stay in the file, of which the first recording reads them.
    """
    started = time.perf_counter()
    files = spec.files
    of_voice_encoder = read_weights(checkpoint.file(files.voice_encoder), device)
    of_s3gen = read_weights(checkpoint.file(files.s3gen), device, (_TOKENIZER, _XVECTOR))
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


def reference_shapes(dimensions: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """Returns name and shape of what a reference encoder reads of S3Gen's file."""
    networks = ((_TOKENIZER, tokenizer_shapes(dimensions)), (_XVECTOR, xvector_shapes(dimensions)))
    return {prefix + name: shape for prefix, shapes in networks for name, shape in shapes.items()}


def _below(
    prefix: str, weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], file: str
) -> dict[str, Tensor]:
    """Returns the tensors of one network by its own names. Raises ModelUnavailable when they do not fit."""
    network = {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
    check_shapes(network, shapes, file, may_exceed=True)
    return {name: network[name] for name in shapes}


def check_duration(waveform: Waveform, conditioning: Conditioning) -> None:
    """Raises ReferenceTooShort for less than half a second, or than the model asks for."""
    if waveform.duration_s < MIN_REFERENCE_S:
        raise ReferenceTooShort(
            f"the reference audio is {waveform.duration_s:.2f} s long", hint="send at least 2 s of speech"
        )
    if conditioning.least_s and waveform.duration_s <= conditioning.least_s:
        raise ReferenceTooShort(
            f"the reference audio is {waveform.duration_s:.2f} s long, and this model needs more than "
            f"{conditioning.least_s:g} s",
            hint="send a longer recording, 10 s of speech if you can",
        )


def at_loudness(waveform: Waveform, target_lufs: float | None) -> Waveform:
    """Returns a recording at a loudness, as ``ChatterboxTurboTTS.norm_loudness`` does.

    Silence, whose loudness cannot be measured, and a target of None change nothing.
    """
    loudness_lufs = None if target_lufs is None else measure_loudness_lufs(waveform)
    if target_lufs is None or loudness_lufs is None:
        return waveform
    gain = 10 ** ((target_lufs - loudness_lufs) / 20)
    return Waveform(waveform.samples * np.float32(gain), waveform.sample_rate_hz)


class ReferenceEncoder(RecordingEncoder):
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

    def prepare(self, waveform: Waveform) -> PreparedRecording:
        """Resamples, trims and analyses a recording; see ``RecordingEncoder``."""
        assert waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ
        conditioning = self._conditioning
        check_duration(waveform, conditioning)
        waveform = at_loudness(waveform, conditioning.loudness_lufs)
        # Upstream resamples S3Gen's prompt with torchaudio and the rest with soxr.
        samples_16k = resample(waveform, ENCODER_SAMPLE_RATE_HZ).samples
        return PreparedRecording(
            # Copied: a stored voice's samples are the store's own, and read-only.
            s3gen_prompt_24k=waveform.first(conditioning.s3gen_prompt_s).samples.copy(),
            t3_prompt_16k=samples_16k[: round(conditioning.t3_prompt_s * ENCODER_SAMPLE_RATE_HZ)],
            voice_mel=voice_encoder_mel(trim(samples_16k)),
        )

    @torch.inference_mode()
    def encode(self, prepared: PreparedRecording) -> Conditionals:
        """Runs the networks; see ``RecordingEncoder``."""
        prompt_24k, t3_prompt_16k, voice_mel = (
            upload(torch.from_numpy(array), self._device)
            for array in (prepared.s3gen_prompt_24k, prepared.t3_prompt_16k, prepared.voice_mel)
        )
        prompt_24k = prompt_24k[None]
        prompt_16k = resample_prompt(prompt_24k)[0]
        prompt_mel = s3gen_mel(prompt_24k).transpose(1, 2)
        longest_frames = self._conditioning.t3_prompt_tokens * speech_tokenizer.FRAMES_PER_TOKEN
        mels = [tokenizer_mel(prompt_16k), tokenizer_mel(t3_prompt_16k)[:, :longest_frames]]
        prompt_tokens, t3_prompt_tokens = speech_tokenizer.tokenize(self._tokenizer, mels)
        return Conditionals(
            speaker_embedding=voice_encoder.embed(self._voice_encoder, voice_mel),
            t3_prompt_tokens=t3_prompt_tokens[None],
            # The mel rounds down where the tokenizer rounds up.
            prompt_tokens=prompt_tokens[None, : prompt_mel.shape[1] // MEL_FRAMES_PER_TOKEN],
            prompt_mel=prompt_mel,
            xvector=xvector.embed(self._camp_plus, xvector_features(prompt_16k)),
        ).to(torch.device("cpu"))

    @torch.inference_mode()
    def tokenize(self, samples_16k: NDArray[np.float32]) -> Tensor:
        """Runs the speech tokenizer alone; see ``RecordingEncoder``."""
        mel = tokenizer_mel(upload(torch.from_numpy(samples_16k), self._device))
        (tokens,) = speech_tokenizer.tokenize(self._tokenizer, [mel])
        return tokens
