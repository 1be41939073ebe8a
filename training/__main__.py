"""This program makes the small demonstration model: data, then each network.

    python -m training [STAGE] [--folder out/training] [--sentences 12000] [--seed 0]

Without a stage all are run, one after the other. A stage that has finished is not run again, and one that was
stopped goes on from its last checkpoint. What was made from something that has changed since then is an
error: it must be removed first.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.flite import VOICES, FliteFailed, check_voices
from speech.models.spec import CHATTERBOX
from training.data import Sentence, make_speech, read_index
from training.features import Features, make_features, read_features
from training.origins import StaleOutput, check_origins, note_finished, read_finished
from training.sizes import SMALL
from training.texts import make_texts

STEPS = {
    "tokenizer": 6_000,
    "voice encoder": 500,
    "x-vector": 500,
    "vocoder": 7_000,
    "flow": 10_000,
    "t3": 14_500,
}
LEAST_SENTENCES = 1_000


class MissingInput(Exception):
    """A stage was asked for whose input has not been made, or only in part."""


@dataclass(frozen=True)
class Work:
    """The folder in which all stages work, and their settings."""

    folder: Path
    sentences: int
    seed: int

    @property
    def speech(self) -> Path:
        return self.folder / "speech"

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def read(self) -> list[tuple[Sentence, Features]]:
        return read_features(self.speech, self.features)


def _texts(work: Work) -> None:
    file = work.folder / "texts.txt"
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text("\n".join(make_texts(work.sentences, work.seed)) + "\n")
    unfinished.replace(file)


def _speech(work: Work) -> None:
    make_speech((work.folder / "texts.txt").read_text().splitlines(), work.speech, work.seed)


def _features(work: Work) -> None:
    make_features(work.speech, work.features)


def _tokenizer(work: Work) -> None:
    from speech.upstream import build_speech_tokenizer
    from training.tokenizer import train_tokenizer

    network = build_speech_tokenizer(SMALL)
    train_tokenizer(network, work.read(), work.folder, steps=STEPS["tokenizer"], seed=work.seed)


def _speakers(work: Work) -> None:
    from speech.upstream import build_speaker_encoder, build_voice_encoder
    from training.speakers import train_voice_encoder, train_xvector

    sentences = list(read_index(work.speech))
    for train, build, name in (
        (train_voice_encoder, build_voice_encoder, "voice encoder"),
        (train_xvector, build_speaker_encoder, "x-vector"),
    ):
        torch.manual_seed(work.seed)  # whether the one before was trained just now or only read
        train(build(SMALL), sentences, work.speech, work.folder, steps=STEPS[name], seed=work.seed)


def _codes(work: Work) -> None:
    from speech.upstream import build_speech_tokenizer
    from training.assemble import read_average
    from training.codes import write_codes

    file = work.folder / "codes.npz"
    tokenizer = build_speech_tokenizer(SMALL)
    tokenizer.load_state_dict(read_average(work.folder / "tokenizer.pt", "tokenizer."))
    write_codes(tokenizer.eval(), work.read(), file)


def _voices(work: Work) -> None:
    from speech.reference.encoder import load_reference_encoder
    from speech.weights.checkpoint import Checkpoint
    from training.assemble import write_encoders
    from training.codes import write_voices

    write_encoders(work.checkpoint, work.folder, CHATTERBOX)
    encoder = load_reference_encoder(
        Checkpoint(work.checkpoint, None), CHATTERBOX, SMALL, torch.device("cpu")
    )
    write_voices(encoder, list(read_index(work.speech)), work.speech, work.folder / "voices.npz", work.seed)


def _flow(work: Work) -> None:
    from speech.upstream import build_s3gen
    from training.codes import read_codes, read_voices
    from training.flow import train_flow

    train_flow(
        build_s3gen(SMALL).flow,
        work.read(),
        read_codes(work.folder / "codes.npz"),
        read_voices(work.folder / "voices.npz"),
        work.folder,
        steps=STEPS["flow"],
        seed=work.seed,
    )


def _mels(work: Work) -> None:
    from speech.upstream import build_s3gen
    from training.assemble import read_average
    from training.codes import read_codes, read_voices
    from training.mels import write_mels

    flow = build_s3gen(SMALL).flow
    flow.load_state_dict(read_average(work.folder / "flow.pt", "flow."))
    codes, voices = read_codes(work.folder / "codes.npz"), read_voices(work.folder / "voices.npz")
    write_mels(flow.eval(), work.read(), codes, voices, work.folder / "mels.npz", work.seed)


def _vocoder(work: Work) -> None:
    from speech.upstream import build_s3gen
    from training.mels import read_mels
    from training.vocoder import train_vocoder

    train_vocoder(
        build_s3gen(SMALL).mel2wav,
        work.read(),
        read_mels(work.folder / "mels.npz"),
        work.speech,
        work.folder,
        steps=STEPS["vocoder"],
        seed=work.seed,
    )


def _t3(work: Work) -> None:
    from speech.models.tokenizers import load_tokenizer
    from speech.upstream import build_t3
    from speech.weights.checkpoint import Checkpoint
    from training.codes import read_codes, read_voices
    from training.t3 import Examples, train_t3

    examples = Examples(
        work.read(),
        read_codes(work.folder / "codes.npz"),
        read_voices(work.folder / "voices.npz"),
        load_tokenizer(CHATTERBOX, Checkpoint(work.checkpoint, None)),
        CHATTERBOX,
    )
    train_t3(
        build_t3(SMALL, CHATTERBOX), CHATTERBOX, examples, work.folder, steps=STEPS["t3"], seed=work.seed
    )


def _checkpoint(work: Work) -> None:
    from training.assemble import write_checkpoint

    write_checkpoint(work.checkpoint, work.folder, work.speech, list(read_index(work.speech)), CHATTERBOX)


@dataclass(frozen=True)
class Stage:
    """A stage does one part of the work. It reads and writes files and folders of the work's folder.

    trains: the keys of STEPS that it takes.
    """

    run: Callable[[Work], None]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    trains: tuple[str, ...] = ()

    @property
    def steps(self) -> dict[str, int]:
        """The steps of each network that it trains."""
        return {network: STEPS[network] for network in self.trains}


_SPEECH = "speech/sentences.jsonl"
_DATA = (_SPEECH, "features")
_TEXT_TOKENIZER = "checkpoint/tokenizer.json"
_NETWORKS = ("tokenizer.pt", "voice encoder.pt", "x-vector.pt", "flow.pt", "vocoder.pt", "t3.pt")

STAGES = {
    "texts": Stage(_texts, (), ("texts.txt",)),
    "speech": Stage(_speech, ("texts.txt",), (_SPEECH,)),
    "features": Stage(_features, (_SPEECH,), ("features",)),
    "tokenizer": Stage(_tokenizer, _DATA, ("tokenizer.pt",), ("tokenizer",)),
    "speakers": Stage(
        _speakers,
        (_SPEECH,),
        ("voice encoder.pt", "x-vector layers.pt", "x-vector.pt"),
        ("voice encoder", "x-vector"),
    ),
    "codes": Stage(_codes, (*_DATA, "tokenizer.pt"), ("codes.npz",)),
    "voices": Stage(_voices, (_SPEECH, *_NETWORKS[:3]), ("voices.npz", _TEXT_TOKENIZER)),
    "flow": Stage(_flow, (*_DATA, "codes.npz", "voices.npz"), ("flow.pt",), ("flow",)),
    "mels": Stage(_mels, (*_DATA, "codes.npz", "voices.npz", "flow.pt"), ("mels.npz",)),
    "vocoder": Stage(_vocoder, (*_DATA, "mels.npz"), ("vocoder.pt",), ("vocoder",)),
    "t3": Stage(_t3, (*_DATA, "codes.npz", "voices.npz", _TEXT_TOKENIZER), ("t3.pt",), ("t3",)),
    "checkpoint": Stage(_checkpoint, (_SPEECH, *_NETWORKS), ()),
}


def run_stage(name: str, work: Work) -> None:
    """Runs a stage that has not finished. Raises MissingInput, StaleOutput, or FliteFailed."""
    stage = STAGES[name]
    finished = read_finished(work.folder)
    for needed in stage.reads:
        (maker,) = (other for other, one in STAGES.items() if needed in one.writes)
        if not (work.folder / needed).exists():
            raise MissingInput(f"{work.folder / needed} is not there: run STAGE={maker} first")
        if finished.get(maker) != STAGES[maker].steps:
            raise MissingInput(f"{work.folder / needed} is not finished: run STAGE={maker} again")
    settings: dict[str, int | str] = {"--seed": work.seed, "training/sizes.py": repr(SMALL)}
    if not stage.reads:  # later stages take the sentences that there are
        settings["--sentences"] = work.sentences
    check_origins(work.folder, stage.reads, stage.writes, settings)
    if (
        stage.writes
        and finished.get(name) == stage.steps
        and all((work.folder / one).exists() for one in stage.writes)
    ):
        return
    torch.manual_seed(work.seed)
    stage.run(work)
    note_finished(work.folder, name, stage.steps)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    parser.add_argument("stage", nargs="?", choices=tuple(STAGES))
    parser.add_argument("--folder", type=Path, default=Path("out/training"))
    parser.add_argument("--sentences", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.sentences < LEAST_SENTENCES:
        parser.error(f"--sentences must be {LEAST_SENTENCES} or more: each of 28 speakers needs some")
    warnings.simplefilter("ignore")  # deprecations inside upstream's constructors
    work = Work(options.folder, options.sentences, options.seed)
    try:
        work.folder.mkdir(parents=True, exist_ok=True)
        if options.stage is None and "speech" not in read_finished(work.folder):
            check_voices(VOICES)  # before the texts, which take minutes
        for name in [options.stage] if options.stage else STAGES:
            run_stage(name, work)
    except (MissingInput, StaleOutput, FliteFailed, FloatingPointError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")


if __name__ == "__main__":
    main()
