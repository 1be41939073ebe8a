"""What speech loses when a chunk is rendered in pieces: one row for each number of tokens in a piece.

    python -m benchmarks.pieces [--checkpoint DIR] [--sentences 20] [--joined 1] [--hops 15,25,50,100]
                                [--json FILE]

T3 decodes each sentence once, in the built-in voice, and S3Gen renders its tokens whole and in pieces, all
with the same noise; on the CPU, in float32. "policy" is what streaming jobs get, whose pieces grow. "mel" is
the distance to the whole between logarithms of mel spectrograms, "spectrum" between those of power spectra,
both in dB (root mean square over frames in which the whole has speech, then the mean over sentences). "seams"
is the spectral flux where pieces meet, divided by that of the whole at the same places; "high" the share of
these places whose flux is above 95 % of the whole's, and in the row of the whole its own share at the places
of the rows below. "words wrong" and "clicks" are those of ``benchmarks.hear``; "work" is S3Gen's time divided
by the whole's. --joined: sentences that are spoken together, for pieces that one is too short for. Random
weights say nothing about words.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks import ears
from benchmarks.machine import describe, keep, results_file
from speech.models.spec import CHATTERBOX, ModelSource
from speech.reference.spectra import s3gen_mel
from speech.s3gen.s3gen import PieceRequest, Renderer
from speech.s3gen.stream import ChunkStream, piece_end
from speech.t3.batch import RunningBatch
from speech.t3.request import DecodeRequest
from speech.t3.sampling import Sampling
from speech.text import max_speech_tokens
from speech.weights.find import find_model
from speech.weights.load import Model, load_model

CPU = torch.device("cpu")
SMALL_MODEL = Path("samples/small")
WINDOW, HOP = 1024, 240
HIGH_FLUX = 0.95  # quantile of the whole's
SPEECH_ABOVE_DB = -40.0  # below the loudest frame
DB_PER_NEPER = 20 / np.log(10)
Ends = Callable[[int], int]  # the number of a piece; the tokens after which it ends


@dataclass
class Policy:
    """A way to cut a chunk into pieces, and what was measured of it."""

    name: str
    end: Ends
    seconds: float = 0.0
    errors: int = 0
    clicks: int = 0
    mel_db: list[float] = field(default_factory=list)
    spectrum_db: list[float] = field(default_factory=list)
    seams: list[float] = field(default_factory=list)
    is_high: list[bool] = field(default_factory=list)  # of each seam


def decode(model: Model, text: str, seed: int) -> Tensor:
    """Returns the speech tokens of a sentence in the built-in voice."""
    voice = model.builtin_voice
    assert voice is not None
    batch = RunningBatch(model.t3, 2, poll_every=1, graphs=False)
    batch.add(
        DecodeRequest(
            speaker_embedding=voice.speaker_embedding,
            prompt_tokens=voice.t3_prompt_tokens,
            exaggeration=model.spec.default_parameters["exaggeration"],
            text_tokens=model.tokenizer.encode(text, "en"),
            sampling=Sampling.of(model.spec.default_parameters),
            max_tokens=max_speech_tokens(text, "en"),
            seed=seed,
        )
    )
    finished: dict[Any, Any] = {}
    while not finished:
        finished = batch.step_many()
    (decoded,) = finished.values()
    tokens: Tensor = decoded.speech()
    return tokens


def render(model: Model, tokens: Tensor, end: Ends, seed: int) -> list[NDArray[np.float32]]:
    """Returns the samples of each piece."""
    voice, renderer = model.builtin_voice, model.s3gen
    assert voice is not None
    return [piece.numpy() for piece in _pieces(renderer, tokens, voice, end, ChunkStream(seed, CPU))]


def _pieces(renderer: Renderer, tokens: Tensor, voice: Any, end: Ends, stream: ChunkStream) -> list[Tensor]:
    pieces, number = [], 0
    while end(number) < len(tokens):
        pieces += renderer.render([PieceRequest(tokens[: end(number)], voice, stream, is_last=False)])
        number += 1
    return pieces + renderer.render([PieceRequest(tokens, voice, stream, is_last=True)])


def spectrum_db(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns power spectra in dB, [frames, bins]."""
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(torch.from_numpy(samples), WINDOW, HOP, WINDOW, window, return_complex=True)
    power = spectrum.abs().square().clamp(min=1e-8).T.double().numpy()
    return np.asarray(10 * np.log10(power))


