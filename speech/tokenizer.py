"""English text to the ids that T3 reads."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from errors import ModelUnavailable

REQUIRED = ("[START]", "[STOP]")
SPACE = "[SPACE]"


class EnglishTokenizer:
    """``EnTokenizer`` of chatterbox-tts 0.1.7, without what else its module imports.

    Raises ModelUnavailable for a file that is no tokenizer, or not T3's.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises bare Exception for every kind of damage
            raise ModelUnavailable(f"{file.name} cannot be read; download the weights again") from error
        if not set(REQUIRED) <= self._tokenizer.get_vocab().keys():
            raise ModelUnavailable(f"{file.name} is of another model; download the weights again")

    def encode(self, text: str) -> Tensor:
        """int64 [n], without start and stop."""
        return torch.tensor(self._tokenizer.encode(text.replace(" ", SPACE)).ids, dtype=torch.int64)
