"""This program listens to speech: words, speakers, pace, silence, clicks. It prints a table.

    python -m benchmarks.hear [--checkpoint DIR [--stages]] [--voice FILE ...] [--teacher NAME ...]
                              [--audio DIR ...] [--only ROW ...] [--sentences 200] [--device cpu]
                              [--hop stream] [--script] [--json FILE]

--checkpoint: speech from text by the worker's own engine, in the built-in voice and, cloned, in the voice of
each --voice and from 10 s of each --teacher. --hop: "stream" for speech in pieces, as streaming endpoints
send it. --teacher: what flite says in one of its voices, for comparison; without names in all four.
--stages: what the checkpoint's vocoder makes of the mels of the teachers' speech ("copy"), and its flow of
the speech tokens ("tokens"), in the teachers' own voices: which stage loses what. --audio: a folder with the
recordings NAME.wav (or .flac, .mp3, .opus, ...) and the words of each in NAME.txt. --only: these rows of the
table; the other voices are still those that a voice can be taken for. --script: the tables of
``benchmarks.hear_script`` as well, with the checkpoint and the first --voice.

"closed set" is the share of sentences that are recognised among fifty, "words wrong" the word error rate of
free recognition. Both are PocketSphinx's, so that only differences between rows say something. "alike" is the
cosine of Resemblyzer's embeddings of the speech and of its voice's recording, "nearest" the share of
sentences that are more like that recording than like those of all other voices and teachers. Silence is like
nobody. The real-time factor is seconds of work for a second of speech. The JSON has each sentence, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audio.decode import decode_audio
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks import ears, flite
from benchmarks.machine import describe, keep, results_file
from errors import WorkerError

if TYPE_CHECKING:
    import torch

    from speech.contract import Hop
    from speech.reference.conditionals import Conditionals

CHOICES = 50
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".webm")
TEACHERS_REFERENCE = (
    "A reference should be a few seconds long, spoken clearly and without any music. "
    "This one was made by a program, and it names no person, no place and no time. "
    "It ends in the middle of a sentence."
)
REFERENCE_S = 10


@dataclass(frozen=True)
class SpeechSample:
    """A speech sample is a sentence's text and its sound."""

    text: str
    waveform: Waveform
    seconds: float | None = None  # that speaking took, if it was spoken just now


@dataclass(frozen=True)
class Assessment:
    """An assessment has what the ears say about one spoken sentence."""

    text: str
    transcript: str
    word_errors: int
    words: int
    chosen: bool | None  # recognised among ``CHOICES`` sentences; None with words that they do not know
    duration_s: float
    seconds: float | None
    silences: ears.Silences
    clicks_s: list[float]
    alike: float | None  # to its own voice's recording, -1 to 1
    nearest: bool | None  # whether no other voice's recording is more alike


@dataclass(frozen=True)
class Row:
    """A row of the table sums up one way of speaking."""

    name: str
    sentences: int
    closed_set: float | None
    word_error_rate: float
    alike: float | None
    nearest: float | None
    letters_per_s: float
    lead_s: float
    longest_pause_s: float
    tail_s: float
    clicks_per_minute: float
    real_time_factor: float | None


class Assessor:
    """An assessor recognises the words of speech and compares its voice with recordings of speakers."""

    def __init__(self, references: Mapping[str, Waveform]) -> None:
        self._recogniser = ears.Recogniser()
        self._references: dict[str, NDArray[np.float32]] = {}
        for name, reference in references.items():
            embedding = ears.speaker_embedding(reference)
            if embedding is None:
                raise RuntimeError(f"nobody speaks in the recording of {name}")
            self._references[name] = embedding

    def assess(self, spoken: SpeechSample, voice: str | None, others: list[str]) -> Assessment:
        """Assesses one sentence. voice: whose it should be. others: sentences that it could be taken for."""
        waveform, meant = spoken.waveform, ears.words_of(spoken.text)
        transcript = self._recogniser.transcribe(waveform)
        choices = [spoken.text, *others]
        knows = self._recogniser.knows(spoken.text)
        alike, nearest = self._compare(waveform, voice)
        return Assessment(
            text=spoken.text,
            transcript=transcript,
            word_errors=ears.word_errors(ears.words_of(transcript), meant),
            words=len(meant),
            chosen=self._recogniser.choose(waveform, choices) == 0 if knows else None,
            duration_s=waveform.duration_s,
            seconds=spoken.seconds,
            silences=ears.silences(waveform),
            clicks_s=ears.clicks(waveform),
            alike=alike,
            nearest=nearest,
        )

    def _compare(self, waveform: Waveform, voice: str | None) -> tuple[float | None, bool | None]:
        if voice is None:
            return None, None
        embedding = ears.speaker_embedding(waveform)
        alike = {
            name: 0.0 if embedding is None else float(embedding @ reference)
            for name, reference in self._references.items()
        }
        others = [value for name, value in alike.items() if name != voice]
        return alike[voice], alike[voice] > max(others) if others else None


