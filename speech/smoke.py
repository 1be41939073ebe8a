"""An untrained checkpoint in the published file layout, for tests, demos and benchmarks.

    python -m speech.smoke DIR [--model chatterbox] [--size tiny|full] [--seed 0] [--follows-text]

Weights are random and the audio is noise, but the length follows the text: the speech head
is arranged so that a stop is all but certain once about 1.7 speech tokens have been spoken per
text token, and ids outside the codebook all but impossible. The same size and seed give the
same files.

How the length is made to follow the text: a token's position embedding marks it as text or as
speech in a residual channel of its own; one attention head of the first layer looks at all
positions alike and copies the mean of that channel to a second one, whose sign is then that of
(speech tokens - SPEECH_PER_TEXT_TOKEN * text tokens); the stop id's row of the head reads it.
The final norm scales but keeps the sign. The marks are position embeddings because
classifier-free guidance erases text embeddings and leaves positions.

GPT-2's positions run over the voice's prompt as well, whose speech tokens must not be counted. There token
embeddings mark what is text. A head of the first layer, which looks at text alone once there is any, tells
every position whether it comes after a text token, and a head of the second layer takes the mean.
"""

from __future__ import annotations

import argparse
import json
import string
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from torch import Tensor, nn

from speech.models.dimensions import TINY, ModelDimensions
from speech.models.spec import (
    CHATTERBOX,
    CODEBOOK_SIZE,
    MEL_CHANNELS,
    MEL_FRAMES_PER_TOKEN,
    MODELS,
    MULTILINGUAL_LANGUAGES,
    SPEAKER_WIDTH,
    XVECTOR_WIDTH,
    FlowSpec,
    ModelSpec,
)
from speech.reference.conditionals import longest_s3gen_prompt
from speech.text.events import EVENT_TAGS
from speech.upstream import build_s3gen, build_t3, build_voice_encoder
from speech.weights.load import write_config

SIZES = ("tiny", "full")

SPEECH_PER_TEXT_TOKEN = 1.7  # 25 speech tokens a second over some 15 letters a second

MARK, BALANCE, CONSTANT = 0, 1, 2  # residual channels that only the arrangement above uses
RESERVED = slice(0, 3)

FOLLOWING_HEAD = (0, 1)  # layer and head, of a checkpoint that follows the text
TICKS = 1024  # speech id modulo this is the tick that it stands for
WAVES = 5.0 * 2.0 ** torch.arange(8)  # lengths in text tokens: the longest is that of the longest chunk
WAVE_CHANNELS = slice(RESERVED.stop, RESERVED.stop + 2 * len(WAVES))
WAVE_HEIGHT = 1.5


