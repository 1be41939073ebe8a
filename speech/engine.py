"""Text and a reference to speech: the whole pipeline, in order.

Knows no RunPod, no stored voices, no environment. Calls must not overlap.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import Internal, InvalidRequest, ModelUnavailable, OutOfMemory
from speech.architecture import TINY
from speech.assemble import Spoken, cut_trailing_noise, join
from speech.checkpoint import Model, load_model
from speech.conditionals import Conditionals, ConditionalsEncoder
from speech.contract import UNTRAINED_WARNING, ModelInfo, Reference, Segment, Speech, SpeechParams
from speech.locate import find_checkpoint
from speech.normalize import has_speakable, normalize_text
from speech.pace import max_speech_tokens
from speech.t3.decode import Decoded, Sampling, decode
from speech.text import split_text
from speech.variants import VARIANTS
from speech.vocoder import CODEBOOK_SIZE, SPEECH_TOKENS_PER_S, synthesize
from speech.watermark import Watermarker

log = logging.getLogger(__name__)

SEED_LIMIT = 2**63
# Chunk seeds lie far apart, so that one chunk's next seed is not another's first:
# 2**64 divided by the golden ratio.
SEED_STRIDE = 0x9E3779B97F4A7C15


@dataclass(frozen=True, eq=False)
class Take:
    """One attempt at a chunk. samples: float32 [n], unmarked, as the vocoder gave them."""

    decoded: Decoded
    samples: NDArray[np.float32]


class StageClock:
    """Adds up wall time by stage; a stage on a GPU is counted when its result is there."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times_s: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.times_s[name] += time.perf_counter() - started


