"""Text to ids as upstream does it."""

from __future__ import annotations

import pytest
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.tts import punc_norm

from speech.models.spec import CHATTERBOX


@pytest.fixture(scope="module")
def theirs(smoke_checkpoint) -> EnTokenizer:
    return EnTokenizer(str(smoke_checkpoint / CHATTERBOX.files.tokenizer[0]))


@pytest.mark.parametrize(
    "text",
    [
        "Hello there.",
        "first part; then - the “second”…",
        "  two   spaces ",
        "no end",
        "Ünïcödé 🙂",
        "[START] is no mark, nor is [SPACE]",
    ],
)
def test_ids_are_upstreams(our_model, theirs, text):
    assert our_model.tokenizer.encode(text).tolist() == theirs.text_to_tokens(punc_norm(text))[0].tolist()