def assess_all(
    assessor: Assessor, name: str, spoken: Iterable[SpeechSample], voice: str | None, total: int
) -> list[Assessment]:
    """Assesses all sentences of a row, with a progress bar."""
    pool = ears.sentences()
    draw = random.Random(0)  # noqa: S311, the same choices each time
    assessments = []
    for each in tqdm(spoken, desc=name, total=total, leave=False, disable=None):
        others = draw.sample([text for text in pool if text != each.text], CHOICES - 1)
        assessments.append(assessor.assess(each, voice, others))
    return assessments


def summarise(name: str, assessments: list[Assessment]) -> Row:
    """Sums up a row: shares and means, the medians of lead and tail, the longest of all pauses."""
    duration_s = sum(each.duration_s for each in assessments)
    alike = [each.alike for each in assessments if each.alike is not None]
    nearest = [each.nearest for each in assessments if each.nearest is not None]
    chosen = [each.chosen for each in assessments if each.chosen is not None]
    letters = sum(character.isalpha() for each in assessments for character in each.text)
    spoken = [each for each in assessments if each.seconds is not None]
    return Row(
        name=name,
        sentences=len(assessments),
        closed_set=statistics.mean(chosen) if chosen else None,
        word_error_rate=sum(each.word_errors for each in assessments)
        / max(sum(each.words for each in assessments), 1),
        alike=statistics.mean(alike) if alike else None,
        nearest=statistics.mean(nearest) if nearest else None,
        letters_per_s=letters / max(duration_s, 1e-9),
        lead_s=statistics.median(each.silences.lead_s for each in assessments),
        longest_pause_s=max(each.silences.longest_pause_s for each in assessments),
        tail_s=statistics.median(each.silences.tail_s for each in assessments),
        clicks_per_minute=60 * sum(len(each.clicks_s) for each in assessments) / max(duration_s, 1e-9),
        real_time_factor=sum(each.seconds or 0.0 for each in spoken)
        / max(sum(each.duration_s for each in spoken), 1e-9)
        if spoken
        else None,
    )


def recordings(folder: Path) -> list[SpeechSample]:
    """Reads the recordings of a folder that have a text beside them.

    Raises OSError, ValueError or WorkerError for files that cannot be read, and when there are none.
    """
    texts = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix == ".txt"}
    found = [
        SpeechSample(texts[file.stem].read_text("utf-8").strip(), decode_audio(file.read_bytes(), file.name))
        for file in sorted(folder.iterdir())
        if file.stem in texts and file.suffix in SUFFIXES
    ]
    if not found:
        raise FileNotFoundError(f"{folder} holds no NAME.txt with the words of a NAME.wav")
    return found


class Engine:
    """An engine is the worker's own synthesizer with a checkpoint. Raises WorkerError without weights."""

    def __init__(self, checkpoint: Path, device: str, hop: Hop = "whole") -> None:
        from speech.pipeline import load_synthesizer

        self._synthesizer = load_synthesizer("chatterbox", checkpoint_dir=checkpoint, device=device)
        self._synthesizer.check()  # the first sentence is slower
        self._hop = hop

    def speak(self, texts: Iterable[str], reference: Waveform | None) -> Iterator[SpeechSample]:
        """Speaks texts as callers get them, watermarked. reference: None for the built-in voice."""
        from cancel import CancelToken
        from speech.contract import Utterance

        engine = self._synthesizer
        voice = (
            engine.builtin_voice() if reference is None else engine.encode_reference(reference, CancelToken())
        )
        for seed, text in enumerate(texts):
            started = time.perf_counter()
            chunks = engine.synthesize([Utterance(text, voice, seed)], CancelToken(), hop=self._hop)
            samples = np.concatenate([chunk.with_pause().samples for chunk in engine.watermark(chunks)])
            seconds = time.perf_counter() - started
            yield SpeechSample(text, Waveform(samples, MODEL_SAMPLE_RATE_HZ), seconds)


