"""Voice encoder: the mel of a recording to the speaker embedding that T3 takes.

``VoiceEncoder.embeds_from_mels`` of chatterbox-tts 0.1.7 for one recording: an LSTM over windows of 1.6 s,
whose embeddings are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.weights import WeightsView, linear

WINDOW_FRAMES = 160  # ``VoiceEncConfig.ve_partial_frames``
STEP_FRAMES = 77  # between two windows: ``get_frame_step`` with the rate 1.3 of ``embeds_from_wavs``
MIN_COVERAGE = 0.8  # of the last window, the rest of which is filled with zeros
LSTM_LAYERS = 3
_CUDNN_LSTM = 2  # ``cudnnRNNMode_t``


def prepare(state: Mapping[str, Tensor]) -> WeightsView:
    """Returns the weights in float32. state: tensors by the names of upstream's state dict."""
    weights = WeightsView.of({name: tensor.float() for name, tensor in state.items()})
    flat = _lstm_weights(weights)
    if flat[0].is_cuda:
        # cuDNN takes one block of memory, and would otherwise copy the weights into one at each call.
        hidden, channels = flat[1].shape[1], flat[0].shape[1]
        with torch.no_grad():
            torch._cudnn_rnn_flatten_weight(
                flat, 4, channels, _CUDNN_LSTM, hidden, 0, LSTM_LAYERS, batch_first=True, bidirectional=False
            )
    return weights


def embed(encoder: WeightsView, mel: Tensor) -> Tensor:
    """Returns the speaker embedding, float32 [1, 256] of length 1, of a recording's mel, float32 [T, 40]."""
    windows = _windows(mel)
    flat = _lstm_weights(encoder)
    zeros = mel.new_zeros(LSTM_LAYERS, len(windows), flat[1].shape[1])
    _, hidden, _ = torch.lstm(
        windows,
        (zeros, zeros),
        flat,
        has_biases=True,
        num_layers=LSTM_LAYERS,
        dropout=0.0,
        train=False,
        bidirectional=False,
        batch_first=True,
    )
    embeddings = F.relu(linear(hidden[-1], encoder / "proj"))
    mean: Tensor = (embeddings / embeddings.norm(dim=1, keepdim=True)).mean(dim=0, keepdim=True)
    mean /= mean.norm(dim=1, keepdim=True)
    return mean


def _windows(mel: Tensor) -> Tensor:
    """Returns windows of 160 frames, [windows, 160, 40]."""
    count, rest = divmod(max(len(mel) - WINDOW_FRAMES + STEP_FRAMES, 0), STEP_FRAMES)
    if count == 0 or (rest + WINDOW_FRAMES - STEP_FRAMES) / WINDOW_FRAMES >= MIN_COVERAGE:
        count += 1
    length = WINDOW_FRAMES + STEP_FRAMES * (count - 1)
    fitted = F.pad(mel, (0, 0, 0, length - len(mel)))  # cuts where that is negative
    return fitted.unfold(0, WINDOW_FRAMES, STEP_FRAMES).transpose(1, 2)


def _lstm_weights(encoder: WeightsView) -> list[Tensor]:
    lstm = encoder / "lstm"
    return [
        lstm[f"{part}_l{layer}"]
        for layer in range(LSTM_LAYERS)
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
