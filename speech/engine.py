"""Text and a reference to speech: the whole pipeline, in order.

Knows no RunPod, no stored voices, no environment. Several threads may speak at once: their texts
decode together, and the rest is done for one at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import DeviceLost, DeviceSuspect, Internal, InvalidRequest, ModelUnavailable, OutOfMemory
from speech.assemble import Spoken, cut_trailing_noise, finish, join
from speech.checkpoint import Model, load_model
from speech.conditionals import CONDITIONALS_VERSION, Conditionals, VoiceConditionals, some_voice
from speech.contract import (
    PATIENT,
    UNTRAINED_WARNING,
    Listener,
    ModelInfo,
    Piece,
    Reference,
    Segment,
    Speech,
    SpeechParams,
    SpeechStopped,
)
from speech.decoders import make_decoder, t3_dtype
from speech.gpu_faults import GpuFault, gpu_fault
from speech.locate import find_checkpoint
from speech.stage_clock import StageClock
from speech.t3.request import Decoded, Decoder, DecodingStopped
from speech.takes import Takes, decode_request, has_speech, or_default
from speech.text import Chunk, has_speakable, split_text
from speech.variants import VARIANTS
from speech.vocoder import SPEECH_TOKENS_PER_S, synthesize
from speech.watermark import Watermarker

log = logging.getLogger(__name__)


@dataclass
class _Recital:
    """A text on its way: its chunks, and those that are spoken, with their pauses."""

    chunks: Sequence[Chunk]
    clock: StageClock
    spoken: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)


class SpeechEngine:
    """A loaded model and what it takes to speak with it. Implements ``speech.contract.Speaker``."""

    def __init__(self, model: Model, watermarker: Watermarker, decoder: Decoder) -> None:
        self.model = model
        self._watermarker = watermarker
        self._decoder = decoder
        self._voices = VoiceConditionals(model.reference_encoder, _shelf_key(model), model.device)
        # S3Gen draws from torch's global generators, and caches are not made for several threads.
        self._one_at_a_time = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        model = self.model
        return ModelInfo(model.variant.name, model.revision, model.variant.languages, model.untrained)

    def check(self) -> None:
        """See ``Speaker``. The first time it pays for what the first job in a known voice would: compiled
        filters, GPU kernels and graphs."""
        try:
            samples = self._say_a_word()
        except Exception as error:
            raise DeviceLost("the model no longer speaks; send the job again") from error
        if not np.isfinite(samples).all() or not samples.any():
            raise ModelUnavailable("the model says a word and no sound comes; the worker cannot serve")

    def _say_a_word(self) -> NDArray[np.float32]:
        conditionals = self.model.builtin_voice or some_voice(self.model.device)
        request = decode_request(self.model, "Ready.", conditionals, SpeechParams(seed=0), seed=0)
        (decoded,) = self._decoder.decode([request])
        with self._one_at_a_time:
            return self._watermarker.mark(self._synthesize(decoded, conditionals), MODEL_SAMPLE_RATE_HZ)

    def prepare_for_new_voices(self) -> None:
        """See ``Speaker``: imports upstream's package and reads more weights."""
        noise = np.random.default_rng(0).normal(0.0, 0.1, 3 * MODEL_SAMPLE_RATE_HZ).astype(np.float32)
        try:
            self._voices.compute(Waveform(noise, MODEL_SAMPLE_RATE_HZ))
        except Exception:  # the job that needs it will say what is wrong
            log.exception("new voices cannot be prepared for")

    def speak(
        self, text: str, reference: Reference | None, params: SpeechParams, listener: Listener = PATIENT
    ) -> Speech:
        """See ``Speaker.speak``. Memory beyond the audio itself is that of one chunk."""
        if not has_speakable(text):
            raise InvalidRequest("text: there is nothing in it to say; send words")
        recital = _Recital(split_text(text), StageClock(self.model.device))
        try:
            return self._speak(recital, reference, params, listener)
        except DecodingStopped as error:
            raise SpeechStopped from error
        except Exception as error:
            match gpu_fault(error):
                case GpuFault.MEMORY:
                    raise OutOfMemory(
                        "the GPU's memory ran out; send the job again, or a shorter text"
                    ) from error
                case GpuFault.STICKY:
                    raise DeviceLost(
                        "the GPU failed, and the worker is being replaced; send the job again"
                    ) from error
                case GpuFault.SUSPECT:
                    raise DeviceSuspect("the GPU failed; send the job again") from error
            raise

    def _speak(
        self, recital: _Recital, reference: Reference | None, params: SpeechParams, listener: Listener
    ) -> Speech:
        with self._one_at_a_time, recital.clock.stage("conditionals"):
            conditionals = self.conditionals(reference)
        texts = [chunk.text for chunk in recital.chunks]
        takes = Takes(self.model, self._decoder, texts, conditionals, params, listener.is_gone)
        try:
            with closing(takes.take(0, together=True)) as decoded:
                self._recite(recital, decoded, conditionals, listener)
        except Exception as error:
            if gpu_fault(error) is not GpuFault.MEMORY:
                raise
            log.warning("the GPU's memory ran out: once more, one chunk after the other")
            torch.cuda.empty_cache()
            with closing(takes.take(len(recital.spoken), together=False)) as decoded:
                self._recite(recital, decoded, conditionals, listener)
        samples, spans = join(recital.spoken, MODEL_SAMPLE_RATE_HZ)
        return Speech(
            waveform=Waveform(samples, MODEL_SAMPLE_RATE_HZ),
            segments=tuple(Segment(text, *span) for text, span in zip(texts, spans, strict=True)),
            parameters=self._resolved(params),
            warnings=(*self._ignored(params), *takes.warnings),
            stage_times_s=dict(recital.clock.times_s),
        )

    def _recite(
        self, recital: _Recital, takes: Iterator[Decoded], conditionals: Conditionals, listener: Listener
    ) -> None:
        """Speaks what is not spoken yet; ``takes`` are its tokens."""
        count = len(recital.chunks)
        while (index := len(recital.spoken)) < count:
            with recital.clock.stage("t3"):  # what is left of it: the next ones decode while this one sounds
                decoded = next(takes)
            with self._one_at_a_time:
                with recital.clock.stage("s3gen"):
                    samples = self._synthesize(decoded, conditionals)
                if not np.isfinite(samples).all():
                    raise Internal(
                        f"the model gave no valid audio for segment {index + 1}; send the job again"
                    )
                with recital.clock.stage("watermark"):
                    samples = self._watermarker.mark(
                        cut_trailing_noise(samples, MODEL_SAMPLE_RATE_HZ), MODEL_SAMPLE_RATE_HZ
                    )
            chunk = recital.chunks[index]
            finished = finish(Spoken(samples, chunk.pause_after_s), index, count, MODEL_SAMPLE_RATE_HZ)
            recital.spoken.append(finished)
            if listener.is_gone():
                raise SpeechStopped
            heard = Waveform(np.concatenate(finished), MODEL_SAMPLE_RATE_HZ)
            listener.hear(Piece(index, count, chunk.text, heard))

    def _synthesize(self, decoded: Decoded, conditionals: Conditionals) -> NDArray[np.float32]:
        """Samples, float32 [n], unmarked, as the vocoder gives them."""
        if not has_speech(decoded):  # the model stopped at once: silence of one token
            return np.zeros(MODEL_SAMPLE_RATE_HZ // SPEECH_TOKENS_PER_S, np.float32)
        return synthesize(self.model.token_to_wave, decoded, conditionals)

    def conditionals(self, reference: Reference | None) -> Conditionals:
        """What the model knows of a voice; of the built-in one for None. Calls must not overlap."""
        if reference is not None:
            return self._voices.get(reference)
        if self.model.builtin_voice is None:
            raise InvalidRequest(
                "voice_name: these weights have no built-in voice; name a stored one or send reference_audio"
            )
        return self.model.builtin_voice

    def _ignored(self, params: SpeechParams) -> list[str]:
        return [
            f"{name} has no effect on the {self.model.variant.name} model"
            for name in self.model.variant.ignored_parameters
            if getattr(params, name) is not None
        ]

    def _resolved(self, params: SpeechParams) -> dict[str, float | int | None]:
        """Every parameter as it was used; None for one that this model does not have."""
        variant = self.model.variant
        used: dict[str, float | int | None] = {
            "exaggeration": params.exaggeration,
            "cfg_weight": params.cfg_weight,
            "temperature": params.temperature,
            "top_p": or_default(params.top_p, variant.top_p),
            "min_p": or_default(params.min_p, variant.min_p),
            "repetition_penalty": or_default(params.repetition_penalty, variant.repetition_penalty),
            "top_k": params.top_k,
        }
        return used | dict.fromkeys(variant.ignored_parameters)


def _shelf_key(model: Model) -> str:
    """What another model, revision or arithmetic made of a voice is not taken for ours."""
    in_tf32 = model.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    arithmetic = "tf32" if in_tf32 else "float32"
    return f"{model.variant.name}-{model.revision[:16]}-{arithmetic}-{CONDITIONALS_VERSION}"


def load_engine(
    model: str,
    *,
    checkpoint_dir: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    upstream: bool = False,
    max_concurrency: int = 1,
    revision: str = "main",
    hf_token: str | None = None,
    hub_caches: tuple[Path, ...] = (),
) -> SpeechEngine:
    """Find the weights, load them and make sure that everything speaking needs is there.

    model: a name in ``VARIANTS``. device: "auto", "cpu", "cuda" or "cuda:N". precision:
    "exact" is float32 throughout; "auto" keeps T3 in bfloat16 where the hardware computes in it,
    and lets CUDA use TF32. upstream: run T3 and S3Gen as upstream does. max_concurrency: how many
    threads will speak at once. The rest: see ``find_checkpoint``. Raises ModelUnavailable.
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
    loaded = load_model(variant, checkpoint, target, t3_dtype=t3_dtype(target, precision), upstream=upstream)
    log.info("model: %s %s on %s in %.1f s", model, loaded.revision, target, time.perf_counter() - started)
    if loaded.untrained:
        log.warning(UNTRAINED_WARNING)
    if target.type == "cpu" and loaded.is_tiny:
        # So little work gains nothing from threads, and loses tenfold to them on a busy machine.
        torch.set_num_threads(1)
    return SpeechEngine(loaded, watermarker, make_decoder(loaded, max_concurrency))


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
