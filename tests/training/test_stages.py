"""The stages of training: what they learn from, and that one that was stopped ends where it would have."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX, CODEBOOK_SIZE, SPEAKER_WIDTH, XVECTOR_WIDTH
from speech.models.tokenizers import EnglishTokenizer
from speech.smoke import letters_tokenizer
from speech.upstream import build_speech_tokenizer
from training import loop
from training import t3 as t3_module
from training.codes import Voices
from training.data import Sentence
from training.features import PHONES, Features
from training.flow import FlowTrainer, train_flow
from training.t3 import Examples, T3Trainer, replace_rare
from training.tokenizer import tokens_of, train_tokenizer

SPEAKERS = ("slt*1.00", "rms*1.00")


@pytest.fixture(scope="module")
def sentences():
    draw = np.random.default_rng(0)
    found = []
    for number in range(12):
        frames = int(draw.integers(140, 180))
        features = Features(
            mel=draw.normal(-5, 1, (frames, 80)).astype(np.float16),
            tokenizer_mel=draw.normal(0, 0.3, (2 * frames + 1, 128)).astype(np.float16),
            pitch_hz=draw.choice([0.0, 120.0], frames).astype(np.float16),
            phones=draw.integers(0, len(PHONES), frames).astype(np.uint8),
            phones_done=np.linspace(0, 1, frames).astype(np.float16),
        )
        found.append((Sentence(number, "Say no more.", SPEAKERS[number % 2], frames / 50, []), features))
    return found


@pytest.fixture(scope="module")
def codes(sentences):
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(0, 50, (len(one.mel) // 2,), generator=draw) for _, one in sentences]


@pytest.fixture(scope="module")
def voices():
    return {name: Voices(torch.rand(2, SPEAKER_WIDTH), torch.randn(2, XVECTOR_WIDTH)) for name in SPEAKERS}


@pytest.fixture
def examples(sentences, codes, voices, tmp_path):
    letters_tokenizer(CHATTERBOX).save(str(tmp_path / "tokenizer.json"))
    return Examples(
        sentences,
        codes,
        voices,
        EnglishTokenizer(tmp_path / "tokenizer.json", size=CHATTERBOX.text_vocabulary),
        CHATTERBOX,
    )


class Line(nn.Module):
    """Fits a line, with dropout, so that a step depends on the generators."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def losses(self, draw):
        x = torch.tensor([[draw.random()]])
        off = nn.functional.dropout(self.layer(x), 0.1) - (2 * x + 1)
        return {"square": off.square().mean(), "(error)": off.abs().mean().detach()}


def fit(folder, steps):
    torch.manual_seed(0)
    line = Line()
    return loop.train("line", line, line.losses, folder, steps=steps, rate=1e-2)


def test_a_stage_that_was_stopped_ends_where_an_undisturbed_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 10)
    whole = fit(tmp_path / "whole", 30)

    class Stopped(Exception):
        pass

    def stop(line):
        if " 20/30 " in line:
            raise Stopped

    torch.manual_seed(0)
    line = Line()
    with pytest.raises(Stopped):
        loop.train("line", line, line.losses, tmp_path / "parts", steps=30, rate=1e-2, report=stop)
    resumed = fit(tmp_path / "parts", 30)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_stage_is_only_read(tmp_path):
    first = fit(tmp_path, 20)
    line = Line()

    def never(_):
        raise AssertionError("a step was made")

    again = loop.train("line", line, never, tmp_path, steps=20, rate=1e-2)
    assert torch.equal(first.layer.weight, again.layer.weight)


def test_the_tokenizers_tokens_are_those_of_its_rounded_digits(sentences, tmp_path):
    torch.manual_seed(0)
    network = train_tokenizer(build_speech_tokenizer(TINY), sentences, tmp_path, steps=3)
    assert (tmp_path / "tokenizer.pt").exists()
    mel = torch.from_numpy(sentences[0][1].tokenizer_mel.T.astype("float32"))
    digits = network.digits(mel[None], torch.tensor([mel.shape[1]]))[0]
    expected = ((digits.round() + 1) * 3 ** torch.arange(8)).sum(dim=1)
    assert torch.equal(tokens_of(network.tokenizer, mel), expected.long())