def write_smoke_checkpoint(
    folder: Path,
    size: str = "tiny",
    seed: int = 0,
    *,
    spec: ModelSpec = CHATTERBOX,
    dimensions: ModelDimensions | None = None,
    follows_text: bool = False,
) -> None:
    """Writes a model's files and a ``config.json`` with their dimensions.

    folder: made if missing. size: "tiny" (a few MB) or "full" (as published); ``dimensions`` overrides it.
    follows_text: whether a head of T3 follows the text.
    """
    dimensions = dimensions or dimensions_of(spec, size)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        t3 = build_t3(dimensions, spec)
        # Models of one group have the same S3Gen and voice encoder, as the published ones have.
        torch.manual_seed(seed)
        s3gen = untrained_s3gen(dimensions, spec.flow)
        torch.manual_seed(seed)
        voice_encoder = build_voice_encoder(dimensions)
        with torch.no_grad():
            arrange = _make_gpt2_length_follow_text if spec.family == "gpt2" else _make_length_follow_text
            arrange(t3, spec)
            if follows_text and spec.family == "gpt2":
                _make_gpt2_head_follow_text(t3, spec)
            elif follows_text:
                _make_head_follow_text(t3)
            longest = longest_s3gen_prompt(spec.conditioning)
            # Tests speak much: at small sizes the longest prompts would take most of their time.
            builtin_voice = _random_voice(spec, longest // 5 if dimensions.is_tiny else longest)
        for name, module in (
            (spec.files.voice_encoder, voice_encoder),
            (spec.files.t3, t3),
            (spec.files.s3gen, s3gen),
        ):
            weights = {key: value.contiguous() for key, value in module.state_dict().items()}
            save_file(weights, folder / name, metadata={"format": "pt"})
        torch.save(builtin_voice, folder / spec.files.builtin_voice)
    if spec.tokenizer == "turbo":
        _write_byte_pairs(folder, spec)
    else:
        tokenizer = letters_tokenizer(spec) if spec.tokenizer == "english" else graphemes_tokenizer(spec)
        tokenizer.save(str(folder / spec.files.tokenizer[0]))
    if spec.files.cangjie_table is not None:
        _write_cangjie_table(folder / spec.files.cangjie_table)
    write_config(folder, dimensions, "untrained")


def dimensions_of(spec: ModelSpec, size: str) -> ModelDimensions:
    """Returns a model's dimensions in one of ``SIZES``."""
    if size == "full":
        return spec.dimensions
    # GPT-2's feed-forward width is always four times its width.
    return replace(TINY, t3_feed_forward=4 * TINY.t3_width) if spec.family == "gpt2" else TINY


def _make_length_follow_text(t3: Any, spec: ModelSpec) -> None:
    """Changes a freshly initialised T3 in place, see the module's docstring."""
    width = t3.dim
    for embedding in (t3.text_emb, t3.speech_emb, t3.text_pos_emb.emb, t3.speech_pos_emb.emb):
        embedding.weight.normal_(0.0, 1.0)
        embedding.weight[:, RESERVED] = 0.0
    # Text embeddings are small beside their positions: erasing them must not change the norm much.
    t3.text_emb.weight.mul_(0.3)
    t3.speech_emb.weight.mul_(0.3)
    mark = width**0.5 / 4
    t3.text_pos_emb.emb.weight[:, MARK] = -mark * SPEECH_PER_TEXT_TOKEN
    t3.speech_pos_emb.emb.weight[:, MARK] = mark
    for position in (t3.text_pos_emb.emb, t3.speech_pos_emb.emb):
        position.weight[:, CONSTANT] = width**0.5 / 4

    conditioning = t3.cond_enc
    conditioning.spkr_enc.weight[RESERVED] = 0.0
    conditioning.spkr_enc.bias[RESERVED] = 0.0
    conditioning.emotion_adv_fc.weight[RESERVED] = 0.0
    conditioning.perceiver.pre_attention_query[..., RESERVED] = 0.0
    conditioning.perceiver.attn.proj_out.weight[RESERVED] = 0.0
    conditioning.perceiver.attn.proj_out.bias[RESERVED] = 0.0

    head_width = t3.cfg.head_dim
    for layer in t3.tfmr.layers:
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight[RESERVED] = 0.0
            linear.weight.mul_(0.5)
    counting = t3.tfmr.layers[0].self_attn
    counting.q_proj.weight[:head_width] = 0.0  # all scores equal: the head takes the plain mean
    counting.v_proj.weight[0] = 0.0
    counting.v_proj.weight[0, MARK] = 1.0
    counting.o_proj.weight[:, 0] = 0.0
    counting.o_proj.weight[BALANCE, 0] = width**0.5

    head = t3.speech_head.weight
    nn.init.normal_(head, 0.0, 0.6 / width**0.5)
    head[:, RESERVED] = 0.0
    stop_speech = spec.tokens.stop_speech
    head[CODEBOOK_SIZE:, CONSTANT] = -100.0
    head[stop_speech] = 0.0
    head[stop_speech, BALANCE] = 400.0


def following_places(tokens: Tensor) -> Tensor:
    """Returns where in the text the head of a checkpoint that follows it looks, when it tells these tokens.

    tokens: int64 [T]. Counted in text tokens, float32 [T].
    """
    return (tokens % TICKS) / SPEECH_PER_TEXT_TOKEN - 1  # the text's start is a position, too


def _make_head_follow_text(t3: Any) -> None:
    """Changes a T3 whose length follows the text in place, see the module's docstring."""

    def waves(places: Tensor) -> Tensor:
        """Returns [N, channels] of places, in text positions."""
        angles = 2 * torch.pi * places[:, None] / WAVES
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    width, channels = t3.dim, WAVE_CHANNELS
    places = (torch.arange(CODEBOOK_SIZE) % TICKS) / SPEECH_PER_TEXT_TOKEN
    following = ((torch.arange(CODEBOOK_SIZE) + 1) % TICKS) / SPEECH_PER_TEXT_TOKEN
    speech, text = t3.speech_emb.weight, t3.text_pos_emb.emb.weight
    for embedding in (t3.text_emb.weight, t3.speech_pos_emb.emb.weight, speech, text):
        embedding[:, channels] = 0.0
    # The first norm divides by a position's length, which must not make one louder than its neighbours.
    rest = slice(channels.stop, None)
    text[:, rest] *= (width - channels.stop) ** 0.5 / text[:, rest].norm(dim=1, keepdim=True)
    t3.text_emb.weight[:, rest] *= 0.2
    text[:, channels] = WAVE_HEIGHT * waves(torch.arange(len(text)).float())
    speech[:CODEBOOK_SIZE, channels] = WAVE_HEIGHT * waves(following)
    speech[CODEBOOK_SIZE:, channels] = WAVE_HEIGHT * waves(torch.zeros(1))  # the start of speech
    conditioning = t3.cond_enc
    conditioning.spkr_enc.weight[channels] = 0.0
    conditioning.spkr_enc.bias[channels] = 0.0
    conditioning.emotion_adv_fc.weight[channels] = 0.0
    conditioning.perceiver.pre_attention_query[..., channels] = 0.0
    conditioning.perceiver.attn.proj_out.weight[channels] = 0.0
    conditioning.perceiver.attn.proj_out.bias[channels] = 0.0
    for layer in t3.tfmr.layers:
        layer.self_attn.o_proj.weight[channels] = 0.0
        layer.mlp.down_proj.weight[channels] = 0.0
    # Rotary positions turn the last pairs of a head so slowly that it does not matter. The shortest
    # wave, which decides where the peak is, takes the last pair.
    head_width = t3.cfg.head_dim
    half = head_width // 2
    slow = torch.arange(half - len(WAVES), half).flip(0)
    index, head = FOLLOWING_HEAD
    attention = t3.tfmr.layers[index].self_attn
    rows = head * head_width + torch.cat([slow, half + slow])
    gain = 2 * head_width**0.25 / WAVE_HEIGHT  # 4 for each wave, beside the norms
    for projection in (attention.q_proj.weight, attention.k_proj.weight):
        projection[head * head_width : (head + 1) * head_width] = 0.0
        projection[rows, torch.arange(width)[channels]] = gain
    t3.speech_head.weight[:CODEBOOK_SIZE, channels] = 12.0 * waves(places)


def _make_gpt2_length_follow_text(t3: Any, spec: ModelSpec) -> None:
    """Changes a freshly initialised T3 on GPT-2 in place, see the module's docstring."""
    text, zero, is_after, balance = range(4)
    reserved = slice(0, 4)
    width, mark = t3.dim, t3.dim**0.5 / 4
    for embedding in (t3.text_emb, t3.speech_emb, t3.tfmr.wpe):
        embedding.weight.normal_(0.0, 0.3)
        embedding.weight[:, reserved] = 0.0
    t3.text_emb.weight[:, text] = mark
    t3.cond_enc.spkr_enc.weight[reserved] = 0.0
    t3.cond_enc.spkr_enc.bias[reserved] = 0.0
    for block in t3.tfmr.h:
        for product in (block.attn.c_proj, block.mlp.c_proj):  # [in, out]
            product.weight[:, reserved] = 0.0
            product.bias[reserved] = 0.0
    # Layer norm subtracts a mean, which the difference of two channels does not have.
    is_text = {text: 1.0, zero: -1.0}
    count = {is_after: 1.0, text: -1.0 - SPEECH_PER_TEXT_TOKEN, zero: SPEECH_PER_TEXT_TOKEN}
    head_width = width // t3.cfg.n_head
    for block, values, target, gain in (
        (t3.tfmr.h[0], is_text, is_after, 0.5),
        (t3.tfmr.h[1], count, balance, width**0.5),
    ):
        attention = block.attn.c_attn
        attention.bias[:] = 0.0
        for part in (0, 1):  # all scores equal: the head takes the plain mean
            attention.weight[:, part * width : part * width + head_width] = 0.0
        attention.weight[:, 2 * width] = 0.0
        for channel, weight in values.items():
            attention.weight[channel, 2 * width] = weight
        block.attn.c_proj.weight[0] = 0.0
        block.attn.c_proj.weight[0, target] = gain
    # The first head looks at text alone once there is any: e to the power of these scores is 1e9 and more.
    first = t3.tfmr.h[0].attn.c_attn
    first.bias[0] = 5.0 * head_width**0.5
    for channel, weight in is_text.items():
        first.weight[channel, width] = weight

    head, bias = t3.speech_head.weight, t3.speech_head.bias
    nn.init.normal_(head, 0.0, 0.6 / width**0.5)
    head[:, reserved] = 0.0
    bias[:] = 0.0
    bias[CODEBOOK_SIZE:] = -100.0
    stop_speech = spec.tokens.stop_speech
    head[stop_speech], bias[stop_speech] = 0.0, 0.0
    head[stop_speech, balance], head[stop_speech, zero] = 400.0, -400.0


def _make_gpt2_head_follow_text(t3: Any, spec: ModelSpec) -> None:
    """Changes a T3 on GPT-2 whose length follows the text in place, see the module's docstring.

    Its positions are those of the whole sequence, and lie in channels of their own beside those of the speech
    tokens: the built-in voice's length is that of all. A wave has three phases, whose sum is zero, so that
    layer norm's mean changes nothing.
    """
    lengths = torch.tensor([5.0, 12.0, 30.0, 120.0, 700.0])  # in text tokens
    count, width, height = 3 * len(lengths), t3.dim, 1.0
    keys, queries = slice(4, 4 + count), slice(4 + count, 4 + 2 * count)

    def waves(places: Tensor) -> Tensor:
        """Returns [N, channels] of places, in text tokens."""
        phases = 2 * torch.pi * torch.arange(3) / 3
        return (2 * torch.pi * places[:, None, None] / lengths[:, None] + phases).cos().flatten(1)

    places = torch.arange(CODEBOOK_SIZE) % TICKS / SPEECH_PER_TEXT_TOKEN - 1
    following = (torch.arange(CODEBOOK_SIZE) + 1) % TICKS / SPEECH_PER_TEXT_TOKEN - 1
    speech, positions = t3.speech_emb.weight, t3.tfmr.wpe.weight
    for embedding in (t3.text_emb.weight, speech, positions):
        embedding[:, keys] = embedding[:, queries] = 0.0
    first = 1 + spec.conditioning.t3_prompt_tokens
    positions[first:, keys] = height * waves(torch.arange(len(positions) - first).float())
    speech[:CODEBOOK_SIZE, queries] = height * waves(following)
    speech[CODEBOOK_SIZE:, queries] = height * waves(torch.full((1,), -1.0))
    for channels in (keys, queries):
        t3.cond_enc.spkr_enc.weight[channels] = 0.0
        t3.cond_enc.spkr_enc.bias[channels] = 0.0
        for block in t3.tfmr.h:
            for product in (block.attn.c_proj, block.mlp.c_proj):  # [in, out]
                product.weight[:, channels] = 0.0
                product.bias[channels] = 0.0
    head_width = width // t3.cfg.n_head
    index, head = FOLLOWING_HEAD
    attention = t3.tfmr.h[index].attn.c_attn
    for part, channels in enumerate((queries, keys)):
        start = part * width + head * head_width
        attention.weight[:, start : start + head_width] = 0.0
        attention.weight[torch.arange(width)[channels], start + torch.arange(count)] = 2.0
    t3.speech_head.weight[:CODEBOOK_SIZE, queries] = 6.0 * waves(places)
    t3.speech_head.weight[spec.tokens.stop_speech] *= 10.0  # against the waves' larger numbers


@torch.no_grad()
def untrained_s3gen(dimensions: ModelDimensions, flow: FlowSpec) -> Any:
    """Returns upstream's ``S3Gen`` with random weights, of torch's global generator.

    Its audio is at the level of speech: neither near silence nor full scale.
    """
    s3gen = build_s3gen(dimensions, flow)
    magnitudes = slice(0, s3gen.mel2wav.istft_params["n_fft"] // 2 + 1)  # the rest are phases
    s3gen.mel2wav.conv_post.bias[magnitudes] = 0.7  # as a logarithm
    if flow.is_meanflow:
        # Upstream initialises it to pass a step's begin on and to ignore its end.
        mixer = s3gen.flow.decoder.estimator.time_embed_mixer.weight
        nn.init.normal_(mixer, 0.0, mixer.shape[1] ** -0.5)
    return s3gen


def _random_voice(spec: ModelSpec, prompt_tokens: int) -> dict[str, Any]:
    """Returns the content of ``conds.pt``, as upstream's ``Conditionals.save`` lays it out.

    prompt_tokens: the length of S3Gen's prompt, in speech tokens.
    """
    speaker = torch.rand(1, SPEAKER_WIDTH)
    return {
        "t3": {
            "speaker_emb": speaker / speaker.norm(dim=1, keepdim=True),
            "clap_emb": None,
            "cond_prompt_speech_tokens": torch.randint(
                0, CODEBOOK_SIZE, (1, spec.conditioning.t3_prompt_tokens)
            ),
            "cond_prompt_speech_emb": None,
            "emotion_adv": 0.5 * torch.ones(1, 1, 1),
        },
        "gen": {
            "prompt_token": torch.randint(0, CODEBOOK_SIZE, (1, prompt_tokens)),
            "prompt_token_len": torch.tensor([prompt_tokens]),
            "prompt_feat": torch.randn(1, MEL_FRAMES_PER_TOKEN * prompt_tokens, MEL_CHANNELS) - 5.0,
            "prompt_feat_len": None,
            "embedding": torch.randn(1, XVECTOR_WIDTH),
        },
    }


def letters_tokenizer(spec: ModelSpec) -> Tokenizer:
    """Returns a tokenizer with one id a letter, and upstream's special tokens at the model's ids."""
    tokens = spec.tokens
    special = {"[STOP]": tokens.stop_text, "[UNK]": 1, "[SPACE]": 2, "[START]": tokens.start_text}
    letters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x180))]
    free_ids = (index for index in range(3, spec.text_vocabulary) if index != tokens.start_text)
    vocabulary = special | dict(zip(letters, free_ids, strict=False))
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))  # noqa: S106
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


