"""Upstream's own ``T3.inference``, one request after the other: the plain twin of the running batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from speech.t3.request import (
    START_TEXT,
    STOP_SPEECH,
    STOP_TEXT,
    Decoded,
    DecodeRequest,
    DecodingStopped,
    never,
)


class PlainDecoder:
    """t3: upstream's ``T3``. conditioning: its ``T3Cond``."""

    def __init__(self, t3: Any, conditioning: Callable[..., Any]) -> None:
        self._t3, self._conditioning = t3, conditioning
        self._lock = threading.Lock()  # upstream draws from torch's global generator

    def decode(
        self, requests: Sequence[DecodeRequest], is_stopped: Callable[[], bool] = never
    ) -> Iterator[Decoded]:
        return (self._decode(request, is_stopped) for request in requests)

    @torch.inference_mode()
    def _decode(self, request: DecodeRequest, is_stopped: Callable[[], bool]) -> Decoded:
        def ask(*_: object) -> None:
            if is_stopped():
                raise DecodingStopped

        t3, sampling = self._t3, request.sampling.without_extremes()
        text = F.pad(request.text_tokens[None].to(t3.device), (1, 0), value=START_TEXT)
        text = F.pad(text, (0, 1), value=STOP_TEXT)
        with self._lock, t3.speech_emb.register_forward_pre_hook(ask):  # upstream embeds a token a step
            torch.manual_seed(request.seed)
            tokens = t3.inference(
                t3_cond=self._conditioning(
                    speaker_emb=request.speaker_embedding,
                    cond_prompt_speech_tokens=request.prompt_tokens,
                    emotion_adv=request.exaggeration * torch.ones(1, 1, 1, device=t3.device),
                ),
                # Upstream's loop always carries two rows; with one it fails when cfg_weight is 0 (it
                # doubles only the start token). The second row has no influence then:
                # cond + 0 * (cond - uncond).
                text_tokens=text.expand(2, -1),
                max_new_tokens=request.max_tokens,
                temperature=sampling.temperature,
                min_p=sampling.min_p,
                top_p=sampling.top_p,
                repetition_penalty=sampling.repetition_penalty,
                cfg_weight=sampling.cfg_weight,
            )[0]
            generator = torch.Generator(t3.device)
            is_cuda = t3.device.type == "cuda"
            generator.set_state(torch.cuda.get_rng_state(t3.device) if is_cuda else torch.get_rng_state())
        stopped = bool(tokens[-1] == STOP_SPEECH)
        return Decoded(tokens[:-1] if stopped else tokens, stopped, generator)