class Stages:
    """The stages behind T3, each with what the one before it would give if it made no mistake.

    On the CPU. Recordings count to the length of S3Gen's prompt, 10 s. Raises WorkerError without weights.
    """

    def __init__(self, checkpoint: Path) -> None:
        import torch

        from speech.models.spec import CHATTERBOX, ModelSource
        from speech.s3gen.s3gen import S3Gen
        from speech.weights.find import find_model
        from speech.weights.load import load_model

        device = torch.device("cpu")
        model = load_model(*find_model(ModelSource(CHATTERBOX.name, folder=checkpoint)), device)
        assert isinstance(model.s3gen, S3Gen)  # as on every CPU
        self._s3gen = model.s3gen
        self._encoder = model.reference_encoder

    def encode(self, waveform: Waveform) -> Conditionals:
        """Returns a recording's mel and tokens, as those of a prompt."""
        return self._encoder.compute(waveform)

    def from_mel(self, recording: Conditionals) -> Waveform:
        """Returns what the vocoder makes of a recording's mel."""
        samples = self._s3gen.vocode(recording.prompt_mel, self._generator())
        return Waveform(samples.numpy(), MODEL_SAMPLE_RATE_HZ)

    def from_tokens(self, recording: Conditionals, voice: Conditionals) -> Waveform:
        """Returns what flow and vocoder make of a recording's tokens, in a voice."""
        from speech.s3gen.s3gen import RenderRequest

        (samples,) = self._s3gen.render([RenderRequest(recording.prompt_tokens[0], voice, self._generator())])
        return Waveform(samples.numpy(), MODEL_SAMPLE_RATE_HZ)

    def _generator(self) -> torch.Generator:
        import torch

        return torch.Generator().manual_seed(0)


def teachers_reference(name: str) -> Waveform:
    """Lets a teacher speak what its clone is made from. Raises FliteFailed."""
    whole = flite.speak(TEACHERS_REFERENCE, name)
    return Waveform(whole.samples[: REFERENCE_S * whole.sample_rate_hz], whole.sample_rate_hz)


@dataclass(frozen=True)
class PlannedRow:
    """A row of the table before anything of it was spoken. voice: whose it should be, if anybody's."""

    name: str
    speak: Callable[[], Iterable[SpeechSample]]
    voice: str | None
    count: int


def plan_rows(
    options: argparse.Namespace,
    voices: Mapping[str, Waveform],
    teachers: Mapping[str, Waveform],
    folders: Mapping[Path, list[SpeechSample]],
    engine: Engine | None,
    stages: Stages | None,
) -> list[PlannedRow]:
    """Returns the rows of all that the options name."""
    texts = ears.sentences(options.sentences)

    @functools.lru_cache(maxsize=1)  # a teacher's rows follow one another
    def spoken(teacher: str) -> list[SpeechSample]:
        return [SpeechSample(text, flite.speak(text, teacher)) for text in texts]

    def again(teacher: str, render: Callable[[Conditionals], Waveform]) -> Iterator[SpeechSample]:
        assert stages is not None
        for each in spoken(teacher):
            yield SpeechSample(each.text, render(stages.encode(each.waveform)))

    def tokens(teacher: str) -> Iterator[SpeechSample]:
        assert stages is not None
        voice = stages.encode(teachers[f"flite {teacher}"])
        return again(teacher, functools.partial(stages.from_tokens, voice=voice))

    rows: list[PlannedRow] = []
    for teacher in options.teacher:
        whose = f"flite {teacher}"
        rows.append(PlannedRow(whose, functools.partial(spoken, teacher), whose, len(texts)))
        if stages is not None:
            copy = functools.partial(again, teacher, stages.from_mel)
            rows.append(PlannedRow(f"copy: {teacher}", copy, whose, len(texts)))
            rows.append(
                PlannedRow(f"tokens: {teacher}", functools.partial(tokens, teacher), whose, len(texts))
            )
    for folder, recorded in folders.items():
        rows.append(PlannedRow(str(folder), functools.partial(iter, recorded), None, len(recorded)))
    if engine is not None:
        speak = functools.partial(engine.speak, texts)
        rows.append(PlannedRow("built-in voice", functools.partial(speak, None), None, len(texts)))
        for name, reference in {**voices, **teachers}.items():
            rows.append(PlannedRow(f"cloned: {name}", functools.partial(speak, reference), name, len(texts)))
    return rows


