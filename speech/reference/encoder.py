"""Reference encoder: a recording to ``Conditionals``, with upstream's modules.

The values are those of upstream's ``ChatterboxTTS.prepare_conditionals`` and ``S3Token2Mel.embed_ref``
(chatterbox-tts 0.1.7), with three departures: samples come in instead of a path, the speech tokenizer runs
once over a batch of both prompts instead of twice, and nothing is left behind on the model.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
import torchaudio
from s3tokenizer.utils import padding as pad_to_longest
from torch import Tensor, nn

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from errors import ReferenceTooShort
from speech.models.dimensions import ModelDimensions
from speech.models.spec import MEL_FRAMES_PER_TOKEN, Conditioning, ModelSpec
from speech.reference.conditionals import Conditionals
from speech.reference.spectra import ENCODER_SAMPLE_RATE_HZ, s3gen_mel, trim, voice_encoder_mel
from speech.reference.upstream_parts import (
    build_speaker_encoder,
    build_speech_tokenizer,
    build_voice_encoder,
)
from speech.weights.modules import assign_weights, parameters_on_meta

log = logging.getLogger(__name__)

PARTIALS_PER_S = (
    1.3  # windows of 1.6 s that the voice encoder takes the mean of, as ``embeds_from_wavs`` does
)
TOKENIZER_FRAMES_PER_TOKEN = 4  # of the tokenizer's mel: 100 frames and 25 tokens a second
# Below this the tokenizer's and the mel's window reflections fail; callers' limits are far above.
MIN_REFERENCE_S = 0.5

# S3Gen buffers of the tokenizer that upstream computes and the published file leaves out.
TOKENIZER_BUFFERS = frozenset({"_mel_filters", "window"})


def load_reference_encoder(folder: Path, spec: ModelSpec, dimensions: ModelDimensions) -> ReferenceEncoder:
    """Loads, to the CPU, the parts of a checkpoint that speaking in a known voice does without.

    Raises ModelUnavailable.
    """
    device = torch.device("cpu")
    started = time.perf_counter()
    with parameters_on_meta():
        tokenizer = build_speech_tokenizer(dimensions)
        speaker_encoder = build_speaker_encoder(dimensions)
        voice_encoder = build_voice_encoder(dimensions)
    assign_weights(voice_encoder, folder / spec.files.voice_encoder, device)
    file = folder / spec.files.s3gen
    assign_weights(tokenizer, file, device, prefix="tokenizer.", may_lack=TOKENIZER_BUFFERS, may_exceed=True)
    assign_weights(speaker_encoder, file, device, prefix="speaker_encoder.", may_exceed=True)
    log.info("reference encoder in %.1f s", time.perf_counter() - started)
    return ReferenceEncoder(tokenizer, speaker_encoder, voice_encoder, spec.conditioning)


class ReferenceEncoder:
    """Upstream's voice encoder, speech tokenizer, speaker encoder and mel."""

    def __init__(
        self, tokenizer: Any, speaker_encoder: Any, voice_encoder: Any, conditioning: Conditioning
    ) -> None:
        self._tokenizer, self._speaker_encoder = tokenizer, speaker_encoder
        self._voice_encoder = voice_encoder
        self._conditioning = conditioning
        self._device = torch.device("cpu")
        # Upstream resamples S3Gen's prompt with torchaudio and the rest with soxr; so does this class.
        self._to_16k: nn.Module = torchaudio.transforms.Resample(MODEL_SAMPLE_RATE_HZ, ENCODER_SAMPLE_RATE_HZ)

    def to(self, device: torch.device) -> ReferenceEncoder:
        """Moves the encoder to a device, and returns it."""
        for module in (self._tokenizer, self._speaker_encoder, self._voice_encoder, self._to_16k):
            module.to(device)
        if device.type == "cuda":  # weights that were assigned one by one: cuDNN would copy them at each call
            self._voice_encoder.lstm.flatten_parameters()
        self._device = device
        return self

    @torch.inference_mode()
    def compute(self, waveform: Waveform) -> Conditionals:
        """Returns the conditionals of a 24 kHz recording, on the CPU.

        Raises ReferenceTooShort under half a second.
        """
        assert waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ
        if waveform.duration_s < MIN_REFERENCE_S:
            raise ReferenceTooShort(
                f"the reference audio is {waveform.duration_s:.2f} s long", hint="send at least 2 s of speech"
            )
        samples_16k = resample(waveform, ENCODER_SAMPLE_RATE_HZ).samples
        conditioning = self._conditioning

        # Copied: a stored voice's samples are the store's own, and read-only.
        prompt_24k = torch.tensor(waveform.first(conditioning.s3gen_prompt_s).samples, device=self._device)
        prompt_24k = prompt_24k[None]
        prompt_mel = s3gen_mel(prompt_24k).transpose(1, 2)
        prompt_16k = self._to_16k(prompt_24k)

        t3_samples = round(conditioning.t3_prompt_s * ENCODER_SAMPLE_RATE_HZ)
        t3_prompt_16k = torch.from_numpy(samples_16k[:t3_samples])
        prompt_tokens, t3_tokens = self._tokenize(prompt_16k[0], t3_prompt_16k.to(self._device))
        # The mel rounds down where the tokenizer rounds up.
        prompt_tokens = prompt_tokens[:, : prompt_mel.shape[1] // MEL_FRAMES_PER_TOKEN]

        voice_mel = voice_encoder_mel(trim(samples_16k))
        speaker = self._voice_encoder.embeds_from_mels([voice_mel], rate=PARTIALS_PER_S)
        return Conditionals(
            speaker_embedding=torch.from_numpy(speaker).mean(dim=0, keepdim=True),
            t3_prompt_tokens=t3_tokens,
            prompt_tokens=prompt_tokens,
            prompt_mel=prompt_mel,
            xvector=self._speaker_encoder.inference(prompt_16k),
        ).to(torch.device("cpu"))

    def _tokenize(self, s3gen_prompt: Tensor, t3_prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the speech tokens, int64 [1, T] each, of two 16 kHz recordings [n].

        They run as one batch. The tokenizer masks what is padded, so that each row equals a run of its own
        (``S3Tokenizer.forward`` with and without ``max_len``).
        """
        tokenizer = self._tokenizer
        longest_frames = self._conditioning.t3_prompt_tokens * TOKENIZER_FRAMES_PER_TOKEN
        mels = [
            tokenizer.log_mel_spectrogram(s3gen_prompt),
            tokenizer.log_mel_spectrogram(t3_prompt)[:, :longest_frames],
        ]
        padded, frames = pad_to_longest(mels)
        tokens, counts = tokenizer.quantize(padded, frames.to(self._device))
        first, second = (tokens[row : row + 1, : int(counts[row])].long() for row in range(2))
        return first, second