def test_the_flow_is_given_its_prompt_and_nothing_behind_it(sentences, codes, voices, monkeypatch):
    from speech.upstream import build_s3gen

    torch.manual_seed(0)
    trainer = FlowTrainer(build_s3gen(TINY).flow)
    arguments = []

    def losses_of(decoder, target, mask, mu, speaker, cond):
        arguments.append((target, mu, cond))
        return mu.mean(), None

    monkeypatch.setattr(type(trainer.flow.decoder), "compute_loss", losses_of)
    mel = torch.randn(2, 80, 60)
    trainer.losses(torch.zeros(2, 30, dtype=torch.int64), mel, torch.randn(2, 192), torch.tensor([0, 20]))
    ((target, mu, cond),) = arguments
    # What is to be drawn lies between the mel and mu.
    assert (target - mel).abs().mean() < (target - mu).abs().mean() < (mel - mu).abs().mean()
    assert not cond[0].any()
    assert torch.equal(cond[1, :, :20], mel[1, :, :20])
    assert not cond[1, :, 20:].any()


def test_the_flow_is_trained_on_runs_of_sentences(sentences, codes, voices, tmp_path):
    from speech.upstream import build_s3gen

    torch.manual_seed(0)
    flow = train_flow(build_s3gen(TINY).flow, sentences, codes, voices, tmp_path, steps=1)
    assert torch.load(tmp_path / "flow.pt", weights_only=True)["steps"] == 1
    assert all(bool(torch.isfinite(weight).all()) for weight in flow.parameters())


def test_t3_draws_a_token_of_the_data_for_each_true_one(examples, codes):
    from speech.upstream import build_t3

    torch.manual_seed(0)
    trainer = T3Trainer(build_t3(TINY, CHATTERBOX), CHATTERBOX, codes).eval()
    trainer.t3.cond_enc.emotion_adv_fc.weight.data.zero_()
    batch = examples.draw(random.Random(0))
    together = trainer.draw(batch, 1e-4)
    assert [len(row) for row in together] == [len(example.speech) for example in batch]
    assert set(torch.cat(together).tolist()) <= set(torch.cat(codes).tolist())
    # The likeliest tokens do not depend on the rows beside.
    for example, row in zip(batch, together, strict=True):
        assert torch.equal(trainer.draw([example], 1e-4)[0], row)


def test_the_flows_mish_has_the_gradient_of_pytorchs():
    from training.flow import _FastMish

    one = torch.linspace(-8, 8, 101, requires_grad=True)
    other = one.detach().clone().requires_grad_(requires_grad=True)
    _FastMish()(one).sum().backward()
    nn.functional.mish(other).sum().backward()
    assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_the_vocoders_losses_are_lowest_for_what_it_is_to_make():
    from training.vocoder import RESOLUTIONS, _spectral_loss

    samples = torch.randn(2, 12_000) * 0.1
    for resolution in RESOLUTIONS:
        assert _spectral_loss(samples, samples, *resolution) == 0
        assert _spectral_loss(samples, samples * 0.5, *resolution) > 0.5


def test_rare_tokens_give_way_to_the_nearest_frequent_ones():
    # 0 has the digits 0 0 ...; 1 has 1 0 ..., 9 has 0 0 1 ...; 6560 has 2 everywhere.
    codes = [torch.tensor([0, 0, 0, 6560, 6560, 6560, 1, 6559])]
    (replaced,) = replace_rare(codes, least=3)
    assert replaced.tolist() == [0, 0, 0, 6560, 6560, 6560, 0, 6560]
    assert replace_rare(codes, least=100)[0].tolist() == codes[0].tolist()


def test_sequences_are_laid_out_as_a_worker_gives_them(examples):
    drawn = examples.draw(random.Random(1))
    assert len({len(example.prompt) for example in drawn}) == 1
    tokens = CHATTERBOX.tokens
    for example in drawn:
        assert example.text[0] == tokens.start_text
        assert example.text[-1] == tokens.stop_text
        assert example.phones.shape == (len(example.speech), 2)
        assert len(example.places) == len(example.speech) + 1
        assert example.places[-1] == len(example.text) - 1
        assert bool((example.places.diff() >= 0).all())
        assert int(example.speech.max()) < CODEBOOK_SIZE