class SpeechEngine:
    """A loaded model and what it takes to speak with it. Implements ``speech.contract.Speaker``."""

    def __init__(self, model: Model, watermarker: Watermarker) -> None:
        self.model = model
        self._watermarker = watermarker
        self._encoder = ConditionalsEncoder(
            model.s3gen, model.voice_encoder, model.t3.hp.speech_cond_prompt_len, model.device
        )

    @property
    def info(self) -> ModelInfo:
        model = self.model
        return ModelInfo(model.variant.name, model.revision, model.variant.languages, model.untrained)

    def warm_up(self) -> None:
        """Pay for whatever the first job would: lazy imports, compiled filters, GPU kernels."""
        noise = np.random.default_rng(0).normal(0.0, 0.1, 3 * MODEL_SAMPLE_RATE_HZ).astype(np.float32)
        conditionals = self._encoder.compute(Waveform(noise, MODEL_SAMPLE_RATE_HZ))
        clock = StageClock(self.model.device)
        take = self.take("Ready.", conditionals, SpeechParams(seed=0), 0, clock)
        self._watermarker.mark(take.samples, MODEL_SAMPLE_RATE_HZ)

    def speak(self, text: str, reference: Reference | None, params: SpeechParams) -> Speech:
        """See ``Speaker.speak``. Memory beyond the audio itself is that of one chunk."""
        if not has_speakable(text):
            raise InvalidRequest("text: there is nothing in it to say; send words")
        clock = StageClock(self.model.device)
        try:
            return self._speak(text, reference, params, clock)
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemory("the GPU's memory ran out; send the job again, or a shorter text") from error

    def _speak(
        self, text: str, reference: Reference | None, params: SpeechParams, clock: StageClock
    ) -> Speech:
        with clock.stage("conditionals"):
            conditionals = self._conditionals(reference)
        warnings = [
            f"{name} has no effect on the {self.model.variant.name} model"
            for name in self.model.variant.ignored_parameters
            if getattr(params, name) is not None
        ]
        chunks = split_text(text)
        spoken: list[Spoken] = []
        for index, chunk in enumerate(chunks):
            seed = (params.seed + index * SEED_STRIDE) % SEED_LIMIT
            take = self.take(chunk.text, conditionals, params, seed, clock)
            if fault := _fault(take):
                log.info("chunk %d of %d %s: again with the next seed", index + 1, len(chunks), fault)
                take = self.take(chunk.text, conditionals, params, (seed + 1) % SEED_LIMIT, clock)
                still = _fault(take)
                outcome = f"{still} again; listen to it" if still else "was spoken well then"
                warnings.append(
                    f"segment {index + 1} of {len(chunks)} {fault}, so the next seed was tried, and {outcome}"
                )
            if not np.isfinite(take.samples).all():
                raise Internal(f"the model gave no valid audio for segment {index + 1}; send the job again")
            with clock.stage("watermark"):
                samples = self._watermarker.mark(
                    cut_trailing_noise(take.samples, MODEL_SAMPLE_RATE_HZ), MODEL_SAMPLE_RATE_HZ
                )
            spoken.append(Spoken(samples, chunk.pause_after_s))
        samples, spans = join(spoken, MODEL_SAMPLE_RATE_HZ)
        return Speech(
            waveform=Waveform(samples, MODEL_SAMPLE_RATE_HZ),
            segments=tuple(Segment(chunk.text, *span) for chunk, span in zip(chunks, spans, strict=True)),
            parameters=self._resolved(params),
            warnings=tuple(warnings),
            stage_times_s=dict(clock.times_s),
        )

    def take(
        self, text: str, conditionals: Conditionals, params: SpeechParams, seed: int, clock: StageClock
    ) -> Take:
        """One chunk spoken once: the same draws as upstream's ``generate`` after
        ``torch.manual_seed(seed)``, up to its watermark."""
        variant = self.model.variant
        text_tokens = self.model.tokenizer.text_to_tokens(normalize_text(text)).to(self.model.device)
        torch.manual_seed(seed)
        with clock.stage("t3"):
            decoded = decode(
                self.model.t3,
                conditionals.for_t3(params.exaggeration),
                text_tokens,
                Sampling(
                    cfg_weight=params.cfg_weight,
                    temperature=params.temperature,
                    top_p=_or_default(params.top_p, variant.top_p),
                    min_p=_or_default(params.min_p, variant.min_p),
                    repetition_penalty=_or_default(params.repetition_penalty, variant.repetition_penalty),
                ),
                max_tokens=max_speech_tokens(text),
            )
        with clock.stage("s3gen"):
            if bool((decoded.tokens < CODEBOOK_SIZE).any()):
                samples = synthesize(self.model.s3gen, decoded.tokens, conditionals)
            else:  # the model stopped at once: silence of one token
                samples = np.zeros(MODEL_SAMPLE_RATE_HZ // SPEECH_TOKENS_PER_S, np.float32)
        return Take(decoded, samples)

    def _conditionals(self, reference: Reference | None) -> Conditionals:
        if reference is not None:
            return self._encoder.encode(reference)
        if self.model.builtin_voice is None:
            raise InvalidRequest(
                "voice_name: these weights have no built-in voice; name a stored one or send reference_audio"
            )
        return self.model.builtin_voice

    def _resolved(self, params: SpeechParams) -> dict[str, float | int | None]:
        """Every parameter as it was used; None for one that this model does not have."""
        variant = self.model.variant
        used: dict[str, float | int | None] = {
            "exaggeration": params.exaggeration,
            "cfg_weight": params.cfg_weight,
            "temperature": params.temperature,
            "top_p": _or_default(params.top_p, variant.top_p),
            "min_p": _or_default(params.min_p, variant.min_p),
            "repetition_penalty": _or_default(params.repetition_penalty, variant.repetition_penalty),
            "top_k": params.top_k,
        }
        return used | dict.fromkeys(variant.ignored_parameters)


def _or_default(value: float | None, default: float) -> float:
    return default if value is None else value


def _fault(take: Take) -> str | None:
    """What is wrong with a take, as a part of a sentence; None when nothing is."""
    if not bool((take.decoded.tokens < CODEBOOK_SIZE).any()):
        return "came out empty"
    return None if take.decoded.stopped else "ran on and was cut"


def load_engine(
    model: str,
    *,
    checkpoint_dir: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    revision: str = "main",
    hf_token: str | None = None,
    hub_caches: tuple[Path, ...] = (),
) -> SpeechEngine:
    """Find the weights, load them and make sure that everything speaking needs is there.

    model: a name in ``VARIANTS``. device: "auto", "cpu", "cuda" or "cuda:N". precision:
    "exact" is float32 throughout; "auto" lets CUDA use TF32 where the hardware has it. The rest:
    see ``find_checkpoint``. Raises ModelUnavailable.
    """
    watermarker = Watermarker()
    target = _device(device)
    torch.backends.cuda.matmul.allow_tf32 = precision == "auto"
    torch.backends.cudnn.allow_tf32 = precision == "auto"
    variant = VARIANTS[model]
    checkpoint = find_checkpoint(
        variant, checkpoint_dir=checkpoint_dir, hub_caches=hub_caches, revision=revision, token=hf_token
    )
    started = time.perf_counter()
    loaded = load_model(variant, checkpoint, target)
    log.info("model: %s %s on %s in %.1f s", model, loaded.revision, target, time.perf_counter() - started)
    if loaded.untrained:
        log.warning(UNTRAINED_WARNING)
    if target.type == "cpu" and loaded.t3.dim <= TINY.t3_width:
        # So little work gains nothing from threads, and loses tenfold to them on a busy machine.
        torch.set_num_threads(1)
    return SpeechEngine(loaded, watermarker)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown name; no such device; torch built without it
        raise ModelUnavailable(
            f"DEVICE {name!r} cannot be used on this machine; set it to auto or cpu"
        ) from error
    return device
