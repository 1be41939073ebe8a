"""Text front ends: a chunk of text to the ids that T3 reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from errors import ModelUnavailable
from speech.models.spec import ModelSpec
from speech.text import normalize_text, normalize_turbo_text
from speech.weights.checkpoint import Checkpoint

REQUIRED = ("[START]", "[STOP]")
SPACE = "[SPACE]"
DAMAGED = "download the weights again"
OF_ONE_REVISION = "use the files of one published revision"


class TextTokenizer(Protocol):
    """A model's text front end."""

    def encode(self, text: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n], without marks of its start and end."""
        ...


def load_tokenizer(spec: ModelSpec, checkpoint: Checkpoint) -> TextTokenizer:
    """Loads the text front end that a model names. Raises ModelUnavailable."""
    files = [checkpoint.file(name) for name in spec.files.tokenizer]
    if spec.tokenizer == "turbo":
        return TurboTokenizer(*files, size=spec.text_vocabulary)
    return EnglishTokenizer(*files, size=spec.text_vocabulary)


class EnglishTokenizer:
    """``punc_norm`` and ``EnTokenizer`` of chatterbox-tts 0.1.7, without what else their modules import."""

    def __init__(self, file: Path, *, size: int) -> None:
        """Reads the file. size: ids that the model has. Raises ModelUnavailable for another model's file."""
        self._tokenizer = _read_tokenizer(file, size, REQUIRED)

    def encode(self, text: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n], without start and stop."""
        ids = self._tokenizer.encode(normalize_text(text).replace(" ", SPACE)).ids
        return torch.tensor(ids, dtype=torch.int64)


class TurboTokenizer:
    """``punc_norm`` of chatterbox's ``tts_turbo.py``, and GPT-2's byte pairs with tags such as "[laugh]".

    ``<|endoftext|>`` in a text is spelled out: it is nothing that is said.
    """

    def __init__(self, vocabulary: Path, merges: Path, added: Path, *, size: int) -> None:
        """Reads the files. size: ids that the model has. Raises ModelUnavailable if they do not fit."""
        try:
            self._tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
        except Exception as error:  # tokenizers raises bare Exception for every kind of damage
            names = f"{vocabulary.name} and {merges.name}"
            raise ModelUnavailable(f"{names} cannot be read", hint=DAMAGED) from error
        self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        self.tags = _read_ids(added)
        # In the order of their ids, of which each gets the next. What is in the vocabulary is no tag.
        known = self._tokenizer.get_vocab()
        ordered = sorted(self.tags.keys() - known.keys(), key=self.tags.__getitem__)
        self._tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in ordered])
        ids = self._tokenizer.get_vocab()
        if any(ids[tag] != self.tags[tag] for tag in ordered) or len(ids) != size:
            raise ModelUnavailable(
                f"{added.name} and {vocabulary.name} have {len(ids)} tokens, and the model {size}",
                hint=OF_ONE_REVISION,
            )

    def encode(self, text: str) -> Tensor:
        """Returns the ids of a chunk, int64 [n]."""
        ids = self._tokenizer.encode(normalize_turbo_text(text), add_special_tokens=False).ids
        return torch.tensor(ids, dtype=torch.int64)


def _read_tokenizer(file: Path, size: int, required: Collection[str]) -> Tokenizer:
    """Reads a tokenizer of ``size`` ids at most, with the required tokens. Raises ModelUnavailable."""
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception for every kind of damage
        raise ModelUnavailable(f"{file.name} cannot be read", hint=DAMAGED) from error
    vocabulary = tokenizer.get_vocab()
    count = 1 + max(vocabulary.values(), default=-1)
    lacking = [token for token in required if token not in vocabulary]
    if lacking or count > size:
        lack = f", and lacks {', '.join(lacking[:3])}" if lacking else ""
        raise ModelUnavailable(
            f"{file.name} is of another model: it has {count} tokens where this one has {size}{lack}",
            hint=OF_ONE_REVISION,
        )
    return tokenizer


def _read_ids(file: Path) -> Mapping[str, int]:
    """Reads added_tokens.json: token to id. Raises ModelUnavailable."""
    try:
        ids = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{file.name} cannot be read", hint=DAMAGED) from error
    if not isinstance(ids, dict) or not all(type(value) is int for value in ids.values()):
        raise ModelUnavailable(f"{file.name} is not a table of ids", hint=DAMAGED)
    return ids
