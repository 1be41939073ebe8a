"""A chunk of text on its way through T3: what is asked for, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cancel import CancelToken
from speech.models.spec import CODEBOOK_SIZE
from speech.t3.sampling import Sampling


@dataclass(frozen=True, eq=False)
class DecodeRequest:
    """One text in one voice. Its tensors may be on any device."""

    speaker_embedding: Tensor  # float32 [1, 256]
    prompt_tokens: Tensor  # int64 [1, T]
    exaggeration: float
    text_tokens: Tensor  # int64 [N], without start and stop
    sampling: Sampling
    max_tokens: int
    seed: int  # of the request's own generator: no other request changes what is drawn
    cancel: CancelToken = field(default_factory=CancelToken)


@dataclass(frozen=True, eq=False)
class Decoded:
    """The speech tokens of a request."""

    tokens: Tensor  # int64 [T], on the model's device, without the stop token
    stopped: bool  # True when the model ended by itself, False at the limit
    generator: torch.Generator  # the request's, as the last draw left it: S3Gen goes on with it

    def speech(self) -> Tensor:
        """The tokens that S3Gen takes, int64 [T]: T3's own marks are dropped, as upstream does."""
        return self.tokens[self.tokens < CODEBOOK_SIZE]
