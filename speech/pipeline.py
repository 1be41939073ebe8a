"""The synthesizer: utterances to chunks of text, through the device's runtime, to chunks of audio.

Knows no RunPod, no stored voices and no environment.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from audio.pauses import cut_at_pauses
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from cancel import CancelToken
from characters import printable_excerpt
from errors import DeviceLost, DeviceSuspect, Internal, InvalidRequest, ModelUnavailable, WorkerError
from speech.context import border_s, context_for, cut_context, is_whole
from speech.contract import Alignment, AudioChunk, DeviceUsage, Hop, ModelInfo, Take, Utterance
from speech.contract import Conditionals as AnyConditionals
from speech.models.spec import SILENCE_TOKEN, SPEECH_TOKENS_PER_S, ModelSource
from speech.models.t3 import T3
from speech.reference.conditionals import FILE_VERSION, Conditionals, dummy_voice
from speech.reference.spectra import ENCODER_SAMPLE_RATE_HZ
from speech.runtime import Batch, ChunkRequest, DeviceModel, DeviceRuntime, RenderedAudio, TokensRequest
from speech.s3gen.packed import PackedS3Gen
from speech.t3.alignment import align, find_alignment_heads
from speech.t3.batch import CAPACITY, ROWS_WITH_CFG, RunningBatch
from speech.t3.request import DecodeRequest
from speech.t3.sampling import Sampling
from speech.takes import TakeCheck, describe
from speech.text import has_speakable, max_speech_tokens, split_text
from speech.text.calibration import calibration_sentence
from speech.text.spans import chunk_spans
from speech.threads import load_with_all_threads
from speech.trim import FADE_S, Samples, TailCutter, fade_out
from speech.watermark import PieceMarker, Watermarker
from speech.weights.find import find_model
from speech.weights.heads import AlignmentHeads, read_heads, write_heads
from speech.weights.load import Model, load_model
from speech.weights.memory import (
    MemoryNeed,
    check_room,
    free_memory,
    is_out_of_memory,
    memory_need,
    owner_of_memory,
    ran_out,
)
from speech.weights.shared import SharedParts

log = logging.getLogger(__name__)

SEED_LIMIT = 2**63
SAMPLES_A_TOKEN = MODEL_SAMPLE_RATE_HZ // SPEECH_TOKENS_PER_S
# Seeds of an utterance's chunks lie far apart, so that one chunk's next seed is not another's first:
# 2**64 divided by the golden ratio.
SEED_STRIDE = 0x9E3779B97F4A7C15
# Chunks of one text decode together; on a GPU each takes 0.4 GB in bfloat16, two rows of the KV cache.
CHUNKS_AT_ONCE = 4
LONGEST_PIECE_S = 30.0  # of a recording to convert: what the speech tokenizer hears at once
INAUDIBLE = 3e-4  # of full scale: -70 dBFS
NO_ALIGNMENT = AlignmentHeads((), frozenset())
NO_SOUND = "the model says a word and no sound comes"
STEPS_PER_POLL = 8  # on a GPU, which must not wait for the question whether a sequence is done


class ChatterboxSynthesizer:
    """A loaded Chatterbox model, ready to speak. Implements ``speech.contract.Synthesizer``."""

    def __init__(self, model: Model, runtime: DeviceRuntime, watermarker: Watermarker) -> None:
        self._model, self._runtime, self._watermarker = model, runtime, watermarker
        self._alignment = NO_ALIGNMENT if model.t3_file is None else self._read_alignment(model.t3_file)

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""
        model, can_align = self._model, bool(self._alignment and self._alignment.heads)
        return ModelInfo(model.spec, model.revision, model.notice, model.tokenizer.unavailable, can_align)

    @property
    def conditionals_key(self) -> str:
        """Names reference encoder, arithmetic and file version: the same for models that encode alike."""
        in_tf32 = self._model.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
        arithmetic = "tf32" if in_tf32 else "float32"
        return f"{self._model.conditionals_digest}-{arithmetic}-{FILE_VERSION}"

    @property
    def usage(self) -> DeviceUsage:
        """How much of the device is in use now."""
        return self._runtime.usage

    def check(self) -> None:
        """Says a word, watermark included, and pays for what the first job would: kernels, filters, graphs.

        On a GPU it speaks a stream and encodes some noise as well.

        Raises ModelUnavailable when no sound comes, OutOfMemory, and DeviceLost when the GPU fails.
        """
        spec = self._model.spec
        voice = self._model.builtin_voice or dummy_voice(spec.conditioning)
        word = Utterance("Ready.", voice, seed=0, language=self.info.default_language)
        try:
            (chunk,) = self.synthesize([word], CancelToken())
            list(self.watermark([chunk]))
            if self._model.device.type == "cuda":  # plans and graphs for streams and for new voices
                words = replace(word, text="Ready to say a few words more than one.")
                list(self.watermark(self.synthesize([words], CancelToken(), hop="stream")))
                seconds = spec.conditioning.s3gen_prompt_s
                noise = np.random.default_rng(0).normal(0.0, 0.1, round(seconds * MODEL_SAMPLE_RATE_HZ))
                self.encode_reference(Waveform(noise.astype(np.float32), MODEL_SAMPLE_RATE_HZ), CancelToken())
        except DeviceSuspect as error:
            raise DeviceLost("the GPU failed again when it was tried") from error
        except DeviceLost:
            raise
        except Internal as error:  # no valid audio
            raise ModelUnavailable(NO_SOUND) from error
        except WorkerError:
            raise
        except Exception as error:
            raise ModelUnavailable(
                f"the model cannot say a word ({error.__class__.__name__})",
                hint="check that the weights are those of the model that MODEL names",
            ) from error
        # Before the watermark, which on some CPUs is not silent in silence.
        if not chunk.waveform.samples.any():
            raise ModelUnavailable(NO_SOUND)
        self._find_alignment()

    def _read_alignment(self, t3_file: Path) -> AlignmentHeads | None:
        dimensions = self._model.dimensions
        if not isinstance(self._model.t3, T3):
            return NO_ALIGNMENT
        return read_heads(t3_file, dimensions.t3_layers, dimensions.t3_heads)

    def _find_alignment(self) -> None:
        """Finds T3's heads that follow the text, unless these weights' heads are known: speaks a sentence.

        What goes wrong leaves the model without alignment. Raises DeviceLost when the GPU fails.
        """
        model, spec = self._model, self._model.spec
        if self._alignment is not None:
            return
        self._alignment = NO_ALIGNMENT
        started_s = time.perf_counter()
        text = calibration_sentence(self.info.default_language)
        voice = model.builtin_voice or dummy_voice(spec.conditioning)
        utterance = Utterance(text, voice, seed=0, language=self.info.default_language, max_takes=3)
        request = replace(self._request(text, utterance, 0, "whole"), heads=tuple(model.t3.all_heads))
        try:
            (audio,) = self._runtime.speak([request], CancelToken())
            silence = self._silence_tokens()
        except DeviceLost:
            raise
        except Exception as error:
            log.warning("%s: no alignment, since a sentence failed (%s)", spec.name, error)
            return
        if audio.attention is None or any(take.used and take.faults for take in audio.takes):
            log.warning("%s: no alignment, since a sentence %s", spec.name, audio.failures[-1])
            return
        heads = tuple(model.t3.all_heads[index] for index in find_alignment_heads(audio.attention))
        self._alignment = AlignmentHeads(heads, silence)
        log.info(
            "%s: %s, looked for in %.1f s",
            spec.name,
            f"heads {heads} follow the text" if heads else "no head follows the text: times are estimated",
            time.perf_counter() - started_s,
        )
        assert model.t3_file is not None
        write_heads(model.t3_file, self._alignment)

    def _silence_tokens(self) -> frozenset[int]:
        """The speech tokens of silence and of a noise that nobody hears."""
        second = MODEL_SAMPLE_RATE_HZ
        noise = np.random.default_rng(0).normal(0.0, INAUDIBLE, second)
        quiet = np.concatenate([np.zeros(second), noise]).astype(np.float32)
        tokens = self._tokenize(Waveform(quiet, MODEL_SAMPLE_RATE_HZ), CancelToken())
        return frozenset({SILENCE_TOKEN, *tokens.tolist()})

    def builtin_voice(self) -> Conditionals:
        """The model's own voice. Raises InvalidRequest when the weights have none."""
        if self._model.builtin_voice is None:
            raise InvalidRequest(
                "is required, because these weights have no built-in voice",
                field="voice_name",
                hint="name a stored voice or send reference_audio",
            )
        return self._model.builtin_voice

    def encode_reference(self, waveform: Waveform, cancel: CancelToken) -> Conditionals:
        """Computes the conditionals of a 24 kHz recording, see ``Synthesizer.encode_reference``.

        What needs no device is computed in the calling thread: meanwhile the device works for others.
        """
        encoder = self._model.reference_encoder
        cancel.raise_if_cancelled()
        prepared = encoder.prepare(waveform)

        def encode() -> Conditionals:
            cancel.raise_if_cancelled()
            return encoder.encode(prepared)

        return self._runtime.run(encode, cancel)

    def read_conditionals(self, content: bytes, digest: str) -> Conditionals | None:
        """What ``Conditionals.to_bytes`` wrote for these samples; None for anything else."""
        return Conditionals.from_bytes(content, digest, self._model.spec.conditioning)

    def synthesize(
        self, utterances: Sequence[Utterance], cancel: CancelToken, *, hop: Hop = "whole"
    ) -> Iterator[AudioChunk]:
        """Speaks the utterances, see ``Synthesizer.synthesize``.

        Upstream's engine renders whole chunks with either hop.
        """
        chunks = self._split(utterances, hop, cancel)
        if not chunks:
            raise InvalidRequest("has nothing in it to say", field="text", hint="send words")
        count = len(chunks)
        requests = [planned.request for planned in chunks]
        with closing(self._runtime.speak(requests, cancel)) as rendered:
            for index, planned in enumerate(chunks):
                segment = f"{index + 1} of {count}"
                ends = _ChunkEnds(cut_last_token=self._model.spec.cut_last_token)
                is_over = False
                while not is_over:
                    started_s = time.perf_counter()
                    audio = next(rendered)
                    aligns = utterances[planned.utterance].align
                    alignment = _alignment(audio, planned.request) if aligns or planned.context else None
                    if planned.context:
                        audio, alignment = self._without_context(audio, alignment, planned, cancel)
                    waited_s = time.perf_counter() - started_s
                    is_over = audio.ends_chunk
                    _check_finite(audio.samples, index)
                    warnings = (*_warnings(audio, segment), *_unsayable(planned.unknown, segment))
                    yield AudioChunk(
                        waveform=Waveform(ends.shape(audio.samples, is_last=is_over), MODEL_SAMPLE_RATE_HZ),
                        pause_after_s=planned.pause_after_s if is_over else 0.0,
                        text=planned.text,
                        utterance=planned.utterance,
                        index=index,
                        count=count,
                        ends_chunk=is_over,
                        span=planned.span,
                        pause_is_exact=planned.pause_is_exact,
                        warnings=warnings if is_over else (),
                        # What is left of T3's time: later chunks decode while earlier ones are rendered.
                        stage_times_s={"t3": max(0.0, waited_s - audio.render_s), "s3gen": audio.render_s},
                        takes=tuple(
                            Take(take.seed, tuple(fault.code for fault in take.faults), take.used)
                            for take in audio.takes
                        ),
                        alignment=alignment if aligns else None,
                    )

    def _without_context(
        self,
        audio: RenderedAudio,
        alignment: Alignment | None,
        planned: _PlannedChunk,
        cancel: CancelToken,
    ) -> tuple[RenderedAudio, Alignment | None]:
        """Returns a chunk's audio behind its context; where no text is left, that of the text alone."""
        border = None if alignment is None else border_s(alignment, planned.context)
        if alignment is not None and border is not None:
            samples, start_s = cut_context(audio.samples, MODEL_SAMPLE_RATE_HZ, *border)
            if is_whole(samples, audio.samples, MODEL_SAMPLE_RATE_HZ, planned.text):
                return replace(audio, samples=samples), alignment.behind(len(planned.context), start_s)
        assert planned.without_context is not None
        with closing(self._runtime.speak([planned.without_context], cancel)) as rendered:
            alone = next(rendered)
        return alone, _alignment(alone, planned.without_context)

    def convert(
        self, recording: Waveform, voice: AnyConditionals, seed: int, cancel: CancelToken
    ) -> Iterator[AudioChunk]:
        """Says what a recording says in another voice, see ``Synthesizer.convert``.

        A recording of at most 30 s gives the samples of ``ChatterboxVC.generate`` of chatterbox-tts 0.1.7
        after ``manual_seed(seed)``, within rounding and before the watermark.
        """
        pieces = cut_at_pauses(recording, LONGEST_PIECE_S)
        count = len(pieces)
        started_s = time.perf_counter()
        tokens = {
            index: self._tokenize(piece.waveform, cancel)
            for index, piece in enumerate(pieces)
            if not piece.is_silent
        }
        tokens_s = time.perf_counter() - started_s
        requests = [
            TokensRequest(
                self._model.spec.name,
                each,
                cast(Conditionals, voice),
                (seed + index * SEED_STRIDE) % SEED_LIMIT,
            )
            for index, each in tokens.items()
        ]
        with closing(self._runtime.speak(requests, cancel)) as rendered:
            for index, piece in enumerate(pieces):
                samples, render_s = np.zeros(0, np.float32), 0.0
                if index in tokens:
                    audio = next(rendered)
                    samples, render_s = audio.samples, audio.render_s
                    _check_finite(samples, index)
                if index < count - 1:
                    samples = fade_out(samples, MODEL_SAMPLE_RATE_HZ)
                # S3Gen gives 20 ms less in a voice whose prompt has an odd number of mel frames.
                length = (
                    SAMPLES_A_TOKEN * len(tokens[index]) if index in tokens else len(piece.waveform.samples)
                )
                yield AudioChunk(
                    waveform=Waveform(np.pad(samples, (0, length - len(samples))), MODEL_SAMPLE_RATE_HZ),
                    pause_after_s=0.0,
                    text="",
                    utterance=0,
                    index=index,
                    count=count,
                    warnings=() if piece.ends_in_pause else (_no_pause(index, count),),
                    stage_times_s={"tokens": tokens_s if index == 0 else 0.0, "s3gen": render_s},
                )

    def _tokenize(self, waveform: Waveform, cancel: CancelToken) -> Tensor:
        samples_16k = resample(waveform, ENCODER_SAMPLE_RATE_HZ).samples
        return self._runtime.run(lambda: self._model.reference_encoder.tokenize(samples_16k), cancel)

    def watermark(self, chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
        """Yields audio with the watermark, see ``Synthesizer.watermark``."""
        marker = None
        for chunk in chunks:
            started_s = time.perf_counter()
            waveform = chunk.waveform
            marker = marker or PieceMarker(self._watermarker, waveform.sample_rate_hz)
            marked = marker.add(waveform.samples, is_last=chunk.ends_chunk)
            if chunk.ends_chunk:
                marker = None
            times_s = {**chunk.stage_times_s, "watermark": time.perf_counter() - started_s}
            yield replace(chunk, waveform=Waveform(marked, waveform.sample_rate_hz), stage_times_s=times_s)

    def detect_watermark(self, recording: Waveform, cancel: CancelToken) -> float:
        """How sure PerTh's detector is, see ``Synthesizer.detect_watermark``."""
        return self._watermarker.detect(recording, cancel)

    def close(self) -> None:
        """Ends the runtime's thread. For tests and tools."""
        self._runtime.close()

    def _split(self, utterances: Sequence[Utterance], hop: Hop, cancel: CancelToken) -> list[_PlannedChunk]:
        """Every chunk of every utterance that has something to say."""
        planned: list[_PlannedChunk] = []
        for index, utterance in enumerate(utterances):
            if not has_speakable(utterance.text):
                continue
            chunks = split_text(
                utterance.text,
                self._model.spec.max_chunk_s,
                language=utterance.language,
                starts_short=hop == "stream" and not planned,
                cancel=cancel,
            )
            spans = chunk_spans(utterance.text, [chunk.text for chunk in chunks])
            for position, (chunk, span) in enumerate(zip(chunks, spans, strict=True)):
                cancel.raise_if_cancelled()  # readings of a long text take seconds
                is_last = position == len(chunks) - 1
                can_align = self.info.can_align and utterance.context and hop == "whole"
                context = context_for(chunk.text, utterance.language) if can_align else ""
                planned.append(
                    _PlannedChunk(
                        utterance=index,
                        text=chunk.text,
                        span=span,
                        # Speech that is cut off needs a little time to fade.
                        pause_after_s=utterance.pause_after_s
                        if is_last
                        else max(chunk.pause_after_s, FADE_S),
                        pause_is_exact=utterance.pause_is_exact and is_last,
                        request=self._request(context + chunk.text, utterance, position, hop),
                        context=context,
                        without_context=self._request(chunk.text, utterance, position, hop)
                        if context
                        else None,
                        unknown=self._model.tokenizer.unknown(chunk.text, utterance.language),
                    )
                )
        return planned

    def _request(self, text: str, utterance: Utterance, position: int, hop: Hop) -> ChunkRequest:
        """A chunk of an utterance with the draws of upstream's ``generate`` after ``manual_seed(seed)``.

        Raises InvalidRequest for a text that the tokenizer refuses.
        """
        spec, parameters = self._model.spec, self.info.resolve(utterance.params)
        try:
            text_tokens = self._model.tokenizer.encode(text, utterance.language)
        except InvalidRequest as error:
            problems = [replace(each, field=utterance.field) for each in error.problems]
            raise InvalidRequest.of(problems) from None
        voice = cast(Conditionals, utterance.voice)
        first_seed = utterance.seed + position * SEED_STRIDE
        seeds = tuple((first_seed + take) % SEED_LIMIT for take in range(utterance.max_takes))
        decode = DecodeRequest(
            speaker_embedding=voice.speaker_embedding,
            prompt_tokens=voice.t3_prompt_tokens,
            exaggeration=parameters["exaggeration"] or 0.0,
            text_tokens=text_tokens,
            sampling=Sampling.of(parameters),
            max_tokens=min(max_speech_tokens(text, utterance.language), spec.max_speech_tokens),
            seed=seeds[0],
        )
        in_pieces = hop == "stream" and isinstance(self._model.t3, T3)  # upstream's knows only the whole
        alignment = self._alignment or NO_ALIGNMENT
        spans = self._model.tokenizer.spans(text, utterance.language) if alignment.heads else None
        check = TakeCheck.of(text, spans, alignment.silence, utterance.language)
        return ChunkRequest(
            spec.name, decode, voice, seeds, in_pieces, spec.silence_tokens, check, alignment.heads
        )


@dataclass(frozen=True)
class _PlannedChunk:
    """A chunk of text on its way to the runtime."""

    utterance: int  # index of its utterance
    text: str
    span: tuple[int, int]  # start and end index in the utterance's text
    pause_after_s: float
    pause_is_exact: bool
    request: ChunkRequest
    unknown: str  # characters that the model does not know
    context: str = ""  # what is spoken before the text and cut away
    without_context: ChunkRequest | None = None  # of a chunk with context


class _ChunkEnds:
    """Cuts the end of a chunk's audio, which may come in pieces. Its start is faded by S3Gen."""

    def __init__(self, *, cut_last_token: bool) -> None:
        self._cut_last_token, self._count = cut_last_token, 0
        self._cutter = TailCutter(MODEL_SAMPLE_RATE_HZ)

    def shape(self, samples: Samples, *, is_last: bool) -> Samples:
        """Returns what is certain of the samples so far and was not yet returned."""
        if is_last and self._cut_last_token:
            # As upstream counts: the last token has less where S3Gen gives 20 ms less of a chunk.
            tokens = math.ceil((self._count + len(samples)) / SAMPLES_A_TOKEN)
            samples = samples[: max(0, max(1, tokens - 1) * SAMPLES_A_TOKEN - self._count)]
        self._count += len(samples)
        return self._cutter.add(samples, is_last=is_last)


def _check_finite(samples: Samples, index: int) -> None:
    if not np.isfinite(samples).all():
        raise Internal(f"the model gave no valid audio for segment {index + 1}", hint="send the job again")


def _no_pause(index: int, count: int) -> str:
    return f"segment {index + 1} of {count} ends where the source has no pause; listen to the seam"


def _unsayable(unknown: str, segment: str) -> tuple[str, ...]:
    """What to tell the caller of characters that the model does not know. segment: "1 of 3"."""
    if not unknown:
        return ()
    return (f"segment {segment} holds what the model cannot say: {printable_excerpt(' '.join(unknown))}",)


def _warnings(audio: RenderedAudio, segment: str) -> tuple[str, ...]:
    """What to tell the caller of takes with faults. segment: "1 of 3"."""
    if not audio.failures:
        return ()
    first, *more = audio.takes
    if not more:  # one take was asked for, or its beginning was handed over by then
        return (f"segment {segment} {describe(first.faults)}; listen to it",)
    tried = "the next seed was tried" if len(more) == 1 else f"{len(more)} more seeds were tried"
    used = next(take for take in audio.takes if take.used)
    if not used.faults:
        outcome = "was spoken well then"
    elif len({tuple(fault.code for fault in take.faults) for take in audio.takes}) == 1:
        outcome = f"{describe(used.faults)} again; listen to it"
    else:
        outcome = f"the best take {describe(used.faults)}; listen to it"
    return (f"segment {segment} {describe(first.faults)}, so {tried}, and {outcome}",)


def _alignment(audio: RenderedAudio, request: ChunkRequest) -> Alignment | None:
    """When the text tokens of a chunk are said; None where its attention does not tell."""
    if audio.attention is None or request.check.spans is None:
        return None
    scores = audio.attention.mean(axis=0)
    ends_s = align(scores)
    return None if ends_s is None else Alignment(tuple(ends_s.tolist()), request.check.spans)


def load_synthesizer(
    model: str, *, checkpoint_dir: Path | None = None, **options: Any
) -> ChatterboxSynthesizer:
    """Loads one model. checkpoint_dir: its folder. options: see ``load_synthesizers``."""
    (synthesizer,) = load_synthesizers([ModelSource(model, folder=checkpoint_dir)], **options)
    return synthesizer


def load_synthesizers(
    sources: Sequence[ModelSource],
    *,
    device: str = "auto",
    precision: str = "auto",
    upstream: bool = False,
    max_concurrency: int = 1,
    hf_token: str | None = None,
    hub_caches: tuple[Path, ...] = (),
    last_resort: Path | None = None,
) -> list[ChatterboxSynthesizer]:
    """Finds the weights of each model, loads them and makes sure that everything speaking needs is there.

    device: "auto", "cpu", "cuda" or "cuda:N". precision: "exact" is float32 throughout; "auto" keeps T3, and
    on CUDA S3Gen's flow, in bfloat16 where the hardware computes in it, and lets CUDA use TF32. upstream: run
    upstream's modules. max_concurrency: how many jobs will speak at once. The rest: see ``find_model``.
    Raises ModelUnavailable.
    """
    target = _device(device)
    load = partial(
        _load_synthesizers,
        sources,
        target,
        precision=precision,
        upstream=upstream,
        max_concurrency=max_concurrency,
        hf_token=hf_token,
        hub_caches=hub_caches,
        last_resort=last_resort,
    )
    return load_with_all_threads(load) if target.type == "cpu" else load()


def _load_synthesizers(
    sources: Sequence[ModelSource],
    target: torch.device,
    *,
    precision: str,
    upstream: bool,
    max_concurrency: int,
    hf_token: str | None,
    hub_caches: tuple[Path, ...],
    last_resort: Path | None,
) -> list[ChatterboxSynthesizer]:
    try:
        watermarker = Watermarker(target)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _nothing_free(str(target)) from error
    set_arithmetic(precision)
    found = [  # all of them before the first is loaded, which takes time
        find_model(source, hub_caches=hub_caches, token=hf_token, last_resort=last_resort, others=sources)
        for source in sources
    ]
    models: list[Model] = []
    shared, caches_bytes = SharedParts(), 0
    for spec, checkpoint in found:
        started = time.perf_counter()
        dtype = t3_dtype(target, precision)
        free_bytes = free_memory(target)
        need: MemoryNeed | None = None
        try:
            need = memory_need(spec, checkpoint, target, torch.float32 if upstream else dtype, shared)
            caches_bytes += need.cache_bytes
            check_room(spec, need, caches_bytes, target)
            if upstream:
                from speech.upstream import load_upstream_model

                model = load_upstream_model(spec, checkpoint, target)
            else:
                # In exact nothing depends on company; GPUs without bfloat16 gain by it in float32, too.
                together = target.type == "cuda" and precision == "auto"
                model = load_model(spec, checkpoint, target, dtype, together=together, shared=shared)
        except Exception as error:
            if need is not None and is_out_of_memory(error):  # libraries have errors of their own for it
                raise ran_out(spec, need.weights_bytes, free_bytes, target) from error
            log.error("model: %s cannot be loaded", spec.name)
            raise
        _log_model(model, models, need.weights_bytes, time.perf_counter() - started)
        models.append(model)
    if target.type == "cpu" and all(model.is_tiny for model in models):
        # So little work gains nothing from threads, and loses tenfold to them on a busy machine.
        torch.set_num_threads(1)
    return make_synthesizers(models, watermarker, max_concurrency)


def _log_model(model: Model, others: Sequence[Model], size_bytes: int, seconds: float) -> None:
    """others: those that were loaded before. size_bytes: of the weights that came for this one."""
    owners = {
        part: next((each for each in others if getattr(each, attribute) is getattr(model, attribute)), None)
        for part, attribute in (("S3Gen", "s3gen"), ("the reference encoder", "reference_encoder"))
    }
    shares = [f"{part} of {owner.spec.name}" for part, owner in owners.items() if owner is not None]
    log.info(
        "model: %s %s on %s in %.1f s, %.0f MB of weights%s",
        model.spec.name,
        model.revision,
        model.device,
        seconds,
        1e-6 * size_bytes,
        f", with {' and '.join(shares)}" if shares else "",
    )
    if model.notice is not None:
        log.warning(model.notice)


def set_arithmetic(precision: str) -> None:
    """Sets what PyTorch's operators may do on a GPU, for the whole process. precision: "exact" or "auto"."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "auto"
    torch.backends.cudnn.allow_tf32 = precision == "auto"
    # Products of bfloat16 are added up in float32 to the end, as T3's kernels do it; by default cuBLAS may
    # split a sum and round its parts.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    # Some of cuDNN's convolutions add up in an order that changes from call to call: a seed would not
    # give the same samples again.
    torch.backends.cudnn.deterministic = True
    # cuDNN's attention, which torch prefers on Hopper from 2.11 on, builds a plan for every new text length:
    # 40 to 60 ms. T3's steps, which have few shapes, ask for it by name.
    torch.backends.cuda.enable_cudnn_sdp(False)


def make_synthesizer(
    model: Model, watermarker: Watermarker, max_concurrency: int = 1
) -> ChatterboxSynthesizer:
    """Starts the runtime for one model, see ``make_synthesizers``."""
    (synthesizer,) = make_synthesizers([model], watermarker, max_concurrency)
    return synthesizer


def _on_device(model: Model, max_concurrency: int) -> DeviceModel:
    device_model = DeviceModel(partial(make_batch, model, max_concurrency), model.s3gen)
    if isinstance(model.s3gen, PackedS3Gen):
        return replace(device_model, get_renderer_ready=model.s3gen.capture)
    return device_model


def make_synthesizers(
    models: Sequence[Model], watermarker: Watermarker, max_concurrency: int = 1
) -> list[ChatterboxSynthesizer]:
    """Starts the runtime for loaded models. Raises ModelUnavailable when its memory does not suffice."""
    device = models[0].device
    free_bytes = free_memory(device) or 0
    try:
        runtime = DeviceRuntime(
            device,
            {model.spec.name: _on_device(model, max_concurrency) for model in models},
            max_jobs=max_concurrency,
        )
    except Exception as error:
        if not is_out_of_memory(error):  # libraries have errors of their own for it
            raise
        owner = owner_of_memory(device)
        needed_bytes = sum(cache_bytes(model, max_concurrency) for model in models)
        raise ModelUnavailable(
            f"the {owner}'s memory does not suffice for MAX_CONCURRENCY {max_concurrency}: "
            f"the key-value cache needs {1e-9 * needed_bytes:.1f} GB, and "
            f"{1e-9 * free_bytes:.1f} GB are free beside the weights, for rendering too",
            hint=f"set it lower, name fewer models in MODEL, or choose a {owner} with more memory",
        ) from error
    if device.type == "cuda":
        watermarker.compute = runtime.compute
    return [ChatterboxSynthesizer(model, runtime, watermarker) for model in models]


def make_batch(model: Model, max_concurrency: int = 1) -> Batch:
    """Makes the batch for a kind of T3: for several chunks of one job, and one of each other job."""
    if not isinstance(model.t3, T3):
        from speech.upstream import UpstreamBatch

        return UpstreamBatch(model.t3, model.spec)
    is_cuda = model.device.type == "cuda"
    rows = _cache_rows(max_concurrency)
    return RunningBatch(model.t3, rows, poll_every=STEPS_PER_POLL if is_cuda else 1, graphs=is_cuda)


def _cache_rows(max_concurrency: int) -> int:
    return ROWS_WITH_CFG * (CHUNKS_AT_ONCE + max_concurrency - 1)


def cache_bytes(model: Model, max_concurrency: int) -> int:
    """Returns the size of the KV cache for so many jobs; 0 for upstream's T3, which has one for each job."""
    if not isinstance(model.t3, T3):
        return 0
    shape = model.t3.cache_shape(_cache_rows(max_concurrency), CAPACITY)
    return math.prod(shape) * model.t3.cache_dtype.itemsize


def t3_dtype(device: torch.device, precision: str) -> torch.dtype:
    """The dtype of T3's weights. precision: "exact" or "auto", see ``load_synthesizer``."""
    return torch.bfloat16 if precision == "auto" and _computes_in_bfloat16(device) else torch.float32


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _nothing_free(device: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"the memory of DEVICE {device!r} is in use: nothing can be loaded",
        hint="end what else runs on it, or choose another device",
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "cuda" and device.index is None:  # ``torch.cuda.set_device`` wants one
            device = torch.device("cuda", torch.cuda.current_device())
    except (RuntimeError, AssertionError) as error:  # unknown name; no such device; torch built without it
        if is_out_of_memory(error):
            raise _nothing_free(name) from error
        raise ModelUnavailable(
            f"DEVICE {name!r} cannot be used on this machine", hint="set it to auto or cpu"
        ) from error
    return device
