"""Text and a reference to speech: the whole pipeline, in order.

Knows no RunPod, no stored voices, no environment. Several threads may speak at once: their texts
decode together, and the rest is done for one at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import Internal, InvalidRequest, ModelUnavailable, OutOfMemory
from speech.assemble import Spoken, cut_trailing_noise, join
from speech.checkpoint import Model, load_model
from speech.conditionals import (
    CODEBOOK_SIZE,
    CONDITIONALS_VERSION,
    Conditionals,
    VoiceConditionals,
    some_voice,
)
from speech.contract import UNTRAINED_WARNING, ModelInfo, Reference, Segment, Speech, SpeechParams
from speech.decoders import make_decoder, t3_dtype
from speech.locate import find_checkpoint
from speech.normalize import has_speakable, normalize_text
from speech.pace import max_speech_tokens
from speech.t3.request import Decoded, Decoder, DecodeRequest
from speech.t3.sampling import Sampling
from speech.text import split_text
from speech.variants import VARIANTS
from speech.vocoder import SPEECH_TOKENS_PER_S, synthesize
from speech.watermark import Watermarker

log = logging.getLogger(__name__)

SEED_LIMIT = 2**63
# Chunk seeds lie far apart, so that one chunk's next seed is not another's first:
# 2**64 divided by the golden ratio.
SEED_STRIDE = 0x9E3779B97F4A7C15


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

    def warm_up(self) -> None:
        """Pay for whatever the first job in a known voice would: compiled filters, GPU kernels and graphs."""
        conditionals = self.model.builtin_voice or some_voice(self.model.device)
        (decoded,) = self._decoder.decode([self._request("Ready.", conditionals, SpeechParams(seed=0), 0)])
        self._watermarker.mark(self._synthesize(decoded, conditionals), MODEL_SAMPLE_RATE_HZ)

    def prepare_for_new_voices(self) -> None:
        """See ``Speaker``: imports upstream's package and reads more weights."""
        noise = np.random.default_rng(0).normal(0.0, 0.1, 3 * MODEL_SAMPLE_RATE_HZ).astype(np.float32)
        try:
            self._voices.compute(Waveform(noise, MODEL_SAMPLE_RATE_HZ))
        except Exception:  # the job that needs it will say what is wrong
            log.exception("new voices cannot be prepared for")

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
        with self._one_at_a_time, clock.stage("conditionals"):
            conditionals = self.conditionals(reference)
        chunks = split_text(text)
        with clock.stage("t3"):
            decoded, faults = self._decode([chunk.text for chunk in chunks], conditionals, params)
        spoken = []
        for index, chunk in enumerate(chunks):
            with self._one_at_a_time:
                with clock.stage("s3gen"):
                    samples = self._synthesize(decoded[index], conditionals)
                if not np.isfinite(samples).all():
                    raise Internal(
                        f"the model gave no valid audio for segment {index + 1}; send the job again"
                    )
                with clock.stage("watermark"):
                    samples = self._watermarker.mark(
                        cut_trailing_noise(samples, MODEL_SAMPLE_RATE_HZ), MODEL_SAMPLE_RATE_HZ
                    )
            spoken.append(Spoken(samples, chunk.pause_after_s))
        samples, spans = join(spoken, MODEL_SAMPLE_RATE_HZ)
        return Speech(
            waveform=Waveform(samples, MODEL_SAMPLE_RATE_HZ),
            segments=tuple(Segment(chunk.text, *span) for chunk, span in zip(chunks, spans, strict=True)),
            parameters=self._resolved(params),
            warnings=(*self._ignored(params), *faults),
            stage_times_s=dict(clock.times_s),
        )

    def _decode(
        self, texts: Sequence[str], conditionals: Conditionals, params: SpeechParams
    ) -> tuple[list[Decoded], list[str]]:
        """Speech tokens of each text, and what to warn of. What went wrong is tried once more."""

        def request(index: int, attempt: int) -> DecodeRequest:
            seed = (params.seed + index * SEED_STRIDE + attempt) % SEED_LIMIT
            return self._request(texts[index], conditionals, params, seed)

        decoded = self._decoder.decode([request(index, attempt=0) for index in range(len(texts))])
        faults = {index: fault for index, first in enumerate(decoded) if (fault := _fault(first))}
        again = self._decoder.decode([request(index, attempt=1) for index in faults])
        warnings = []
        for (index, fault), second in zip(faults.items(), again, strict=True):
            segment = f"{index + 1} of {len(texts)}"
            log.info("chunk %s %s: again with the next seed", segment, fault)
            still = _fault(second)
            outcome = f"{still} again; listen to it" if still else "was spoken well then"
            warnings.append(f"segment {segment} {fault}, so the next seed was tried, and {outcome}")
            decoded[index] = second
        return decoded, warnings

    def _request(
        self, text: str, conditionals: Conditionals, params: SpeechParams, seed: int
    ) -> DecodeRequest:
        """The same draws as upstream's ``generate`` after ``torch.manual_seed(seed)``."""
        variant = self.model.variant
        return DecodeRequest(
            speaker_embedding=conditionals.speaker_embedding,
            prompt_tokens=conditionals.t3_prompt_tokens,
            exaggeration=params.exaggeration,
            text_tokens=self.model.tokenizer.encode(normalize_text(text)),
            sampling=Sampling(
                cfg_weight=params.cfg_weight,
                temperature=params.temperature,
                top_p=_or_default(params.top_p, variant.top_p),
                min_p=_or_default(params.min_p, variant.min_p),
                repetition_penalty=_or_default(params.repetition_penalty, variant.repetition_penalty),
            ),
            max_tokens=max_speech_tokens(text),
            seed=seed,
        )

    def _synthesize(self, decoded: Decoded, conditionals: Conditionals) -> NDArray[np.float32]:
        """Samples, float32 [n], unmarked, as the vocoder gives them."""
        if not _has_speech(decoded):  # the model stopped at once: silence of one token
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
            "top_p": _or_default(params.top_p, variant.top_p),
            "min_p": _or_default(params.min_p, variant.min_p),
            "repetition_penalty": _or_default(params.repetition_penalty, variant.repetition_penalty),
            "top_k": params.top_k,
        }
        return used | dict.fromkeys(variant.ignored_parameters)


def _shelf_key(model: Model) -> str:
    """What another model, revision or arithmetic made of a voice is not taken for ours."""
    in_tf32 = model.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    arithmetic = "tf32" if in_tf32 else "float32"
    return f"{model.variant.name}-{model.revision[:16]}-{arithmetic}-{CONDITIONALS_VERSION}"


def _has_speech(decoded: Decoded) -> bool:
    return bool((decoded.tokens < CODEBOOK_SIZE).any())


def _or_default(value: float | None, default: float) -> float:
    return default if value is None else value


def _fault(decoded: Decoded) -> str | None:
    """What is wrong with a chunk's tokens, as a part of a sentence; None when nothing is."""
    if not _has_speech(decoded):
        return "came out empty"
    return None if decoded.stopped else "ran on and was cut"


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
