"""Makes the small demonstration model: data, then each network.

    python -m training [STAGE] [--folder out/training] [--sentences 12000] [--seed 0]

Without a stage all are run, one after the other. What is there already is not made again, and a stage that
was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from speech.models.spec import CHATTERBOX
from training.data import FliteMissing, Sentence, make_speech, read_index
from training.features import Features, make_features, read_features
from training.sizes import SMALL
from training.texts import make_texts

STEPS = {
    "tokenizer": 6_000,
    "voice encoder": 500,
    "x-vector": 500,
    "vocoder": 6_000,
    "flow": 6_200,
    "t3": 9_000,
}


@dataclass(frozen=True)
class Work:
    """What every stage is given."""

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

    def read(self, limit: int | None = None) -> list[tuple[Sentence, Features]]:
        return read_features(self.speech, self.features, limit)


def _texts(work: Work) -> None:
    file = work.folder / "texts.txt"
    if file.exists():
        return
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text("\n".join(make_texts(work.sentences, work.seed)) + "\n")
    unfinished.replace(file)


def _speech(work: Work) -> None:
    make_speech((work.folder / "texts.txt").read_text().splitlines(), work.speech, work.seed)


def _features(work: Work) -> None:
    make_features(work.speech, work.features)


def _tokenizer(work: Work) -> None:
    from speech.reference.upstream_parts import build_speech_tokenizer
    from training.tokenizer import train_tokenizer

    network = build_speech_tokenizer(SMALL)
    train_tokenizer(network, work.read(), work.folder, steps=STEPS["tokenizer"], seed=work.seed)


def _speakers(work: Work) -> None:
    from speech.reference.upstream_parts import build_speaker_encoder, build_voice_encoder
    from training.speakers import train_voice_encoder, train_xvector

    sentences = list(read_index(work.speech))
    for train, network, name in (
        (train_voice_encoder, build_voice_encoder(SMALL), "voice encoder"),
        (train_xvector, build_speaker_encoder(SMALL), "x-vector"),
    ):
        train(network, sentences, work.speech, work.folder, steps=STEPS[name], seed=work.seed)


def _codes(work: Work) -> None:
    from speech.reference.upstream_parts import build_speech_tokenizer
    from training.assemble import read_average
    from training.codes import write_codes

    tokenizer = build_speech_tokenizer(SMALL)
    tokenizer.load_state_dict(read_average(work.folder / "tokenizer.pt", "tokenizer."))
    write_codes(tokenizer.eval(), work.read(), work.folder / "codes.npz")


def _voices(work: Work) -> None:
    from speech.reference.encoder import load_reference_encoder
    from training.assemble import write_encoders
    from training.codes import write_voices

    write_encoders(work.checkpoint, work.folder, CHATTERBOX)
    encoder = load_reference_encoder(work.checkpoint, CHATTERBOX, SMALL)
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

    file = work.folder / "mels.npz"
    if file.exists():
        return
    flow = build_s3gen(SMALL).flow
    flow.load_state_dict(read_average(work.folder / "flow.pt", "flow."))
    codes, voices = read_codes(work.folder / "codes.npz"), read_voices(work.folder / "voices.npz")
    write_mels(flow.eval(), work.read(), codes, voices, file, work.seed)


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
    from training.codes import read_codes, read_voices
    from training.t3 import Examples, train_t3

    examples = Examples(
        work.read(),
        read_codes(work.folder / "codes.npz"),
        read_voices(work.folder / "voices.npz"),
        load_tokenizer(CHATTERBOX, work.checkpoint),
        CHATTERBOX,
    )
    train_t3(
        build_t3(SMALL, CHATTERBOX), CHATTERBOX, examples, work.folder, steps=STEPS["t3"], seed=work.seed
    )


def _checkpoint(work: Work) -> None:
    from training.assemble import write_checkpoint

    write_checkpoint(work.checkpoint, work.folder, work.speech, list(read_index(work.speech)), CHATTERBOX)


STAGES: dict[str, Callable[[Work], None]] = {
    "texts": _texts,
    "speech": _speech,
    "features": _features,
    "tokenizer": _tokenizer,
    "speakers": _speakers,
    "codes": _codes,
    "voices": _voices,
    "flow": _flow,
    "mels": _mels,
    "vocoder": _vocoder,
    "t3": _t3,
    "checkpoint": _checkpoint,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    parser.add_argument("stage", nargs="?", choices=tuple(STAGES))
    parser.add_argument("--folder", type=Path, default=Path("out/training"))
    parser.add_argument("--sentences", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # deprecations inside upstream's constructors
    options.folder.mkdir(parents=True, exist_ok=True)
    work = Work(options.folder, options.sentences, options.seed)
    for name in [options.stage] if options.stage else STAGES:
        torch.manual_seed(options.seed)
        try:
            STAGES[name](work)
        except (FileNotFoundError, FliteMissing) as error:
            sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