def table(rows: list[Row]) -> str:
    """Returns the table as it is printed."""
    lines = [
        f"{'':28} {'count':>5} {'closed':>7} {'words':>6} {'alike':>6} {'near-':>6} {'letters':>7} "
        f"{'lead':>5} {'pause':>5} {'tail':>5} {'clicks':>6} {'real-time':>9}",
        f"{'':28} {'':>5} {'set':>7} {'wrong':>6} {'':>6} {'est':>6} {'/ s':>7} "
        f"{'s':>5} {'s':>5} {'s':>5} {'/ min':>6} {'factor':>9}",
    ]
    for row in rows:
        closed = "" if row.closed_set is None else f"{row.closed_set:.1%}"
        alike = "" if row.alike is None else f"{row.alike:.2f}"
        nearest = "" if row.nearest is None else f"{row.nearest:.0%}"
        factor = "" if row.real_time_factor is None else f"{row.real_time_factor:.2f}"
        lines.append(
            f"{row.name[-28:]:28} {row.sentences:5} {closed:>7} {row.word_error_rate:6.1%} "
            f"{alike:>6} {nearest:>6} {row.letters_per_s:7.1f} {row.lead_s:5.2f} {row.longest_pause_s:5.2f} "
            f"{row.tail_s:5.2f} {row.clicks_per_minute:6.1f} {factor:>9}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hear", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, metavar="DIR")
    parser.add_argument("--stages", action="store_true", help="with --checkpoint and --teacher")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hop", choices=("whole", "stream"), default="whole", help="with --checkpoint")
    parser.add_argument("--voice", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--teacher", nargs="*", metavar="NAME", help="flite's voices; all four without names")
    parser.add_argument("--audio", type=Path, nargs="+", default=[], metavar="DIR")
    parser.add_argument("--only", nargs="+", metavar="ROW", help='"built-in voice", "cloned: NAME", ...')
    parser.add_argument("--sentences", type=int, default=len(ears.sentences()))
    parser.add_argument("--script", action="store_true", help="with --checkpoint and --voice")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args(arguments)
    options.teacher = list(flite.VOICES) if options.teacher == [] else options.teacher or []
    if not (options.teacher or options.audio or options.checkpoint):
        parser.error("nothing to hear: name a --checkpoint, a --teacher or a folder of --audio")
    if options.sentences < 1:
        parser.error("--sentences must be 1 or more")
    if options.stages and not (options.checkpoint and options.teacher):
        parser.error("--stages needs a --checkpoint and a --teacher, whose speech it makes again")
    if options.script and not (options.checkpoint and options.voice):
        parser.error("--script needs a --checkpoint, and a --voice for its second speaker")
    for name in ("voice", "teacher", "audio"):
        values = [each.stem if name == "voice" else each for each in getattr(options, name)]
        if len(set(values)) < len(values):
            parser.error(f"--{name} has two of one name")
    try:
        voices = {file.stem: decode_audio(file.read_bytes(), file.name) for file in options.voice}
        folders = {folder: recordings(folder) for folder in options.audio}
        teachers = {f"flite {name}": teachers_reference(name) for name in options.teacher}
        stages = Stages(options.checkpoint) if options.stages else None
        engine = Engine(options.checkpoint, options.device, options.hop) if options.checkpoint else None
        assessor = Assessor({**voices, **teachers})
    except (OSError, RuntimeError, ValueError, WorkerError) as error:
        sys.exit(str(error))
    planned = plan_rows(options, voices, teachers, folders, engine, stages)
    names = [row.name for row in planned]
    if unknown := [name for name in options.only or () if name not in names]:
        sys.exit(f"no row is called {' or '.join(unknown)}; the rows are {', '.join(names)}")
    assessments: dict[str, list[Assessment]] = {}
    failed = False
    try:
        for row in planned:
            if options.only and row.name not in options.only:
                continue
            try:
                assessments[row.name] = assess_all(assessor, row.name, row.speak(), row.voice, row.count)
            except (OSError, RuntimeError, WorkerError) as error:
                print(f"{row.name}: {error}", file=sys.stderr)
                failed = True
            _keep_rows(options, assessments)  # a table takes hours: each row that is done is kept
    except KeyboardInterrupt:
        failed = True
    print(describe(options.device))
    print(table([summarise(name, each) for name, each in assessments.items()]))
    if failed:
        sys.exit(1)
    if options.script:
        from benchmarks import hear_script

        try:
            tables = hear_script.hear(options.checkpoint, options.voice[0], options.device)
        except WorkerError as error:
            sys.exit(str(error))
        _keep_rows(options, assessments, **tables)


def _keep_rows(
    options: argparse.Namespace, assessments: Mapping[str, list[Assessment]], **tables: object
) -> None:
    """tables: more of them, by name."""
    keep(
        options.json,
        options.device,
        rows=[dataclasses.asdict(summarise(name, each)) for name, each in assessments.items()],
        sentences={name: [dataclasses.asdict(one) for one in each] for name, each in assessments.items()},
        **tables,
    )


if __name__ == "__main__":
    main()