# Characters of the multilingual vocabulary, as first and last code points: Latin, marks, Greek, Cyrillic,
# Hebrew, Arabic, Devanagari, conjoining jamo, CJK marks and kana. Neither Han characters nor syllables.
GRAPHEMES = (
    (0x21, 0x7E), (0xA1, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x45F), (0x591, 0x5F4),
    (0x60C, 0x670), (0x900, 0x97F), (0x1100, 0x11FF), (0x3001, 0x3011), (0x3041, 0x30FF),
)  # fmt: skip
EVENTS = (
    "[UH]",
    "[UM]",
    "[giggle]",
    "[laughter]",
    "[inhale]",
    "[exhale]",
    "[sigh]",
    "[cough]",
    "[gibberish]",
)
OTHER_TAGS = ("sk", "cs", "hu", "ro", "bg", "vi", "ta")  # of languages that no release speaks
CANGJIE_KEYS = string.ascii_lowercase + string.digits + "."
GRAPHEME_MERGES = (("t", "h"), ("i", "n"), ("e", "r"), ("th", "e"))
HAN = range(0x4E00, 0xA000)


def graphemes_tokenizer(spec: ModelSpec) -> Tokenizer:
    """Returns a tokenizer of the multilingual models' structure, with an entry for each of the model's ids.

    It knows more tags than the model has languages, and entries that no text leads to fill it up.
    """
    tokens = spec.tokens
    marks = {"[STOP]": tokens.stop_text, "[UNK]": 1, "[SPACE]": 2, "[START]": tokens.start_text}
    tags = [f"[{code}]" for code in (*MULTILINGUAL_LANGUAGES, *OTHER_TAGS)]
    keys = [f"[cj_{key}]" for key in CANGJIE_KEYS]
    added = [*marks, *EVENTS, *tags, *keys]
    characters = [chr(code) for first, last in GRAPHEMES for code in range(first, last + 1)]
    entries = [
        *added[len(marks) :],
        *(char for char in characters if unicodedata.category(char) not in ("Cn", "Cf")),
        *("".join(merge) for merge in GRAPHEME_MERGES),
    ]
    entries += [f"unused{number}" for number in range(spec.text_vocabulary - len(marks) - len(entries))]
    free_ids = (index for index in range(spec.text_vocabulary) if index not in marks.values())
    vocabulary = marks | dict(zip(entries, free_ids, strict=True))
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=list(GRAPHEME_MERGES), unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in added])
    return tokenizer


