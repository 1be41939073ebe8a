"""Text to ids as upstream does it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.tts import punc_norm
from chatterbox.tts_turbo import punc_norm as turbo_punc_norm
from transformers import AutoTokenizer

from errors import ModelUnavailable
from speech.models.spec import CHATTERBOX, TURBO
from speech.models.tokenizers import load_tokenizer
from speech.weights.checkpoint import Checkpoint


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
    assert (
        our_model.tokenizer.encode(text, "en").tolist() == theirs.text_to_tokens(punc_norm(text))[0].tolist()
    )


@pytest.mark.parametrize(
    "text",
    [
        "The thing is in there.",
        "first part; then - the “second”… and more...",
        "  two   spaces ",
        "no end",
        "Ünïcödé 🙂, 中文 and עברית",
        "Well [laugh] that was [clear throat] fun. [sigh]",
        "[laugh]at the start, [LAUGH] [unknown] [ laugh ]",
        "[START] is no mark here",
    ],
)
def test_turbos_ids_are_upstreams(turbo, turbo_checkpoint, text):
    theirs = AutoTokenizer.from_pretrained(turbo_checkpoint.folder)
    expected = theirs(turbo_punc_norm(text), return_tensors="pt", padding=False, truncation=True)
    assert len(theirs) == TURBO.text_vocabulary
    assert turbo.tokenizer.encode(text, "en").tolist() == expected.input_ids[0].tolist()


def test_the_end_of_gpt2s_texts_is_spelled_out(turbo):
    ids = turbo.tokenizer.encode("A <|endoftext|> b.", "en").tolist()
    assert len(ids) > 10
    assert turbo.spec.text_vocabulary - 20 not in ids


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("vocab.json", "{", "vocab.json and merges.txt cannot be read"),
        ("merges.txt", "no merge\nof these", "vocab.json and merges.txt cannot be read"),
        ("added_tokens.json", "[]", "added_tokens.json is not a table of ids"),
        ("added_tokens.json", "\x00", "added_tokens.json cannot be read"),
        ("added_tokens.json", '{"[laugh]": 50257}', "have 50258 tokens, and the model 50276"),
        ("added_tokens.json", "{}", "have 50257 tokens, and the model 50276"),
    ],
)
def test_files_that_do_not_fit_turbo_are_named(turbo_checkpoint, tmp_path, name, content, problem):
    for file in TURBO.files.tokenizer:
        shutil.copy(Path(turbo_checkpoint.folder, file), tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelUnavailable, match=problem):
        load_tokenizer(TURBO, Checkpoint(tmp_path, None))


def test_what_the_english_model_does_not_know_is_named_and_stays_upstreams_token(our_model):
    tokenizer = our_model.tokenizer
    assert tokenizer.unknown("Hello 你好, you 好 😀 there.", "en") == "你好😀"
    assert tokenizer.unknown("Plain words.", "en") == ""
    assert tokenizer.encode("你 a", "en").tolist().count(1) == 1
