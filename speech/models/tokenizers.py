"""Text front ends: a chunk of text to the ids that T3 reads."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from errors import ModelUnavailable
from speech.models.spec import ModelSpec
from speech.text import normalize_text

REQUIRED = ("[START]", "[STOP]")
SPACE = "[SPACE]"


def load_tokenizer(spec: ModelSpec, folder: Path) -> EnglishTokenizer:
    """Loads the text front end that a model names. Raises ModelUnavailable."""
    return EnglishTokenizer(folder / spec.files.tokenizer)


class EnglishTokenizer:
    """``punc_norm`` and ``EnTokenizer`` of chatterbox-tts 0.1.7, without what else their modules import."""

    def __init__(self, file: Path) -> None:
        """Reads the file. Raises ModelUnavailable for one that is no tokenizer, or not T3's."""
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises bare Exception for every kind of damage
            raise ModelUnavailable(
                f"{file.name} cannot be read", hint="download the weights again"
            ) from error
        if not set(REQUIRED) <= self._tokenizer.get_vocab().keys():
            raise ModelUnavailable(f"{file.name} is of another model", hint="download the weights again")

    def encode(self, text: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n], without start and stop."""
        ids = self._tokenizer.encode(normalize_text(text).replace(" ", SPACE)).ids
        return torch.tensor(ids, dtype=torch.int64)
