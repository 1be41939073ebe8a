"""What is asked of a decoder, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from speech.t3.sampling import Sampling

# ``T3Config`` in chatterbox-tts 0.1.7.
START_TEXT, STOP_TEXT = 255, 0
START_SPEECH, STOP_SPEECH = 6561, 6562


@dataclass(frozen=True, eq=False)
class DecodeRequest:
    """One text in one voice.

    speaker_embedding: float32 [1, 256]. prompt_tokens: int64 [1, T]. text_tokens: int [N], without start
    and stop. seed: of a generator of its own, so that no other request changes what is drawn.
    """

    speaker_embedding: Tensor
    prompt_tokens: Tensor
    exaggeration: float
    text_tokens: Tensor
    sampling: Sampling
    max_tokens: int
    seed: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """tokens: int64 [T], on the model's device, stop token excluded. stopped: whether the model
    ended by itself, not by reaching the limit. generator: as the last draw left it."""

    tokens: Tensor
    stopped: bool
    generator: torch.Generator


class DecodingStopped(Exception):
    """Nobody waits for the tokens any more."""


def never() -> bool:
    return False


class Decoder(Protocol):
    """Text tokens to speech tokens. May be called by several threads at once."""

    def decode(
        self, requests: Sequence[DecodeRequest], is_stopped: Callable[[], bool] = never
    ) -> Iterator[Decoded]:
        """The answers in the order of the requests, each as soon as it is there. What one draws depends on
        no other.

        is_stopped: asked every few steps, from whatever thread; once it says so, the next answer raises
        DecodingStopped.
        """
        ...
