"""What the check of takes finds, how well words are placed, and what the pass over a chunk costs.

    python -m benchmarks.takes [--model NAME] [--checkpoint DIR] [--device cpu|cuda] [--texts N]
                               [--what faults,words,cost] [--json FILE]

faults: readings without a fault have one put in, of each kind, and are checked. "cut" and "held" change their
tokens; "read" are readings of another text, in which words are left out or said again. Readings as T3 gave
them are checked, too: what is found in them is a false alarm, or a fault of T3's own. words: ends of words by
T3's attention, beside forced alignment by PocketSphinx, which comes with the packages for development.
cost: milliseconds a chunk of the pass over it and of the check on the host, beside those of decoding it.
Without --checkpoint a tiny one is written whose head follows the text.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio.waveform import Waveform
from benchmarks.machine import describe, keep, results_file
from benchmarks.sentences import sentences
from benchmarks.weights import add_model
from cancel import CancelToken
from speech.contract import ModelInfo, SamplingParams, Utterance
from speech.models.spec import MODELS, SILENCE_TOKEN, SPEECH_TOKENS_PER_S
from speech.models.t3 import Head
from speech.pipeline import load_synthesizer, make_batch, set_arithmetic, t3_dtype
from speech.reference.conditionals import dummy_voice
from speech.smoke import write_smoke_checkpoint
from speech.t3.alignment import align, find_alignment_heads, follow
from speech.t3.request import Decoded, DecodeRequest
from speech.t3.sampling import Sampling
from speech.takes import TakeCheck
from speech.text.calibration import calibration_sentence
from speech.text.duration import max_speech_tokens
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model

WORDS = 4  # that are left out, or said again
HELD_S = 1.6  # of a sound that does not end
# Of faults that are put in, and the code that tells of each.
CUT = {"dropped": "skips", "repeated": "repeats", "stuck": "stuck", "early end": "end_missing"}
READ = {"dropped": "skips", "repeated": "repeats", "early end": "end_missing"}
ROUNDS = 5
COST_CHARS = 120  # of the chunk that is timed


@dataclass(frozen=True)
class Reading:
    """A text as T3 has read it."""

    text: str
    request: DecodeRequest
    decoded: Decoded
    check: TakeCheck


def request_of(model: Model, text: str, seed: int) -> DecodeRequest:
    """A chunk in the model's own voice, with its own parameters."""
    voice = model.builtin_voice or dummy_voice(model.spec.conditioning)
    info = ModelInfo(model.spec, model.revision)
    return DecodeRequest(
        speaker_embedding=voice.speaker_embedding,
        prompt_tokens=voice.t3_prompt_tokens,
        exaggeration=0.5,
        text_tokens=model.tokenizer.encode(text, info.default_language),
        sampling=Sampling.of(info.resolve(SamplingParams())),
        max_tokens=min(max_speech_tokens(text), model.spec.max_speech_tokens),
        seed=seed,
    )


def read(
    model: Model, texts: Sequence[str], seed: int, silence: frozenset[int] = frozenset()
) -> list[Reading]:
    """Decodes texts, one after the other, with seeds of their own."""
    batch, readings = make_batch(model), []
    for number, text in enumerate(texts):
        request = request_of(model, text, seed + number)
        sequence = batch.add(request)
        finished: dict[Any, Decoded] = {}
        while not finished:
            finished = batch.step_many()
        spans = model.tokenizer.spans(text, ModelInfo(model.spec, model.revision).default_language)
        check = TakeCheck.of(text, spans, silence)
        readings.append(Reading(text, request, finished[sequence], check))
    return readings


def find_heads(model: Model) -> list[Head]:
    """The heads that follow a sentence."""
    (reading,) = read(model, [calibration_sentence(model.spec.default_language)], 0)
    heads = model.t3.all_heads
    scores = model.t3.attention_to_text(reading.request, reading.decoded.tokens, heads)
    return [heads[index] for index in find_alignment_heads(scores.cpu().numpy())]


def scores_of(model: Model, reading: Reading, tokens: Tensor, heads: Sequence[Head]) -> NDArray[np.float32]:
    """The attention of tokens to a reading's text, float32 [T, N]."""
    scores = model.t3.attention_to_text(reading.request, tokens, heads)
    mean: NDArray[np.float32] = scores.mean(dim=0).cpu().numpy()
    return mean


