"""What is heard of texts with pauses, turns, rates and numbers, and what the check of takes saves, in words.

    python -m benchmarks.hear_script [--checkpoint DIR] [--voice FILE] [--pairs 40] [--threads 1]
                                     [--json FILE]

Pairs of sentences go through the operation ``tts`` in each way, with the same seeds. "words wrong" is
PocketSphinx's word error rate against the text as it is meant, so that only differences between rows say
something. Of pauses and turns, how many pauses have exactly the samples that were asked for. Of numbers, how
many texts with digits have the samples of the same text in words.

Short texts: how many of twenty are recognised among all of them.

Takes: readings of the pairs, with a fault put into half of them (a fifth of the speech tokens
left out or said again, one token for 1.4 s, or an end half-way), as the check finds it with 1, 2 and 3 takes.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from operations.speech_result import SpeechResult
from operations.tts import TtsRequest, run
from speech.contract import Models
from speech.models.spec import ModelSource
from speech.pipeline import ChatterboxSynthesizer, make_batch
from speech.runtime import Batch, DeviceModel, DeviceRuntime
from speech.t3.request import Decoded
from speech.watermark import Watermarker
from speech.weights.find import find_model
from speech.weights.load import Model, load_model
from voice_store import VoiceStore

SAMPLES = Path(__file__).parent.parent / "samples"
CLONE = "Clone"
PAUSE_S = 0.7
FAULTY_SHARE = 0.5
STUCK_TOKENS = 35  # 1.4 s
TAKES = (1, 2, 3)

# With digits, and as they are meant.
NUMBERS = (
    ("The train leaves at 7:30 in the morning.", "The train leaves at seven thirty in the morning."),
    ("We need 3 more chairs for the meeting.", "We need three more chairs for the meeting."),
    ("He paid $20 for an old clock.", "He paid twenty dollars for an old clock."),
    ("The market opens on May 1st.", "The market opens on May first."),
    ("There were 12 dogs and 40 sheep.", "There were twelve dogs and forty sheep."),
    ("She won 2nd place in the race.", "She won second place in the race."),
    ("The road is 15 miles long.", "The road is fifteen miles long."),
    ("Only 50% of the seats were taken.", "Only fifty percent of the seats were taken."),
    ("The house was built in 1998.", "The house was built in nineteen ninety-eight."),
    ("My number is 007 and my room is 11.", "My number is zero zero seven and my room is eleven."),
)


SHORT = (
    *("Yes.", "No.", "Thank you.", "Good morning.", "Come in.", "Not today.", "Good night.", "Sit down."),
    *("Of course.", "Hurry up.", "Never mind.", "Please wait.", "Tomorrow morning.", "Happy birthday."),
    *("Open the door.", "Where is it?", "Follow me.", "Well done.", "Too late.", "Seven dollars."),
)


def tampered(tokens: Tensor, draw: random.Random) -> Tensor:
    """Returns a reading's speech tokens with a fault of a kind that is drawn."""
    count = len(tokens)
    start, length = draw.randrange(count // 4, count // 2 + 1), max(1, count // 5)
    match draw.choice(("dropped", "repeated", "stuck", "early end")):
        case "dropped":
            return torch.cat([tokens[:start], tokens[start + length :]])
        case "repeated":
            return torch.cat([tokens[: start + length], tokens[start:]])
        case "stuck":
            return torch.cat([tokens[:start], tokens[start].repeat(STUCK_TOKENS), tokens[start:]])
        case _:
            return tokens[: count // 2]


class FaultyBatch:
    """A batch that puts a fault into a share of readings, always the same into that of a seed."""

    def __init__(self, batch: Batch, is_on: Callable[[], bool]) -> None:
        self._batch, self._is_on = batch, is_on

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def step_many(self) -> dict[Any, Decoded]:
        """Returns what is decoded, with faults."""
        finished = self._batch.step_many()
        for sequence, decoded in finished.items():
            draw = random.Random(sequence.request.seed)  # noqa: S311, the same fault each time
            if self._is_on() and draw.random() < FAULTY_SHARE and len(decoded.tokens) > 20:
                finished[sequence] = replace(decoded, tokens=tampered(decoded.tokens, draw))
        return finished


@dataclass
class Speaker:
    """The operation ``tts`` on one model, whose readings may be given faults."""

    model: Model
    folder: Path
    has_faults: bool = False

    def __post_init__(self) -> None:
        name = self.model.spec.name
        device_model = DeviceModel(
            lambda: FaultyBatch(make_batch(self.model), lambda: self.has_faults), self.model.s3gen
        )
        runtime = DeviceRuntime(self.model.device, {name: device_model})
        self.synthesizer = ChatterboxSynthesizer(self.model, runtime, Watermarker())
        self.synthesizer.check()
        self.store = VoiceStore(self.folder)

        def refuse(url: str, field: str, cancel: CancelToken) -> bytes:
            raise AssertionError(url)

        self._services = Services(
            Models([self.synthesizer]), VoiceConditionals(), self.store, refuse, max_text_chars=5000
        )

    def speak(self, **fields: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Returns the samples of a job, float32 [n] at 24 kHz, and its receipt."""
        request = parse_request(TtsRequest, "tts", fields)
        result: SpeechResult = run(request, self._services, CancelToken())
        samples = np.concatenate([chunk.with_pause().samples for chunk in result.chunks])
        return samples, result.receipt()

    def close(self) -> None:
        self.synthesizer.close()


@dataclass
class Words:
    """Counts words that a recogniser gets wrong."""

    recogniser: ears.Recogniser
    wrong: int = 0
    all: int = 0

    def hear(self, samples: NDArray[np.float32], meant: str) -> None:
        """Compares speech with its text."""
        transcript = self.recogniser.transcribe(Waveform(samples, MODEL_SAMPLE_RATE_HZ))
        words = ears.words_of(meant)
        self.wrong += ears.word_errors(ears.words_of(transcript), words)
        self.all += len(words)

    @property
    def rate(self) -> float:
        return self.wrong / max(1, self.all)


def pairs(count: int) -> list[tuple[str, str]]:
    """Returns pairs of sentences of the test set."""
    sentences = iter(ears.sentences(2 * count))
    return list(zip(sentences, sentences, strict=True))


def ways() -> dict[str, Callable[[str, str], dict[str, Any]]]:
    """Returns the fields of a job for a pair of sentences, by the name of the way it is said."""

    def text(first: str, second: str, before: str = "", between: str = " ") -> dict[str, Any]:
        return {"text": f"{before}{first}{between}{second}"}

    return {
        "plain": text,
        "pause": partial(text, between=f" [pause:{PAUSE_S}s]"),
        "turns": lambda first, second: {
            "turns": [{"text": first, "pause_after_s": PAUSE_S}, {"text": second, "voice_name": CLONE}]
        },
        "rate 0.8": partial(text, before="[rate:0.8]"),
        "rate 1.25": partial(text, before="[rate:1.25]"),
        "speed 0.8": lambda first, second: {**text(first, second), "speed": 0.8},
        "even, room tone": lambda first, second: {
            **text(first, second, between=f" [pause:{PAUSE_S}s]"),
            "even_level": True,
            "room_tone": True,
        },
    }


def has_exact_pause(samples: NDArray[np.float32], receipt: dict[str, Any]) -> bool:
    """Whether the first pause has the samples that were asked for, silent but for a fade."""
    first, second = receipt["segments"]
    start, end = (round(time_s * MODEL_SAMPLE_RATE_HZ) for time_s in (first["end"], second["start"]))
    # Times are rounded to milliseconds.
    is_long = abs(end - start - PAUSE_S * MODEL_SAMPLE_RATE_HZ) <= MODEL_SAMPLE_RATE_HZ / 1000
    return is_long and not samples[start + MODEL_SAMPLE_RATE_HZ // 40 : end - 24].any()


def hear_ways(speaker: Speaker, recogniser: ears.Recogniser, count: int) -> Iterator[dict[str, Any]]:
    """Yields the rows of ways to say pairs of sentences."""
    for name, fields_of in ways().items():
        words, exact, asked = Words(recogniser), 0, 0
        for seed, (first, second) in enumerate(tqdm(pairs(count), desc=name, leave=False, disable=None)):
            fields = fields_of(first, second)
            samples, receipt = speaker.speak(**fields, seed=seed)
            words.hear(samples, f"{first} {second}")
            if name in ("pause", "turns"):
                asked += 1
                exact += has_exact_pause(samples, receipt)
        yield {"way": name, "words_wrong": words.rate, "pauses": asked, "exact_pauses": exact}


def hear_numbers(speaker: Speaker, recogniser: ears.Recogniser) -> Iterator[dict[str, Any]]:
    """Yields the rows of texts with digits: in words, as digits, and as digits that are read as they are."""
    in_words = [speaker.speak(text=meant, seed=seed)[0] for seed, (_, meant) in enumerate(NUMBERS)]
    for name, normalizes in (("numbers in words", None), ("digits", True), ("digits, not normalized", False)):
        words, same = Words(recogniser), 0
        for seed, (written, meant) in enumerate(NUMBERS):
            samples = in_words[seed]
            if normalizes is not None:
                samples, _ = speaker.speak(text=written, seed=seed, normalize_text=normalizes)
            words.hear(samples, meant)
            same += np.array_equal(samples, in_words[seed])
        yield {"way": name, "words_wrong": words.rate, "same_as_in_words": same, "texts": len(NUMBERS)}


def hear_short(speaker: Speaker, recogniser: ears.Recogniser) -> Iterator[dict[str, Any]]:
    """Yields the rows of texts of one to three words: alone, taken again, and behind a sentence."""
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("alone", {"max_takes": 1}),
        ("up to 5 takes", {"max_takes": 5}),
        ("behind a sentence", {"max_takes": 2, "short_text_context": True}),
    )
    for name, fields in kinds:
        words, chosen, length_s = Words(recogniser), 0, 0.0
        for seed, text in enumerate(SHORT):
            samples, _ = speaker.speak(text=text, seed=seed, **fields)
            words.hear(samples, text)
            chosen += recogniser.choose(Waveform(samples, MODEL_SAMPLE_RATE_HZ), SHORT) == seed
            length_s += len(samples) / MODEL_SAMPLE_RATE_HZ
        share = chosen / len(SHORT)
        yield {
            "way": name,
            "recognised_of_20": share,
            "words_wrong": words.rate,
            "seconds": f"{length_s:.1f}",
        }


def hear_takes(speaker: Speaker, recogniser: ears.Recogniser, count: int) -> Iterator[dict[str, Any]]:
    """Yields the rows of readings with and without faults, by the most takes."""
    for has_faults in (False, True):
        speaker.has_faults = has_faults
        for takes in TAKES:
            words, taken, faults = Words(recogniser), 0, 0
            chosen = pairs(count)
            name = f"takes {takes}"
            for seed, (first, second) in enumerate(tqdm(chosen, desc=name, leave=False, disable=None)):
                samples, receipt = speaker.speak(text=f"{first} {second}", seed=1000 + seed, max_takes=takes)
                words.hear(samples, f"{first} {second}")
                for segment in receipt["segments"]:
                    found = segment.get("takes", [])
                    taken += max(1, len(found))
                    faults += bool(found)
            yield {
                "faults_put_in": has_faults,
                "max_takes": takes,
                "words_wrong": words.rate,
                "takes": taken,
                "segments_with_a_fault_found": faults,
            }
    speaker.has_faults = False


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Prints rows under the names of their values."""
    print("".join(f"{name:>28}" for name in rows[0]))
    for row in rows:
        cells = (f"{value:.1%}" if isinstance(value, float) else str(value) for value in row.values())
        print("".join(f"{cell:>28}" for cell in cells), flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hear_script")
    parser.add_argument("--checkpoint", type=Path, default=SAMPLES / "small", metavar="DIR")
    parser.add_argument("--voice", type=Path, default=SAMPLES / "reference.flac", metavar="FILE")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model = load_model(*find_model(ModelSource("chatterbox", folder=options.checkpoint)), torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder, closing(Speaker(model, Path(folder))) as speaker:
        speaker.store.put(decode_audio(options.voice.read_bytes(), options.voice.name), CLONE)
        recogniser = ears.Recogniser()
        print(describe())
        spoken = list(hear_ways(speaker, recogniser, options.pairs))
        show(spoken)
        numbers = list(hear_numbers(speaker, recogniser))
        show(numbers)
        short = list(hear_short(speaker, recogniser))
        show(short)
        takes = list(hear_takes(speaker, recogniser, options.pairs))
        show(takes)
    keep(options.json, "cpu", ways=spoken, numbers=numbers, short=short, takes=takes)


if __name__ == "__main__":
    main()
