"""The chunks of a text to speech tokens, each with a second try when the first went wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence

from speech.checkpoint import Model
from speech.conditionals import CODEBOOK_SIZE, Conditionals
from speech.contract import SpeechParams
from speech.t3.request import Decoded, Decoder, DecodeRequest
from speech.t3.sampling import Sampling
from speech.text import max_speech_tokens, normalize_text

log = logging.getLogger(__name__)

SEED_LIMIT = 2**63
# Chunk seeds lie far apart, so that one chunk's next seed is not another's first:
# 2**64 divided by the golden ratio.
SEED_STRIDE = 0x9E3779B97F4A7C15


class Takes:
    """One text in one voice. is_gone: whether nobody waits for it any more; asked from whatever thread.

    warnings: what to tell the caller, once all were taken.
    """

    def __init__(
        self,
        model: Model,
        decoder: Decoder,
        texts: Sequence[str],
        conditionals: Conditionals,
        params: SpeechParams,
        is_gone: Callable[[], bool],
    ) -> None:
        self._model, self._decoder, self._texts = model, decoder, texts
        self._conditionals, self._params, self._is_gone = conditionals, params, is_gone
        self.warnings: list[str] = []

    def take(self, start: int, *, together: bool) -> Generator[Decoded]:
        """Speech tokens of the texts from ``start`` on, in order. together: not one after the other, which
        is faster and takes more memory. Once it is closed, or raised something, none of it is decoded any
        more.

        Raises what decoding raises, DecodingStopped among it.
        """
        indices = range(start, len(self._texts))
        groups = [indices] if together else [[index] for index in indices]
        is_over = False
        try:
            for group in groups:
                requests = [self._request(index, 0) for index in group]
                found = self._decoder.decode(requests, lambda: is_over or self._is_gone())
                for index, first in zip(group, found, strict=True):
                    yield self._once_more(index, fault) if (fault := _fault(first)) else first
        finally:
            is_over = True

    def _once_more(self, index: int, fault: str) -> Decoded:
        segment = f"{index + 1} of {len(self._texts)}"
        log.info("chunk %s %s: again with the next seed", segment, fault)
        (second,) = self._decoder.decode([self._request(index, 1)], self._is_gone)
        still = _fault(second)
        outcome = f"{still} again; listen to it" if still else "was spoken well then"
        self.warnings.append(f"segment {segment} {fault}, so the next seed was tried, and {outcome}")
        return second

    def _request(self, index: int, attempt: int) -> DecodeRequest:
        seed = (self._params.seed + index * SEED_STRIDE + attempt) % SEED_LIMIT
        return decode_request(self._model, self._texts[index], self._conditionals, self._params, seed)


def decode_request(
    model: Model, text: str, conditionals: Conditionals, params: SpeechParams, seed: int
) -> DecodeRequest:
    """The same draws as upstream's ``generate`` after ``torch.manual_seed(seed)``."""
    variant = model.variant
    return DecodeRequest(
        speaker_embedding=conditionals.speaker_embedding,
        prompt_tokens=conditionals.t3_prompt_tokens,
        exaggeration=params.exaggeration,
        text_tokens=model.tokenizer.encode(normalize_text(text)),
        sampling=Sampling(
            cfg_weight=params.cfg_weight,
            temperature=params.temperature,
            top_p=or_default(params.top_p, variant.top_p),
            min_p=or_default(params.min_p, variant.min_p),
            repetition_penalty=or_default(params.repetition_penalty, variant.repetition_penalty),
        ),
        max_tokens=max_speech_tokens(text),
        seed=seed,
    )


def has_speech(decoded: Decoded) -> bool:
    return bool((decoded.tokens < CODEBOOK_SIZE).any())


def or_default(value: float | None, default: float) -> float:
    return default if value is None else value


def _fault(decoded: Decoded) -> str | None:
    """What is wrong with a chunk's tokens, as a part of a sentence; None when nothing is."""
    if not has_speech(decoded):
        return "came out empty"
    return None if decoded.stopped else "ran on and was cut"
