"""Word errors of texts with pauses, turns, rates and numbers, and those that the check of takes saves.

    python -m benchmarks.hear_script [--checkpoint DIR] [--voice FILE] [--pairs 12] [--takes 20]
                                     [--device cpu] [--only ways,numbers,short,takes] [--json FILE]

All of it goes through the operation ``tts``. "words wrong" is PocketSphinx's word error rate against the text
as it is meant, so that only differences between rows say something.

ways: pairs of sentences, each pair with the same seed in every way. Turns are spoken in the built-in voice
and in a clone of --voice; "turns alone" are the same two turns, a job each. Of pauses, how many have exactly
the samples that were asked for, silent from where the sound before has faded.
numbers: sentences in words, with digits, and with digits that are given to the model as they are. How many
have the samples of the sentence in words.
short: twenty texts of one to three words, alone, with up to five takes, and behind a sentence that is cut
away again (``short_text_context``). How many are recognised among all of them.
takes: --takes sentences, as they are and with a fault put into half of all readings, those taken again too: a
fifth of the speech tokens left out or said again, one token held for 1.4 s, or an end half-way. Up to
1, 2 or 3 takes of a sentence are made. "faulty takes used" are those whose audio is in
the reply though a fault was put in.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from audio.decode import decode_audio
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks import ears
from benchmarks.machine import describe, keep, results_file
from cancel import CancelToken
from operations.base import Services
from operations.conditionals import VoiceConditionals
from operations.request import parse_request
from operations.script import TURN_SEED_STEP
from operations.tts import TtsRequest, run
from speech.contract import AudioChunk, Models
from speech.models.spec import SPEECH_TOKENS_PER_S, ModelSource
from speech.pipeline import ChatterboxSynthesizer, make_batch, t3_dtype
from speech.runtime import Batch, DeviceModel, DeviceRuntime
from speech.t3.request import Decoded
from speech.trim import decay_of
from speech.watermark import Watermarker
from speech.weights.find import find_model
from speech.weights.load import Model, load_model
from voice_store import VoiceStore

SAMPLES = Path(__file__).parent.parent / "samples"
PARTS = ("ways", "numbers", "short", "takes")
PAIRS, TAKEN_SENTENCES = 12, 20
CLONE = "Clone"
PAUSE_S = 0.7
FAULTY_SHARE = 0.5  # of readings
FAULTS = ("dropped", "repeated", "stuck", "early end")
HELD_S = 1.4
LEAST_TOKENS = 20  # of a reading that a fault is put into
TAKES = (1, 2, 3)
SEED_STEP = 10  # between sentences: their takes have seeds in a row

# With digits, and as they are meant.
NUMBERS = (
    ("There are 7 ships in the harbor.", "There are seven ships in the harbor."),
    ("He counted 25 boats on the river.", "He counted twenty-five boats on the river."),
    ("They left on the 3rd of May.", "They left on the third of May."),
    ("She paid $5 for the old lamp.", "She paid five dollars for the old lamp."),
    ("The train leaves at 7:30 in the morning.", "The train leaves at seven thirty in the morning."),
    ("There were 12 dogs and 40 sheep.", "There were twelve dogs and forty sheep."),
    ("She won 2nd place in the race.", "She won second place in the race."),
    ("The road is 15 miles long.", "The road is fifteen miles long."),
    ("Only 50% of the seats were taken.", "Only fifty percent of the seats were taken."),
    ("The house was built in 1998.", "The house was built in nineteen ninety-eight."),
)

SHORT = (
    *("Yes.", "No.", "Thank you.", "Good morning.", "Come in.", "Not today.", "Good night.", "Sit down."),
    *("Of course.", "Hurry up.", "Never mind.", "Please wait.", "Tomorrow morning.", "Happy birthday."),
    *("Open the door.", "Where is it?", "Follow me.", "Well done.", "Too late.", "Seven dollars."),
)

Samples = NDArray[np.float32]
Row = dict[str, Any]


def faults_by_seed(seed: int) -> str | None:
    """Returns the fault that a reading with a seed gets; None for one that stays as it is."""
    draw = random.Random(seed)  # noqa: S311, the same fault each time
    return draw.choice(FAULTS) if draw.random() < FAULTY_SHARE else None


def tampered(fault: str, tokens: Tensor, seed: int) -> Tensor:
    """Returns a reading's speech tokens, [T], with a fault at a place that is drawn by a seed."""
    count = len(tokens)
    length = count // 5
    start = random.Random(seed).randrange(count // 4, count // 2)  # noqa: S311, the same place each time
    match fault:
        case "dropped":
            return torch.cat([tokens[:start], tokens[start + length :]])
        case "repeated":
            return torch.cat([tokens[: start + length], tokens[start:]])
        case "stuck":
            held = tokens[start].repeat(round(HELD_S * SPEECH_TOKENS_PER_S))
            return torch.cat([tokens[:start], held, tokens[start:]])
        case _:
            return tokens[: count // 2]


class FaultyBatch:
    """A batch that puts faults into the readings of which ``faults_by_seed`` names one, while it is on."""

    def __init__(self, batch: Batch, is_on: Callable[[], bool]) -> None:
        self._batch, self._is_on = batch, is_on

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def step_many(self) -> dict[Any, Decoded]:
        """Returns what is decoded, with faults."""
        finished = self._batch.step_many()
        for sequence, decoded in finished.items():
            seed = sequence.request.seed
            fault = faults_by_seed(seed) if self._is_on() else None
            if fault is not None and len(decoded.tokens) >= LEAST_TOKENS:
                finished[sequence] = replace(decoded, tokens=tampered(fault, decoded.tokens, seed))
        return finished


@dataclass(frozen=True)
class Spoken:
    """What a job gave."""

    chunks: list[AudioChunk]  # watermarked
    samples: Samples  # of all of it, [n] at 24 kHz
    receipt: Mapping[str, Any]


class Speaker:
    """The operation ``tts`` on one model, whose readings may be given faults."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.has_faults = False
        device_model = DeviceModel(
            lambda: FaultyBatch(make_batch(model), lambda: self.has_faults), model.s3gen
        )
        runtime = DeviceRuntime(model.device, {model.spec.name: device_model})
        self._synthesizer = ChatterboxSynthesizer(model, runtime, Watermarker(model.device))
        self._synthesizer.check()  # looks for the heads that follow the text
        self._voices = VoiceStore(folder)
        self._services = Services(
            Models([self._synthesizer]), VoiceConditionals(), self._voices, _no_url, max_text_chars=5000
        )

    def add_voice(self, recording: Waveform, name: str) -> None:
        """Keeps a voice for jobs to name."""
        self._voices.put(recording, name)

    def speak(self, **fields: Any) -> Spoken:
        """Runs a job. fields: its input."""
        request = parse_request(TtsRequest, "tts", fields)
        result = run(request, self._services, CancelToken())
        chunks = list(result.chunks)
        samples = np.concatenate([chunk.with_pause().samples for chunk in chunks])
        return Spoken(chunks, samples, result.receipt())

    def close(self) -> None:
        """Ends the runtime's thread."""
        self._synthesizer.close()


def _no_url(url: str, field: str, cancel: CancelToken) -> bytes:
    raise AssertionError(f"{field} names {url}, and nothing is fetched here")


class WordCount:
    """Counts the words of speech that a recogniser gets wrong."""

    def __init__(self, recogniser: ears.Recogniser) -> None:
        self._recogniser = recogniser
        self.wrong = self.all = 0

    def hear(self, samples: Samples, meant: str) -> None:
        """Compares speech at 24 kHz with its text."""
        said = ears.words_of(self._recogniser.transcribe(Waveform(samples, MODEL_SAMPLE_RATE_HZ)))
        words = ears.words_of(meant)
        self.wrong += ears.word_errors(said, words)
        self.all += len(words)

    def figures(self) -> Row:
        """Returns the word error rate and how many words there were."""
        return {"words_wrong": self.wrong / max(1, self.all), "words": self.all}


def ways() -> dict[str, Callable[[str, str, int], list[Row]]]:
    """Returns, by the name of each way to say a pair of sentences, the inputs of its jobs for a seed."""

    def text(first: str, second: str, seed: int, before: str = "", between: str = " ") -> list[Row]:
        return [{"text": f"{before}{first}{between}{second}", "seed": seed}]

    def turns(first: str, second: str, seed: int) -> list[Row]:
        spoken = [{"text": first, "pause_after_s": PAUSE_S}, {"text": second, "voice_name": CLONE}]
        return [{"turns": spoken, "seed": seed}]

    def alone(first: str, second: str, seed: int) -> list[Row]:
        return [
            {"text": first, "seed": seed},
            {"text": second, "voice_name": CLONE, "seed": seed + TURN_SEED_STEP},
        ]

    return {
        "plain": text,
        "pause": partial(text, between=f" [pause:{PAUSE_S}s] "),
        "turns": turns,
        "turns alone": alone,
        "rate 0.8": partial(text, before="[rate:0.8]"),
        "rate 1.25": partial(text, before="[rate:1.25]"),
    }


def has_exact_pause(chunks: Sequence[AudioChunk]) -> bool:
    """Whether the one pause that was asked for has its samples, silent from where the sound has faded."""
    asked = [chunk for chunk in chunks if chunk.pause_is_exact]
    if len(asked) != 1:
        return False
    speech, rate_hz = asked[0].waveform.samples, asked[0].waveform.sample_rate_hz
    pause = asked[0].with_pause().samples[len(speech) :]
    faded = pause[len(decay_of(speech, rate_hz)) :]
    return len(pause) == round(PAUSE_S * rate_hz) and not faded.any()


def hear_ways(speaker: Speaker, recogniser: ears.Recogniser, pairs: int, takes: int) -> Iterator[Row]:
    """Yields the rows of ways to say pairs of sentences."""
    sentences = iter(ears.sentences(2 * pairs))
    chosen = list(zip(sentences, sentences, strict=True))
    for name, jobs_of in ways().items():
        count, exact = WordCount(recogniser), 0
        for seed, (first, second) in enumerate(tqdm(chosen, desc=name, leave=False, disable=None)):
            spoken = [speaker.speak(**job) for job in jobs_of(first, second, seed)]
            count.hear(np.concatenate([each.samples for each in spoken]), f"{first} {second}")
            exact += has_exact_pause(spoken[0].chunks)
        is_paused = name in ("pause", "turns")
        yield {"way": name, **count.figures(), "exact_pauses": f"{exact} of {pairs}" if is_paused else ""}


def hear_numbers(speaker: Speaker, recogniser: ears.Recogniser, pairs: int, takes: int) -> Iterator[Row]:
    """Yields the rows of texts with numbers: in words, as digits, and as digits that are not normalized."""
    in_words = [speaker.speak(text=meant, seed=seed).samples for seed, (_, meant) in enumerate(NUMBERS)]
    for name, fields in (
        ("in words", None),
        ("digits", {}),
        ("digits, not normalized", {"normalize_text": False}),
    ):
        count, same = WordCount(recogniser), 0
        for seed, (written, meant) in enumerate(tqdm(NUMBERS, desc=name, leave=False, disable=None)):
            twin = in_words[seed]
            samples = twin if fields is None else speaker.speak(text=written, seed=seed, **fields).samples
            count.hear(samples, meant)
            same += np.array_equal(samples, twin)
        yield {"numbers": name, **count.figures(), "as_in_words": f"{same} of {len(NUMBERS)}"}


def hear_short(speaker: Speaker, recogniser: ears.Recogniser, pairs: int, takes: int) -> Iterator[Row]:
    """Yields the rows of texts of one to three words."""
    kinds: dict[str, Row] = {
        "alone": {"max_takes": 1},
        "up to 5 takes": {"max_takes": 5},
        "behind a sentence": {"short_text_context": True},
    }
    for name, fields in kinds.items():
        count, recognised = WordCount(recogniser), 0
        for seed, text in enumerate(tqdm(SHORT, desc=name, leave=False, disable=None)):
            samples = speaker.speak(text=text, seed=seed, **fields).samples
            count.hear(samples, text)
            recognised += recogniser.choose(Waveform(samples, MODEL_SAMPLE_RATE_HZ), SHORT) == seed
        yield {"short": name, **count.figures(), "recognised": f"{recognised} of {len(SHORT)}"}


def hear_takes(speaker: Speaker, recogniser: ears.Recogniser, pairs: int, takes: int) -> Iterator[Row]:
    """Yields the rows of readings with and without faults, by the most takes."""
    for has_faults in (False, True):
        speaker.has_faults = has_faults
        for most in TAKES:
            count, takes_made, faulty_takes_used = WordCount(recogniser), 0, 0
            sentences = enumerate(ears.sentences(takes))
            for number, text in tqdm(sentences, desc=f"{most} takes", total=takes, leave=False, disable=None):
                seed = SEED_STEP * number
                spoken = speaker.speak(text=text, seed=seed, max_takes=most)
                count.hear(spoken.samples, text)
                made = [take for chunk in spoken.chunks for take in chunk.takes]
                takes_made += len(made)
                faulty_takes_used += sum(take.used and faults_by_seed(take.seed) is not None for take in made)
            yield {
                "faults": "in half" if has_faults else "none",
                "max_takes": most,
                **count.figures(),
                "takes": takes_made,
                "faulty_takes_used": faulty_takes_used if has_faults else 0,
            }
    speaker.has_faults = False


def table(rows: Sequence[Row]) -> str:
    """Returns rows as they are printed, under the names of their values."""
    lines = ["".join(f"{name.replace('_', ' '):>24}" for name in rows[0])]
    for row in rows:
        cells = (f"{value:.1%}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def hear(
    checkpoint: Path,
    voice: Path,
    device: str,
    *,
    pairs: int = PAIRS,
    takes: int = TAKEN_SENTENCES,
    only: Iterable[str] = PARTS,
) -> dict[str, list[Row]]:
    """Prints and returns the tables. only: which of ``PARTS``.

    Raises OSError for a recording that cannot be read, and WorkerError for one that is none and without
    weights.
    """
    recording = decode_audio(voice.read_bytes(), voice.name)
    spec, checkpoint_found = find_model(ModelSource("chatterbox", folder=checkpoint))
    target = torch.device(device)
    model = load_model(spec, checkpoint_found, target, t3_dtype(target, "auto"))
    hears = {"ways": hear_ways, "numbers": hear_numbers, "short": hear_short, "takes": hear_takes}
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder, closing(Speaker(model, Path(folder))) as speaker:
        speaker.add_voice(recording, CLONE)
        recogniser = ears.Recogniser()
        for name in only:
            tables[name] = list(hears[name](speaker, recogniser, pairs, takes))
            print(f"\n{table(tables[name])}", flush=True)
    return tables


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hear_script")
    parser.add_argument("--checkpoint", type=Path, default=SAMPLES / "small", metavar="DIR")
    parser.add_argument("--voice", type=Path, default=SAMPLES / "reference.flac", metavar="FILE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of sentences; %(default)s without")
    parser.add_argument("--takes", type=int, default=TAKEN_SENTENCES, help="sentences; %(default)s without")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args(arguments)
    only = options.only.split(",")
    if unknown := set(only) - set(PARTS):
        parser.error(f"--only knows {', '.join(PARTS)} and not {', '.join(sorted(unknown))}")
    print(describe(options.device))
    tables = hear(
        options.checkpoint,
        options.voice,
        options.device,
        pairs=options.pairs,
        takes=options.takes,
        only=only,
    )
    keep(options.json, options.device, **tables)


if __name__ == "__main__":
    main()
