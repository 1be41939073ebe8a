"""What the model needs to know of a voice, computed from samples and kept for the next job.

The same values as upstream's ``ChatterboxTTS.prepare_conditionals`` and
``S3Token2Mel.embed_ref`` (chatterbox-tts 0.1.7), with three departures: samples come in
instead of a path, the speech tokenizer runs once over a batch of both prompts instead of
twice, and nothing is left behind on the model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchaudio
from s3tokenizer.utils import padding as pad_to_longest
from torch import Tensor, nn

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from errors import ReferenceTooShort
from speech.contract import Reference

ENCODER_SAMPLE_RATE_HZ = 16_000  # voice encoder, speech tokenizer and x-vector
T3_PROMPT_S = 6  # ChatterboxTTS.ENC_COND_LEN
T3_PROMPT_TOKENS = 150  # T3Config.speech_cond_prompt_len
DECODER_PROMPT_S = 10  # ChatterboxTTS.DEC_COND_LEN
MEL_FRAMES_PER_TOKEN = 4  # of the tokenizer's mel; 100 frames and 25 tokens a second
# Below this the tokenizer's and the mel's window reflections fail; callers' limits are far above.
MIN_REFERENCE_S = 0.5
CACHED_VOICES = 128  # about 0.2 MB each: the 10 s prompt's mel is most of it


@dataclass(frozen=True, eq=False)
class Conditionals:
    """One voice as the model takes it. Tensors are on the model's device and never changed.

    speaker_embedding: float32 [1, 256], from the voice encoder.
    t3_prompt_tokens: int64 [1, T], at most 150 speech tokens.
    decoder_prompt: S3Gen's reference: prompt_token int64 [1, P], prompt_token_len int64 [1],
        prompt_feat float32 [1, 2P or 2P + 1, 80], prompt_feat_len None, embedding float32 [1, 192].
    """

    speaker_embedding: Tensor
    t3_prompt_tokens: Tensor
    decoder_prompt: Mapping[str, Tensor | None]

    def for_decoder(self) -> dict[str, Tensor | None]:
        """A fresh reference dict; S3Gen casts its entries in place."""
        return dict(self.decoder_prompt)


class ConditionalsEncoder:
    """Recordings to conditionals, with a bounded cache of the last voices."""

    def __init__(
        self,
        s3gen: Any,
        voice_encoder: Any,
        device: torch.device,
        cached_voices: int = CACHED_VOICES,
    ) -> None:
        self._s3gen = s3gen
        self._voice_encoder = voice_encoder
        self._device = device
        # Upstream resamples S3Gen's prompt with torchaudio and the rest with soxr; so do we.
        self._to_16k: nn.Module = torchaudio.transforms.Resample(
            MODEL_SAMPLE_RATE_HZ, ENCODER_SAMPLE_RATE_HZ
        ).to(device)
        self._cached_voices = cached_voices
        self._cache: OrderedDict[str, Conditionals] = OrderedDict()

    def encode(self, reference: Reference) -> Conditionals:
        """The voice's conditionals, from the cache when the same samples came before.

        Raises ReferenceTooShort under half a second.
        """
        cached = self._cache.get(reference.digest)
        if cached is None:
            cached = self.compute(reference.waveform)
            self._cache[reference.digest] = cached
            if len(self._cache) > self._cached_voices:
                self._cache.popitem(last=False)
        self._cache.move_to_end(reference.digest)
        return cached

    @torch.inference_mode()
    def compute(self, waveform: Waveform) -> Conditionals:
        """Conditionals of a 24 kHz recording, without the cache."""
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
