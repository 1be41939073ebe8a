"""What the model needs to know of a new voice, computed from samples with upstream's modules.

The same values as upstream's ``ChatterboxTTS.prepare_conditionals`` and
``S3Token2Mel.embed_ref`` (chatterbox-tts 0.1.7), with three departures: samples come in
instead of a path, the speech tokenizer runs once over a batch of both prompts instead of
twice, and nothing is left behind on the model.
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
from speech.conditionals import Conditionals
from speech.sizes import Sizes
from speech.upstream import build_s3gen, build_voice_encoder
from speech.upstream_checkpoint import assign_weights, without_storage
from speech.weight_files import S3GEN_FILE, VOICE_ENCODER_FILE

log = logging.getLogger(__name__)

ENCODER_SAMPLE_RATE_HZ = 16_000  # voice encoder, speech tokenizer and x-vector
T3_PROMPT_S = 6  # ChatterboxTTS.ENC_COND_LEN
T3_PROMPT_TOKENS = 150  # T3Config.speech_cond_prompt_len
DECODER_PROMPT_S = 10  # ChatterboxTTS.DEC_COND_LEN
MEL_FRAMES_PER_TOKEN = 4  # of the tokenizer's mel; 100 frames and 25 tokens a second
# Below this the tokenizer's and the mel's window reflections fail; callers' limits are far above.
MIN_REFERENCE_S = 0.5

# S3Gen buffers of the tokenizer that upstream computes and the published file leaves out.
TOKENIZER_BUFFERS = frozenset({"_mel_filters", "window"})


def load_reference_encoder(folder: Path, sizes: Sizes, device: torch.device) -> ReferenceEncoder:
    """The parts of a checkpoint that speaking in a known voice does without. Raises ModelUnavailable."""
    started = time.perf_counter()
    with without_storage():
        s3gen, voice_encoder = build_s3gen(sizes), build_voice_encoder(sizes)
    assign_weights(voice_encoder, folder / VOICE_ENCODER_FILE, device)
    file = folder / S3GEN_FILE
    assign_weights(
        s3gen.tokenizer, file, device, prefix="tokenizer.", may_lack=TOKENIZER_BUFFERS, may_exceed=True
    )
    assign_weights(s3gen.speaker_encoder, file, device, prefix="speaker_encoder.", may_exceed=True)
    del s3gen.flow, s3gen.mel2wav
    log.info("reference encoder in %.1f s", time.perf_counter() - started)
    return ReferenceEncoder(s3gen, voice_encoder, device)


class ReferenceEncoder:
    """s3gen: upstream's, of which the speech tokenizer, the speaker encoder and the mel are used.
    voice_encoder: upstream's."""

    def __init__(self, s3gen: Any, voice_encoder: Any, device: torch.device) -> None:
        self._s3gen = s3gen
        self._voice_encoder = voice_encoder
        self._device = device
        # Upstream resamples S3Gen's prompt with torchaudio and the rest with soxr; so do we.
        self._to_16k: nn.Module = torchaudio.transforms.Resample(
            MODEL_SAMPLE_RATE_HZ, ENCODER_SAMPLE_RATE_HZ
        ).to(device)

    @torch.inference_mode()
    def compute(self, waveform: Waveform) -> Conditionals:
        """Of a 24 kHz recording. Raises ReferenceTooShort under half a second."""
        assert waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ
        if waveform.duration_s < MIN_REFERENCE_S:
            raise ReferenceTooShort(
                f"the reference audio is {waveform.duration_s:.2f} s long; send at least 2 s of speech"
            )
        samples_16k = resample(waveform, ENCODER_SAMPLE_RATE_HZ).samples

        # Copied: a stored voice's samples are the store's own, and read-only.
        prompt_24k = torch.tensor(waveform.first(DECODER_PROMPT_S).samples, device=self._device)[None]
        prompt_mel = self._s3gen.mel_extractor(prompt_24k).transpose(1, 2)
        prompt_16k = self._to_16k(prompt_24k)

        t3_prompt_16k = torch.from_numpy(samples_16k[: T3_PROMPT_S * ENCODER_SAMPLE_RATE_HZ])
        decoder_tokens, t3_tokens = self._tokenize(prompt_16k[0], t3_prompt_16k.to(self._device))
        # Two mel frames a token; the mel rounds down where the tokenizer rounds up.
        decoder_tokens = decoder_tokens[:, : prompt_mel.shape[1] // 2]

        speaker = self._voice_encoder.embeds_from_wavs([samples_16k], sample_rate=ENCODER_SAMPLE_RATE_HZ)
        return Conditionals(
            speaker_embedding=torch.from_numpy(speaker).mean(dim=0, keepdim=True).to(self._device),
            t3_prompt_tokens=t3_tokens,
            decoder_prompt={
                "prompt_token": decoder_tokens,
                "prompt_token_len": torch.tensor([decoder_tokens.shape[1]], device=self._device),
                "prompt_feat": prompt_mel,
                "prompt_feat_len": None,
                "embedding": self._s3gen.speaker_encoder.inference(prompt_16k),
            },
        )

    def _tokenize(self, decoder_prompt: Tensor, t3_prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Speech tokens, int64 [1, T] each, of two 16 kHz recordings [n] in one batch of two.

        The tokenizer masks what is padded, so that each row equals a run of its own
        (``S3Tokenizer.forward`` with and without ``max_len``).
        """
        tokenizer = self._s3gen.tokenizer
        mels = [
            tokenizer.log_mel_spectrogram(decoder_prompt),
            tokenizer.log_mel_spectrogram(t3_prompt)[:, : T3_PROMPT_TOKENS * MEL_FRAMES_PER_TOKEN],
        ]
        padded, frames = pad_to_longest(mels)
        tokens, counts = tokenizer.quantize(padded, frames.to(self._device))
        first, second = (tokens[row : row + 1, : int(counts[row])].long() for row in range(2))
        return first, second