def mel_db(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns S3Gen's mel spectrogram in dB, [frames, 80]."""
    mel = s3gen_mel(torch.from_numpy(samples)[None])[0].T.double().numpy()
    return np.asarray(DB_PER_NEPER * mel)


def distance_db(found: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    """Returns the root mean square of differences in frames of speech."""
    loudness = whole.mean(axis=1)
    is_speech = loudness > loudness.max() + SPEECH_ABOVE_DB
    return float(np.sqrt(np.square(found - whole)[is_speech].mean()))


def flux_db(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the spectral flux around each frame, the highest of three, in dB a frame."""
    flux = np.abs(np.diff(spectrum_db(samples), axis=0)).mean(axis=1)
    padded = np.pad(flux, 1, mode="edge")
    return np.asarray(np.max([padded[:-2], padded[1:-1], padded[2:]], axis=0))


def frames_at(flux: NDArray[np.float64], seams: Sequence[int]) -> list[int]:
    """Returns the frames in which samples lie."""
    return [min(seam // HOP, len(flux) - 1) for seam in seams]


def _every(hop: int) -> Ends:
    return lambda number: hop * (number + 1)


def measure(model: Model, policies: Sequence[Policy], sentences: Sequence[str]) -> int:
    """Measures all policies, the first of which is the whole. Returns the number of words."""
    recogniser, words = ears.Recogniser(), 0
    for seed, text in enumerate(tqdm(sentences, leave=False, disable=None)):
        tokens, meant = decode(model, text, seed), ears.words_of(text)
        words += len(meant)
        whole: NDArray[np.float32] | None = None
        for policy in policies:
            started = time.perf_counter()
            pieces = render(model, tokens, policy.end, seed)
            policy.seconds += time.perf_counter() - started
            samples = np.concatenate(pieces)
            waveform = Waveform(samples, MODEL_SAMPLE_RATE_HZ)
            policy.errors += ears.word_errors(ears.words_of(recogniser.transcribe(waveform)), meant)
            policy.clicks += len(ears.clicks(waveform))
            if whole is None:
                whole = samples
                continue
            policy.mel_db.append(distance_db(mel_db(samples), mel_db(whole)))
            policy.spectrum_db.append(distance_db(spectrum_db(samples), spectrum_db(whole)))
            seams = list(accumulate(map(len, pieces)))[:-1]
            if seams:
                flux, wholes = flux_db(samples), flux_db(whole)
                frames, high = frames_at(wholes, seams), np.quantile(wholes, HIGH_FLUX)
                policy.seams.append(float(flux[frames].mean() / wholes[frames].mean()))
                policy.is_high += (flux[frames] > high).tolist()
                policies[0].is_high += (wholes[frames] > high).tolist()
    return words


def row(policy: Policy, words: int, whole_s: float) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float | None:
        return statistics.mean(values) if values else None

    return {
        "hop": policy.name,
        "words_wrong": policy.errors / words,
        "clicks": policy.clicks,
        "mel_db": mean(policy.mel_db),
        "spectrum_db": mean(policy.spectrum_db),
        "seams": mean(policy.seams),
        "high": mean(policy.is_high),
        "work": policy.seconds / whole_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pieces")
    parser.add_argument("--checkpoint", type=Path, default=SMALL_MODEL)
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--joined", type=int, default=1)
    parser.add_argument("--hops", default="15,25,50,100")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    model = load_model(*find_model(ModelSource(CHATTERBOX.name, folder=options.checkpoint)), CPU)
    policies = [Policy("whole", lambda _: 10**6)]
    policies += [Policy(hop, _every(int(hop))) for hop in options.hops.split(",")]
    policies.append(Policy("policy", partial(piece_end, is_first_chunk=True)))
    sentences = ears.sentences()[: options.sentences]
    texts = [" ".join(sentences[at : at + options.joined]) for at in range(0, len(sentences), options.joined)]
    words = measure(model, policies, texts)
    rows = [row(policy, words, policies[0].seconds) for policy in policies]
    keep(options.json, "cpu", sentences=options.sentences, rows=rows)
    print(f"{describe('cpu')}; {options.sentences} sentences")
    print("hop     words wrong  clicks  mel, dB  spectrum, dB  seams   high   work")
    for each in rows:
        distances = ("mel_db", "spectrum_db", "seams")
        mel, spectrum, seams = ("-" if each[name] is None else f"{each[name]:.2f}" for name in distances)
        high = "-" if each["high"] is None else f"{each['high']:.0%}"
        print(
            f"{each['hop']:7} {each['words_wrong']:11.1%} {each['clicks']:7} {mel:>8} {spectrum:>13} "
            f"{seams:>6} {high:>6} {each['work']:6.2f}"
        )


if __name__ == "__main__":
    main()
