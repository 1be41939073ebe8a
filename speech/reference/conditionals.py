"""Conditionals: what the model computes from a reference recording, and their file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from speech.models.spec import (
    CODEBOOK_SIZE,
    MEL_CHANNELS,
    MEL_FRAMES_PER_TOKEN,
    SPEAKER_WIDTH,
    SPEECH_TOKENS_PER_S,
    XVECTOR_WIDTH,
    Conditioning,
)
from speech.transfer import upload

FILE_VERSION = 1  # raised whenever conditionals are computed or written otherwise than before
# Tensors of the file, by upstream's names. ``digest`` is that of the samples.
_SPEAKER, _T3_PROMPT, _DIGEST = "speaker_embedding", "t3_prompt_tokens", "digest"
_TOKENS, _MEL, _XVECTOR = "prompt_token", "prompt_feat", "embedding"
_DTYPES = {
    _SPEAKER: torch.float32,
    _T3_PROMPT: torch.int64,
    _DIGEST: torch.uint8,
    _TOKENS: torch.int64,
    _MEL: torch.float32,
    _XVECTOR: torch.float32,
}


@dataclass(frozen=True, eq=False)
class Conditionals:
    """One voice as the model takes it. Its tensors are never changed."""

    speaker_embedding: Tensor  # float32 [1, 256], from the voice encoder, for T3
    t3_prompt_tokens: Tensor  # int64 [1, T], speech tokens
    prompt_tokens: Tensor  # int64 [1, P], speech tokens of S3Gen's prompt
    prompt_mel: Tensor  # float32 [1, 2P or 2P + 1, 80], the mel of S3Gen's prompt
    xvector: Tensor  # float32 [1, 192], from CAMPPlus, for S3Gen

    def to(self, device: torch.device) -> Conditionals:
        """The same on a device; itself when it is there already."""
        if self.prompt_mel.device == device:
            return self
        tensors = (
            self.speaker_embedding,
            self.t3_prompt_tokens,
            self.prompt_tokens,
            self.prompt_mel,
            self.xvector,
        )
        return Conditionals(*(upload(tensor, device) for tensor in tensors))

    def to_bytes(self, digest: str) -> bytes:
        """Returns a safetensors file. digest: of the samples they were computed from, hex."""
        tensors = {
            _SPEAKER: self.speaker_embedding,
            _T3_PROMPT: self.t3_prompt_tokens,
            _DIGEST: torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8),
            _TOKENS: self.prompt_tokens,
            _MEL: self.prompt_mel,
            _XVECTOR: self.xvector,
        }
        return save({name: tensor.contiguous() for name, tensor in tensors.items()})

    @classmethod
    def from_bytes(cls, content: bytes, digest: str, conditioning: Conditioning) -> Conditionals | None:
        """Reads what ``to_bytes`` wrote for these samples; returns None for anything else.

        The file lies on a volume that others write, so everything in it is checked: a token that is no speech
        token would read beyond a table, on CUDA with the end of the process.
        """
        try:
            tensors = load(content)
        except (SafetensorError, ValueError, KeyError, RuntimeError):
            return None
        if {name: tensor.dtype for name, tensor in tensors.items()} != _DTYPES:
            return None
        found = cls(*(tensors[name] for name in (_SPEAKER, _T3_PROMPT, _TOKENS, _MEL, _XVECTOR)))
        is_ours = tensors[_DIGEST].tolist() == list(bytes.fromhex(digest)) and found.fits(conditioning)
        return found if is_ours else None

    def fits(self, conditioning: Conditioning) -> bool:
        """Whether shapes and values are such as a model with this conditioning takes."""
        mel = self.prompt_mel
        return (
            self.speaker_embedding.shape == (1, SPEAKER_WIDTH)
            and self.xvector.shape == (1, XVECTOR_WIDTH)
            and are_speech_tokens(self.t3_prompt_tokens)
            and self.t3_prompt_tokens.shape[1] <= conditioning.t3_prompt_tokens
            and are_speech_tokens(self.prompt_tokens)
            and self.prompt_tokens.shape[1] <= longest_s3gen_prompt(conditioning)
            and mel.ndim == 3
            and (mel.shape[0], mel.shape[2]) == (1, MEL_CHANNELS)
            and mel.shape[1] // MEL_FRAMES_PER_TOKEN == self.prompt_tokens.shape[1]
            and all(
                bool(torch.isfinite(tensor).all()) for tensor in (self.speaker_embedding, self.xvector, mel)
            )
        )


def longest_s3gen_prompt(conditioning: Conditioning) -> int:
    """Returns the largest number of speech tokens in S3Gen's prompt."""
    return round(conditioning.s3gen_prompt_s * SPEECH_TOKENS_PER_S)


def dummy_voice(conditioning: Conditioning) -> Conditionals:
    """Returns a voice of nobody with the longest possible prompts, for warm-up, on the CPU."""
    tokens = longest_s3gen_prompt(conditioning)
    return Conditionals(
        speaker_embedding=torch.full((1, SPEAKER_WIDTH), SPEAKER_WIDTH**-0.5),
        t3_prompt_tokens=torch.zeros(1, conditioning.t3_prompt_tokens, dtype=torch.int64),
        prompt_tokens=torch.zeros(1, tokens, dtype=torch.int64),
        prompt_mel=torch.zeros(1, MEL_FRAMES_PER_TOKEN * tokens, MEL_CHANNELS),
        xvector=torch.ones(1, XVECTOR_WIDTH),
    )


def are_speech_tokens(tensor: Tensor) -> bool:
    """Whether a tensor is [1, T] of ids within the codebook: others read beyond a table of the model."""
    return (
        tensor.ndim == 2
        and tensor.shape[0] == 1
        and tensor.shape[1] > 0
        and bool(((tensor >= 0) & (tensor < CODEBOOK_SIZE)).all())
    )
