"""What the model knows of a voice, kept for the next job and, beside a stored voice, for the next worker."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from audio.waveform import Waveform
from speech.contract import Reference

log = logging.getLogger(__name__)

CONDITIONALS_VERSION = 1  # raised whenever they come out otherwise than before, or are kept otherwise
# The tensors of the file beside a voice, and of S3Gen's reference.
SPEAKER, T3_PROMPT, DIGEST = "speaker_embedding", "t3_prompt_tokens", "digest"
PROMPT = ("prompt_token", "prompt_feat", "embedding")
DTYPES = {
    SPEAKER: torch.float32,
    T3_PROMPT: torch.int64,
    DIGEST: torch.uint8,
    "prompt_token": torch.int64,
    "prompt_feat": torch.float32,
    "embedding": torch.float32,
}
SPEAKER_WIDTH, VOICE_WIDTH, MEL_CHANNELS = 256, 192, 80
MAX_T3_PROMPT, MAX_PROMPT = 150, 250  # tokens: 6 s and 10 s
CODEBOOK_SIZE = 6561  # ids from here on are T3's own marks, not speech

CACHED_VOICES = 128  # about 0.4 MB each: the 10 s prompt's mel is most of it


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

    def to_bytes(self, digest: str) -> bytes:
        """As safetensors, with the digest of the samples that they were computed from."""
        tensors = {
            SPEAKER: self.speaker_embedding,
            T3_PROMPT: self.t3_prompt_tokens,
            DIGEST: torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8),
        }
        tensors |= {name: tensor for name in PROMPT if (tensor := self.decoder_prompt[name]) is not None}
        return save({name: tensor.contiguous() for name, tensor in tensors.items()})

    @classmethod
    def from_bytes(cls, content: bytes, digest: str, device: torch.device) -> Conditionals | None:
        """What ``to_bytes`` gave for these samples; None for anything else, whoever wrote it."""
        try:
            tensors = load(content)
        except (SafetensorError, ValueError, KeyError, RuntimeError):
            return None
        if {name: tensor.dtype for name, tensor in tensors.items()} != DTYPES:
            return None
        speaker, t3_prompt, prompt, mel, voice = (tensors[name] for name in (SPEAKER, T3_PROMPT, *PROMPT))
        is_ours = (
            tensors[DIGEST].tolist() == list(bytes.fromhex(digest))
            and speaker.shape == (1, SPEAKER_WIDTH)
            and voice.shape == (1, VOICE_WIDTH)
            and _are_tokens(t3_prompt, MAX_T3_PROMPT)
            and _are_tokens(prompt, MAX_PROMPT)
            and mel.ndim == 3
            and mel.shape[1] // 2 == prompt.shape[1]
            and (mel.shape[0], mel.shape[2]) == (1, MEL_CHANNELS)
            and all(bool(torch.isfinite(tensor).all()) for tensor in (speaker, voice, mel))
        )
        if not is_ours:
            return None
        prompt_length = torch.tensor([prompt.shape[1]], device=device)
        moved = {name: tensors[name].to(device) for name in PROMPT}
        return cls(
            speaker.to(device),
            t3_prompt.to(device),
            {**moved, "prompt_token_len": prompt_length, "prompt_feat_len": None},
        )


def some_voice(device: torch.device) -> Conditionals:
    """Of nobody, as long as voices get: to warm up with."""
    return Conditionals(
        torch.full((1, SPEAKER_WIDTH), SPEAKER_WIDTH**-0.5, device=device),
        torch.zeros(1, MAX_T3_PROMPT, dtype=torch.int64, device=device),
        {
            "prompt_token": torch.zeros(1, MAX_PROMPT, dtype=torch.int64, device=device),
            "prompt_token_len": torch.tensor([MAX_PROMPT], device=device),
            "prompt_feat": torch.zeros(1, 2 * MAX_PROMPT, MEL_CHANNELS, device=device),
            "prompt_feat_len": None,
            "embedding": torch.ones(1, VOICE_WIDTH, device=device),
        },
    )


def _are_tokens(tensor: Tensor, longest: int) -> bool:
    """Whether they are ids of speech: others read beyond a table, on CUDA with the end of the process."""
    return (
        tensor.ndim == 2
        and tensor.shape[0] == 1
        and 0 < tensor.shape[1] <= longest
        and bool(((tensor >= 0) & (tensor < CODEBOOK_SIZE)).all())
    )


class Encoder(Protocol):
    def compute(self, waveform: Waveform) -> Conditionals: ...


class VoiceConditionals:
    """Conditionals of references: from memory, from the shelf beside a stored voice, or computed.

    load_encoder: called only for a voice that nothing is known of. key: of the model and its weights.
    """

    def __init__(
        self,
        load_encoder: Callable[[], Encoder],
        key: str,
        device: torch.device,
        cached_voices: int = CACHED_VOICES,
    ) -> None:
        self._load_encoder, self._key, self._device = load_encoder, key, device
        self._cached_voices = cached_voices
        self._cache: OrderedDict[str, Conditionals] = OrderedDict()

    def get(self, reference: Reference) -> Conditionals:
        """Raises ReferenceTooShort under half a second."""
        known = self._cache.get(reference.digest)
        if known is None:
            known = self._take_down(reference) or self._compute(reference)
            self._cache[reference.digest] = known
            if len(self._cache) > self._cached_voices:
                self._cache.popitem(last=False)
        self._cache.move_to_end(reference.digest)
        return known

    def compute(self, waveform: Waveform) -> Conditionals:
        """Of a 24 kHz recording, whatever is known of it."""
        return self._load_encoder().compute(waveform)

    def _take_down(self, reference: Reference) -> Conditionals | None:
        content = reference.shelf.read(self._key) if reference.shelf else None
        return Conditionals.from_bytes(content, reference.digest, self._device) if content else None

    def _compute(self, reference: Reference) -> Conditionals:
        computed = self.compute(reference.waveform)
        if reference.shelf is not None:
            reference.shelf.write(self._key, computed.to_bytes(reference.digest))
        return computed