def cut(kind: str, tokens: Tensor, words: NDArray[np.int64], draw: np.random.Generator) -> Tensor:
    """Returns a reading's tokens with a fault.

    words: int64 [T], the word at which each is said, not falling.
    """
    last = int(words[-1])
    first = int(draw.integers(1, last - WORDS))
    start, end = (int(np.searchsorted(words, word)) for word in (first, first + WORDS))
    if kind == "dropped":
        return torch.cat([tokens[:start], tokens[end:]])
    if kind == "repeated":
        return torch.cat([tokens[:end], tokens[start:]])
    if kind == "stuck":
        held = tokens[start].expand(round(HELD_S * SPEECH_TOKENS_PER_S))
        return torch.cat([tokens[:start], held, tokens[start:]])
    return tokens[: int(np.searchsorted(words, int(draw.integers(last // 3, last - 1))))]


def rewrite(kind: str, text: str, draw: np.random.Generator) -> str:
    """Returns a text with a fault."""
    words = text.split()
    first = int(draw.integers(1, len(words) - WORDS - 1))
    if kind == "dropped":
        words = words[:first] + words[first + WORDS :]
    elif kind == "repeated":
        words = words[: first + WORDS] + words[first:]
    else:
        words = words[: int(draw.integers(len(words) // 3, len(words) - 2))]
    return " ".join(words)


def measure_faults(model: Model, heads: Sequence[Head], texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Prints and returns how many faults are found, and what is found in readings as they are."""
    quiet = model.reference_encoder.tokenize(np.zeros(16_000, np.float32)).tolist()
    silence = frozenset({SILENCE_TOKEN, *quiet})
    texts = [text for text in texts if len(text.split()) > WORDS + 2]

    def codes(reading: Reading, tokens: Tensor, *, stopped: bool) -> set[str]:
        scores = scores_of(model, reading, tokens, heads)
        found = reading.check.faults(tokens.cpu().numpy(), scores, stopped=stopped)
        return {fault.code for fault in found}

    readings = read(model, texts, 1, silence)
    as_they_are = [codes(each, each.decoded.speech(), stopped=each.decoded.stopped) for each in readings]
    clean = [reading for reading, found in zip(readings, as_they_are, strict=True) if not found]
    print(f"\n{len(readings) - len(clean)} of {len(readings)} readings as they are have a fault")
    for reading, found in zip(readings, as_they_are, strict=True):
        if found:
            print(f"  {', '.join(sorted(found))}: {reading.text}")
    figures: dict[str, dict[str, float]] = {
        "as they are": {"count": len(readings), "found": len(readings) - len(clean)}
    }
    print(f"\n{'put in':<18}{'readings':>10}{'found':>8}{'by its name':>13}")

    def report(name: str, code: str, found: Sequence[set[str]]) -> None:
        any_found, by_name = sum(map(bool, found)), sum(code in each for each in found)
        print(f"{name:<18}{len(found):>10}{any_found:>8}{by_name:>13}")
        figures[name] = {"count": len(found), "found": any_found, "by_name": by_name}

    for kind, code in CUT.items():
        draw, cuts = np.random.default_rng(0), []
        for reading in clean:
            assert reading.check.tokens is not None
            tokens = reading.decoded.speech()
            track = follow(scores_of(model, reading, tokens, heads), goes_back=False)
            faulty = cut(kind, tokens, reading.check.tokens.words[track], draw)
            cuts.append(codes(reading, faulty, stopped=True))
        report(f"{kind}, {'held' if kind == 'stuck' else 'cut'}", code, cuts)
    for kind, code in READ.items():
        draw = np.random.default_rng(0)
        others = read(model, [rewrite(kind, each.text, draw) for each in clean], 1000, silence)
        pairs = zip(clean, others, strict=True)
        report(
            f"{kind}, read",
            code,
            [codes(reading, other.decoded.speech(), stopped=True) for reading, other in pairs],
        )
    return figures


def measure_cost(model: Model, heads: Sequence[Head], texts: Sequence[str]) -> dict[str, float]:
    """Prints and returns medians of milliseconds a chunk."""

    def median_ms(work: Callable[[], object]) -> float:
        times_s = []
        for _ in range(ROUNDS):
            started_s = time.perf_counter()
            work()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            times_s.append(time.perf_counter() - started_s)
        return 1000 * statistics.median(times_s)

    text = " ".join(texts)[:COST_CHARS]
    (reading,) = read(model, [text], 0)
    tokens = reading.decoded.tokens
    scores = scores_of(model, reading, tokens, heads)
    figures = {
        "decode_ms": median_ms(lambda: read(model, [text], 0)),
        "pass_ms": median_ms(lambda: model.t3.attention_to_text(reading.request, tokens, heads)),
        "check_ms": median_ms(lambda: reading.check.faults(tokens.cpu().numpy(), scores, stopped=True)),
        "align_ms": median_ms(lambda: align(scores)),
    }
    print(f"\na chunk of {len(reading.request.text_tokens)} text tokens and {len(tokens)} speech tokens, ms:")
    print(*(f"  {name.removesuffix('_ms'):<8}{value:9.1f}" for name, value in figures.items()), sep="\n")
    return figures


def measure_words(checkpoint: Path, model: str, device: str, texts: Sequence[str]) -> dict[str, float]:
    """Prints and returns how far ends of words by attention are from those by forced alignment."""
    errors_s: list[float] = []
    with closing(load_synthesizer(model, checkpoint_dir=checkpoint, device=device)) as synthesizer:
        synthesizer.check()
        for number, text in enumerate(texts):
            utterance = Utterance(text, synthesizer.builtin_voice(), number, align=True)
            for chunk in synthesizer.synthesize([utterance], CancelToken()):
                if chunk.alignment is not None:
                    times = dict(chunk.alignment.character_times())
                    for end, time_s in forced_ends_s(chunk.waveform, chunk.text):
                        if end in times:
                            errors_s.append(times[end] - time_s)
    if not errors_s:
        print("\nno word could be placed")
        return {}
    errors = np.array(errors_s)
    distances = np.abs(errors)
    figures = {
        "words": len(errors),
        "median_s": float(np.median(distances)),
        "ninth_decile_s": float(np.percentile(distances, 90)),
        "bias_s": float(np.median(errors)),
        "spread_s": float(np.median(np.abs(errors - np.median(errors)))),
    }
    print(
        f"\n{len(errors)} ends of words beside forced alignment: median distance "
        f"{1000 * figures['median_s']:.0f} ms, nine of ten within {1000 * figures['ninth_decile_s']:.0f} ms; "
        f"{1000 * figures['bias_s']:+.0f} ms late in the middle, around which the median distance is "
        f"{1000 * figures['spread_s']:.0f} ms"
    )
    return figures


def forced_ends_s(waveform: Waveform, text: str) -> list[tuple[int, float]]:
    """Returns where each word ends in a text, and when by PocketSphinx; nothing where it finds no path."""
    import pocketsphinx

    from audio.waveform import resample
    from benchmarks.ears import words_of

    decoder = pocketsphinx.Decoder(samprate=16_000, loglevel="FATAL")
    words = words_of(text)
    samples = resample(waveform, 16_000).samples
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    if decoder.hyp() is None:
        return []
    spoken = [each for each in decoder.seg() if not each.word.startswith(("<", "[", "("))]
    if len(spoken) != len(words):
        return []
    ends, place, lowered = [], 0, text.lower()
    for word, segment in zip(words, spoken, strict=True):
        place = lowered.index(word, place) + len(word)
        ends.append((place, (segment.end_frame + 1) / 100))
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.takes", description=__doc__.splitlines()[0])
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--texts", type=int, default=40, help="%(default)s without")
    parser.add_argument(
        "--what", default="faults,cost", help="of faults, words and cost; %(default)s without"
    )
    parser.add_argument("--json", type=results_file, help="where to keep the figures")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    spec, device, texts = MODELS[options.model], torch.device(options.device), sentences(options.texts)
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.checkpoint
        if folder is None:
            folder = Path(temporary)
            write_smoke_checkpoint(folder, spec=spec, follows_text=True)
        set_arithmetic("auto")
        checkpoint = Checkpoint(folder, None, may_be_unpublished=True)
        model = load_model(spec, checkpoint, device, t3_dtype(device, "auto"))
        print(describe(options.device))
        heads = find_heads(model)
        print(f"heads that follow the text: {heads or 'none'}")
        figures["heads"] = heads
        what = options.what.split(",")
        if "faults" in what and heads:
            figures["faults"] = measure_faults(model, heads, texts)
        if "cost" in what:
            last = len(model.t3.all_heads) // 2  # as deep as the published models' are said to be
            figures["cost"] = measure_cost(model, heads or [model.t3.all_heads[last]], texts)
        if "words" in what and heads:
            figures["words"] = measure_words(folder, options.model, options.device, texts)
    keep(options.json, options.device, **figures)


if __name__ == "__main__":
    main()