def _write_cangjie_table(file: Path) -> None:
    """Writes a table of made-up codes, of three letters each, which two characters share."""

    def code(number: int) -> str:
        return "".join(string.ascii_lowercase[number // 26**place % 26] for place in (2, 1, 0))

    lines = [f"{chr(each)}\t{code((each - HAN.start) // 2)}" for each in HAN]
    file.write_text(json.dumps(lines, ensure_ascii=False), "utf-8")


END_OF_TEXT = "<|endoftext|>"
MERGES = ("t h", "i n", "e r", "th e", "Ġ the", "in g", "Ġ a")


def _write_byte_pairs(folder: Path, spec: ModelSpec) -> None:
    """Writes GPT-2's files: bytes, a few merges, words that no merge leads to, and the tags at the end."""
    words = spec.text_vocabulary - len(EVENT_TAGS) - 1
    vocabulary = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
    vocabulary += [f"unused{number}" for number in range(words - len(vocabulary))]
    ids = {token: number for number, token in enumerate([*vocabulary, END_OF_TEXT])}
    added = {tag: len(ids) + number for number, tag in enumerate(EVENT_TAGS)}
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
    for name, content in (
        ("vocab.json", ids),
        ("added_tokens.json", added),
        ("special_tokens_map.json", special),
        ("tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", **special}),
    ):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m speech.smoke", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=tuple(MODELS), default=CHATTERBOX.name)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--follows-text", action="store_true", help="a head of T3 follows the text")
    options = parser.parse_args(arguments)
    spec = MODELS[options.model]
    warnings.simplefilter("ignore")  # deprecations inside upstream's constructors
    write_smoke_checkpoint(
        options.folder, options.size, options.seed, spec=spec, follows_text=options.follows_text
    )
    kind = f"untrained {options.size} checkpoint of {options.model}"
    print(f"wrote an {kind} to {options.folder}: its audio is noise")


if __name__ == "__main__":
    main()