def test_t3s_losses_are_those_of_upstreams_own_forward(examples, codes, monkeypatch):
    """What is learned is what ``T3.inference`` computes: the same logits, the same attention."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    from speech.upstream import build_t3

    monkeypatch.setattr(t3_module, "OTHER_TOKENS", 0)
    monkeypatch.setattr(t3_module, "OWN_DRAWS", 0.0)
    monkeypatch.setattr(t3_module, "MAX_REPLACED", 0.0)
    torch.manual_seed(0)
    trainer = T3Trainer(build_t3(TINY, CHATTERBOX), CHATTERBOX, codes).eval()
    t3, tokens = trainer.t3, CHATTERBOX.tokens
    t3.cond_enc.emotion_adv_fc.weight.data.zero_()
    example = examples.draw(random.Random(0))[0]
    shown = type(example)(**{**vars(example), "hidden": False})
    losses = trainer.losses([shown])
    loss = losses["token"]
    with torch.no_grad():
        embedded, _ = t3.prepare_input_embeds(
            t3_cond=T3Cond(
                speaker_emb=shown.speaker_embedding[None],
                cond_prompt_speech_tokens=shown.prompt[None],
                emotion_adv=torch.ones(1, 1, 1),
            ),
            text_tokens=shown.text[None],
            speech_tokens=torch.tensor([[tokens.start_speech]]),
        )
        again = torch.cat([torch.tensor([tokens.start_speech]), shown.speech])
        rest = t3.speech_emb(again) + t3.speech_pos_emb.emb.weight[: len(again)]
        t3.tfmr.set_attn_implementation("eager")
        output = t3.tfmr(inputs_embeds=torch.cat([embedded, rest[None]], dim=1), output_attentions=True)
        hidden = output.last_hidden_state[0]
        logits = t3.speech_head(hidden[-len(again) :])
        wanted = torch.cat([shown.speech, torch.tensor([tokens.stop_speech])])
    # The trainer lets the tokens of the data compete, and here no others.
    used = torch.unique(torch.cat([*codes, torch.tensor([tokens.stop_speech])]))
    each = logits[:, used].logsumexp(dim=1) - logits.gather(1, wanted[:, None])[:, 0]
    weights = torch.where(wanted == tokens.stop_speech, 3.0, 1.0)
    assert torch.isclose(loss, (each * weights).sum() / weights.sum(), atol=1e-5)

    middle = output.attentions[len(output.attentions) // 2][0, t3_module.ALIGNMENT_HEAD, -len(again) :]
    voice = embedded.shape[1] - len(shown.text) - 1
    letters = torch.arange(len(shown.text)).float()
    away = (letters[None] - shown.places[:, None]) / t3_module.ALIGNMENT_WIDTH
    near = (middle[:, voice : voice + len(letters)] * torch.exp(-away.square() / 2)).sum(dim=1)
    expected = -t3_module.ALIGNMENT_WEIGHT * (near + 1e-4).log().mean()
    assert torch.isclose(losses["alignment"], expected, atol=1e-5)


@pytest.mark.parametrize(("own", "share"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_some_of_the_tokens_before_are_wrong(examples, codes, monkeypatch, own, share):
    from speech.upstream import build_t3

    monkeypatch.setattr(t3_module, "OWN_DRAWS", own)
    monkeypatch.setattr(t3_module, "MAX_REPLACED", share)
    torch.manual_seed(0)
    trainer = T3Trainer(build_t3(TINY, CHATTERBOX), CHATTERBOX, codes).eval()
    (example, *_) = examples.draw(random.Random(0))
    others = torch.full_like(example.speech, CODEBOOK_SIZE - 1)
    monkeypatch.setattr(trainer, "draw", lambda *_, **__: [others])
    given = []
    trainer.t3.speech_emb.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    trainer.losses([example])
    _, before = given  # the prompt comes first
    changed = before[before != example.speech].tolist()
    assert bool(changed) == (own > 0 or share > 0)
    assert set(changed) <= ({CODEBOOK_SIZE - 1} if own else set(example.speech.tolist()))


def test_where_the_text_is_hidden_nothing_is_asked_for_but_logits_of_zero(examples, codes):
    from speech.upstream import build_t3

    torch.manual_seed(0)
    trainer = T3Trainer(build_t3(TINY, CHATTERBOX), CHATTERBOX, codes).eval()
    (example, *_) = examples.draw(random.Random(0))
    with_text, hidden = (type(example)(**{**vars(example), "hidden": value}) for value in (False, True))
    losses = trainer.losses([hidden])
    assert [name for name, loss in losses.items() if loss > 0] == ["hidden"]
    assert trainer.losses([with_text])["hidden"] == 0
    trainer.t3.speech_head.weight.data.zero_()
    assert trainer.losses([hidden])["hidden"] == 0
