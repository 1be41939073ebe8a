"""T3, text to speech tokens: trained on sentences and on several of one speaker in a row.

A sequence is laid out as a worker gives it: voice, text, the start of speech twice, tokens. Some of the
tokens are replaced by wrong ones, in half of the steps by those that T3 itself draws in their place, so that
it goes on well after a token that was badly drawn. The losses are those of

- the next token;
- its phones, told from the same hidden state: what is said counts more than how;
- the sum of the exponentials of the logits, which is drawn to one: the repetition penalty scales logits, and
  does little to those near zero;
- one head's attention, which is drawn to the letters that the token belongs to. Without that, a model of this
  size takes many times as long to find out.

Some texts are hidden, as they are for one half of guidance. There all logits are drawn to zero: guidance then
makes the other half's differences larger, and does nothing else. A small model that learned what is said
without a text would be led astray by its mistakes about that.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speech.models.llama_t3 import rotary_frequencies
from speech.models.spec import CODEBOOK_SIZE, MEL_FRAMES_PER_TOKEN, ModelSpec
from speech.models.tokenizers import TextTokenizer
from training.codes import Voices
from training.data import Sentence
from training.features import PHONES, Features
from training.loop import train
from training.tokenizer import DIGITS

POSITIONS_PER_STEP = 2_600  # of all sequences of a step together
LONGEST_TEXT = (120, 290)  # letters of several sentences in a row, drawn for each step
MOST_SENTENCES, GROUPS = 64, 16  # sequences of a step at most: sentences, and several in a row
NEIGHBOURS = 200  # in length, among which the sentences of a step are drawn, to both sides
CONDITIONING = 36  # positions before and between text and speech: voice, prompt and two starts
ALONE = 0.7  # the share of steps whose sequences are one sentence each
PROMPT_TOKENS = (40, 150)
WITHOUT_TEXT = 0.15
HIDDEN_WEIGHT = 0.05  # of the logits' mean square where the text is hidden
STOP_WEIGHT = 3.0
NORMALIZER_WEIGHT = 0.02
PHONE_WEIGHT = 0.5
OWN_DRAWS = 0.5  # the share of steps in which T3's own tokens replace true ones, any share of them
MAX_REPLACED = 0.25  # by random ones, in the other steps; each draws its share between 0 and this
LEAST_COUNT = 50  # of a token in the data
OTHER_TOKENS = 256  # of those that the data does not have, drawn at each step to be made improbable
ALIGNMENT_HEAD = 0  # of the middle layer
ALIGNMENT_WEIGHT, ALIGNMENT_WIDTH = 0.15, 2.5  # letters

# Of the logits, which are written larger than they were trained: at the default temperature, 0.8, a model of
# this size draws too many wrong tokens.
SHARPNESS = 4.0


@dataclass(frozen=True, eq=False)
class Example:
    """One sequence to learn from."""

    text: Tensor  # int64 [L], with its start and stop
    speech: Tensor  # int64 [T], without start and stop
    phones: Tensor  # int64 [T, 2], indexes into PHONES
    places: Tensor  # float32 [T + 1], the position in the text to which each token and the stop belong
    speaker_embedding: Tensor  # [256]
    prompt: Tensor  # int64 [P], the same P in all sequences of a step
    hidden: bool  # whether the text is hidden


class T3Trainer(nn.Module):
    """Upstream's ``T3`` with the losses that train it."""

    def __init__(self, t3: Any, spec: ModelSpec, codes: Sequence[Tensor]) -> None:
        """codes: of the data. Their tokens compete at each step, all others in turns, which is faster."""
        super().__init__()
        self.t3, self._spec = t3, spec
        used = torch.unique(torch.cat([*codes, torch.tensor([spec.tokens.stop_speech])]))
        self._used = used
        self._speech_used = used[used < CODEBOOK_SIZE]
        self._others = torch.tensor(sorted(set(range(spec.speech_vocabulary)) - set(used.tolist())))
        self._index_of = torch.full((spec.speech_vocabulary,), -1)
        self._index_of[used] = torch.arange(len(used))
        self._temperature = spec.default_parameters["temperature"] / SHARPNESS
        self._attention_input: Tensor | None = None
        self.tell_phones = nn.Linear(t3.dim, MEL_FRAMES_PER_TOKEN * len(PHONES))
        # Upstream's default is meant for embeddings that are trained much longer.
        for embedding in (t3.text_emb, t3.speech_emb):
            nn.init.normal_(embedding.weight, std=0.05)
        self._attention().register_forward_pre_hook(self._keep_input, with_kwargs=True)

    def _attention(self) -> Any:
        # Not an attribute: a module would then have its weights in the checkpoint twice.
        layers: Any = self.t3.tfmr.layers
        return layers[len(layers) // 2].self_attn

    def _keep_input(self, _module: nn.Module, _arguments: Any, named: dict[str, Any]) -> None:
        self._attention_input = named["hidden_states"]

    def losses(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Returns the losses of one step."""
        t3, tokens = self.t3, self._spec.tokens
        before = self._replace_some(examples)
        targets = [F.pad(example.speech, (0, 1), value=tokens.stop_speech) for example in examples]
        states, text_start, speech_starts = self._answers(examples, before)
        answers = torch.cat(states)
        wanted = torch.cat(targets)
        others = self._others[torch.randint(len(self._others), (OTHER_TOKENS,))]
        logits = F.linear(answers, t3.speech_head.weight[torch.cat([self._used, others])])
        normalizer = logits.logsumexp(dim=1)
        each = normalizer - logits.gather(1, self._index_of[wanted][:, None])[:, 0]
        is_stop = wanted == tokens.stop_speech
        has_text = torch.cat(
            [
                torch.full((len(target),), not one.hidden)
                for one, target in zip(examples, targets, strict=True)
            ]
        )
        weights = torch.where(is_stop, STOP_WEIGHT, 1.0)
        losses = {
            "token": _mean(each, weights * has_text),
            "phones": PHONE_WEIGHT * self._phone_loss(answers[~is_stop & has_text], examples),
            "normalizer": NORMALIZER_WEIGHT * _mean(normalizer.square(), has_text),
            "hidden": HIDDEN_WEIGHT * _mean(logits.square().mean(dim=1), ~has_text),
            "alignment": ALIGNMENT_WEIGHT * self._alignment_loss(examples, text_start, speech_starts),
        }
        with torch.no_grad():
            losses["(stop)"] = _mean(each, is_stop & has_text)
        return losses

    def _replace_some(self, examples: Sequence[Example]) -> list[Tensor]:
        """Returns the tokens, int64 [T] each, of which some are replaced by T3's own or by random ones."""
        if torch.rand(()) < OWN_DRAWS:
            share = torch.rand(())
            others = self.draw(examples, self._temperature)
        else:
            share = MAX_REPLACED * torch.rand(())
            every = torch.cat([example.speech for example in examples])
            others = [every[torch.randint(len(every), (len(example.speech),))] for example in examples]
        return [
            torch.where(torch.rand(len(other)) < share, other, example.speech)
            for example, other in zip(examples, others, strict=True)
        ]

    def _answers(
        self, examples: Sequence[Example], speech: Sequence[Tensor]
    ) -> tuple[list[Tensor], int, list[int]]:
        """Returns T3's states that answer with the next token or the stop, float32 [T + 1, D] each.

        speech: the tokens before. The other two are the number of positions before the text, and where each
        sequence's second start of speech is.
        """
        t3 = self.t3
        prompts = torch.stack([example.prompt for example in examples])
        prompt = t3.speech_emb(prompts) + t3.speech_pos_emb(prompts)
        voice = torch.cat(
            [
                t3.cond_enc.spkr_enc(torch.stack([example.speaker_embedding for example in examples]))[
                    :, None
                ],
                t3.cond_enc.perceiver(prompt),
                # Any exaggeration: the data has none to learn it from.
                t3.cond_enc.emotion_adv_fc(2 * torch.rand(len(examples), 1, 1)),
            ],
            dim=1,
        )
        start = t3.speech_emb.weight[self._spec.tokens.start_speech] + t3.speech_pos_emb.emb.weight[0]
        rows, speech_starts = [], []
        for conditioning, example, tokens in zip(voice, examples, speech, strict=True):
            text = t3.text_pos_emb.emb.weight[: len(example.text)]
            if not example.hidden:
                text = text + t3.text_emb(example.text)
            positions = t3.speech_pos_emb.emb.weight[1 : 1 + len(tokens)]
            rows.append(
                torch.cat([conditioning, text, start[None], start[None], t3.speech_emb(tokens) + positions])
            )
            speech_starts.append(len(conditioning) + len(text) + 1)
        embedded = pad_sequence(rows, batch_first=True)
        hidden = t3.tfmr(inputs_embeds=embedded, use_cache=False).last_hidden_state
        answers = [
            row[first : first + len(tokens) + 1]
            for row, first, tokens in zip(hidden, speech_starts, speech, strict=True)
        ]
        return answers, voice.shape[1], speech_starts

    @torch.no_grad()
    def draw(self, examples: Sequence[Example], temperature: float) -> list[Tensor]:
        """Draws tokens, int64 [T] for each example, each after the true ones before it, without guidance."""
        answers, _, _ = self._answers(examples, [example.speech for example in examples])
        before_stop = torch.cat([row[:-1] for row in answers])
        logits = F.linear(before_stop, self.t3.speech_head.weight[self._speech_used])
        drawn = torch.multinomial((logits / temperature).softmax(dim=1), 1)[:, 0]
        return list(torch.split(self._speech_used[drawn], [len(example.speech) for example in examples]))

    def _phone_loss(self, answers: Tensor, examples: Sequence[Example]) -> Tensor:
        phones = [example.phones for example in examples if not example.hidden]
        if not phones:
            return torch.zeros(())
        logits: Tensor = self.tell_phones(answers).view(-1, len(PHONES))
        return F.cross_entropy(logits, torch.cat(phones).flatten())

    def _alignment_loss(
        self, examples: Sequence[Example], text_start: int, speech_starts: Sequence[int]
    ) -> Tensor:
        """Returns how far one head looks away from the letters that are spoken."""
        attention = self._attention()
        assert self._attention_input is not None
        width = attention.head_dim
        rows = slice(ALIGNMENT_HEAD * width, (ALIGNMENT_HEAD + 1) * width)
        queries = F.linear(self._attention_input, attention.q_proj.weight[rows])
        keys = F.linear(self._attention_input, attention.k_proj.weight[rows])
        angles = torch.outer(torch.arange(queries.shape[1]).float(), rotary_frequencies(width))
        cosines, sines = torch.cat([angles.cos()] * 2, dim=1), torch.cat([-angles.sin(), angles.sin()], dim=1)
        queries, keys = (part * cosines + part.roll(width // 2, dims=2) * sines for part in (queries, keys))
        losses = []
        for index, (example, first) in enumerate(zip(examples, speech_starts, strict=True)):
            if example.hidden:
                continue
            last = first + len(example.places)
            scores = queries[index, first:last] @ keys[index, :last].T * width**-0.5
            later = torch.arange(last)[None] > torch.arange(first, last)[:, None]
            weights = scores.masked_fill(later, -torch.inf).softmax(dim=1)
            letters = torch.arange(len(example.text)).float()
            near = torch.exp(-((letters[None] - example.places[:, None]) / ALIGNMENT_WIDTH).square() / 2)
            mass = (weights[:, text_start : text_start + len(letters)] * near).sum(dim=1)
            losses.append(-(mass + 1e-4).log().mean())
        return torch.stack(losses).mean() if losses else torch.zeros(())


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Returns the weighted mean, 0 if all weights are."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-3)


class Examples:
    """Draws sequences to learn from."""

    def __init__(
        self,
        sentences: Sequence[tuple[Sentence, Features]],
        codes: Sequence[Tensor],
        voices: Mapping[str, Voices],
        tokenizer: TextTokenizer,
        spec: ModelSpec,
    ) -> None:
        self.codes, self._prompts = replace_rare(codes), codes
        self._voices, self._spec = voices, spec
        self._sentences = [sentence for sentence, _ in sentences]
        self._letters = [tokenizer.encode(sentence.text, "en") for sentence in self._sentences]
        self._space = tokenizer.encode("a a", "en")[1:2]
        self._places = []
        self._phones = []
        for index, (_, features) in enumerate(sentences):
            # Where the second frame of a token is, as a share of the letters.
            done = torch.from_numpy(features.phones_done.astype("float32"))[1::2][: len(codes[index])]
            phones = torch.from_numpy(features.phones.astype("int64"))[
                : MEL_FRAMES_PER_TOKEN * len(codes[index])
            ]
            self._phones.append(phones.view(-1, MEL_FRAMES_PER_TOKEN))
            self._places.append(done * len(self._letters[index]))
        self._by_speaker: dict[str, list[int]] = {}
        for index, sentence in enumerate(self._sentences):
            self._by_speaker.setdefault(sentence.speaker, []).append(index)
        self._by_length = sorted(range(len(codes)), key=lambda index: len(codes[index]))

    def draw(self, rng: random.Random) -> list[Example]:
        """Draws the sequences of a step, all of about the same length."""
        prompt_tokens = rng.randint(*PROMPT_TOKENS)
        if rng.random() < ALONE:
            middle = rng.randrange(len(self._by_length))
            neighbours = self._by_length[max(0, middle - NEIGHBOURS) : middle + NEIGHBOURS]
            groups = [[index] for index in rng.sample(neighbours, min(MOST_SENTENCES, len(neighbours)))]
        else:
            longest = rng.randint(*LONGEST_TEXT)
            groups = [self._in_a_row(rng, longest) for _ in range(GROUPS)]
        examples: list[Example] = []
        positions = 0
        for group in groups:
            example = self._example(rng, group, prompt_tokens)
            positions += CONDITIONING + len(example.text) + len(example.speech)
            if examples and positions > POSITIONS_PER_STEP:
                break
            examples.append(example)
        return examples

    def _in_a_row(self, rng: random.Random, longest: int) -> list[int]:
        of_it = self._by_speaker[rng.choice(self._sentences).speaker]
        group: list[int] = []
        letters = 0
        while True:
            index = rng.choice(of_it)
            letters += 1 + len(self._letters[index])
            if group and letters > longest:
                return group
            group.append(index)

    def _example(self, rng: random.Random, group: Sequence[int], prompt_tokens: int) -> Example:
        tokens = self._spec.tokens
        text = [torch.tensor([tokens.start_text])]
        places: list[Tensor] = []
        for index in group:
            if places:
                text.append(self._space)
            places.append(sum(len(part) for part in text) + self._places[index])
            text.append(self._letters[index])
        text.append(torch.tensor([tokens.stop_text]))
        whole = torch.cat(text)
        speaker = self._sentences[group[0]].speaker
        prompt = torch.zeros(0, dtype=torch.int64)
        while len(prompt) < prompt_tokens:
            prompt = torch.cat([prompt, self._prompts[rng.choice(self._by_speaker[speaker])]])
        return Example(
            text=whole,
            speech=torch.cat([self.codes[index] for index in group]),
            phones=torch.cat([self._phones[index] for index in group]),
            places=torch.cat([*places, torch.tensor([len(whole) - 1.0])]),
            speaker_embedding=rng.choice(list(self._voices[speaker].speaker_embeddings)),
            prompt=prompt[:prompt_tokens],
            hidden=rng.random() < WITHOUT_TEXT,
        )


def replace_rare(codes: Sequence[Tensor], least: int = LEAST_COUNT) -> list[Tensor]:
    """Returns the tokens with rare ones replaced by the frequent ones whose digits are nearest.

    A token that is met a few times cannot be learned, and each one makes a step slower.
    """
    counts = torch.bincount(torch.cat(list(codes)), minlength=CODEBOOK_SIZE)
    frequent = (counts >= least).nonzero()[:, 0]
    if len(frequent) == 0:
        return list(codes)
    digits = torch.stack(
        [torch.arange(CODEBOOK_SIZE) // 3**place % 3 for place in range(DIGITS)], dim=1
    ).float()
    nearest = frequent[torch.cdist(digits, digits[frequent], p=1).argmin(dim=1)]
    return [nearest[tokens] for tokens in codes]


def train_t3(
    t3: nn.Module, spec: ModelSpec, examples: Examples, folder: Path, *, steps: int, seed: int = 0
) -> nn.Module:
    """Trains T3 and returns it."""
    network = T3Trainer(t3, spec, examples.codes)

    def losses_of(rng: random.Random) -> dict[str, Tensor]:
        return network.losses(examples.draw(rng))

    return train("t3", network, losses_of, folder, steps=steps, rate=1.5e-3, seed=seed).t3  # type: ignore[return-value]
