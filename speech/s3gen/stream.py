"""The audio of a chunk of text in pieces, while its speech tokens are still being decoded.

Every piece is solved by the flow from all tokens so far, and rendered by the vocoder from the frames that
are new and some on both sides of them. What a piece cannot know is what follows: encoder and estimator
attend to the future, so that pieces differ from the chunk as a whole. Everything else is carried over: the
noise of a frame, the phase of the source, and the mel at the seams.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from speech.models.spec import MEL_CHANNELS, MEL_FRAMES_PER_TOKEN
from speech.s3gen.encoder import LOOK_AHEAD
from speech.s3gen.vocoder import HARMONICS, SAMPLES_A_FRAME, draw_phases
from speech.transfer import upload

# Speech tokens of a chunk that each of its pieces waits for. A request's first chunk begins with little, so
# that its audio begins early; later chunks are decoded while earlier ones play. Pieces end at these counts
# however many tokens there are, so that a seed gives the same audio on a busy and on an idle device.
FIRST_CHUNK_PIECES, LATER_CHUNK_PIECES = (15, 25, 50, 100), (50, 100)
# The vocoder's reach is 12.24 frames.
CONTEXT_FRAMES = 13
# Frames that a piece leaves to the next one, since the vocoder needs them on the right. What is beyond them
# changes samples by 2e-5 of full scale.
FRAMES_HELD_BACK = 8
# Frames in which the mel goes over from the last piece's to this one's.
BLENDED_FRAMES = 4
# Frames whose noise is drawn in one call, with a seed of its own.
NOISE_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Window:
    """The stretch of a mel that a piece's samples are rendered from."""

    mel: Tensor  # float32 [T, 80]
    noise: Tensor  # float32 [9, 480 T]
    cycles: Tensor  # of the pitch from the chunk's begin to the frame ``start``, modulo 1, float64 []
    start: int  # the first frame whose samples are new
    end: int  # the frame after the last

    @property
    def is_empty(self) -> bool:
        """Whether no samples are new."""
        return self.start == self.end


class ChunkStream:
    """The state of a chunk that is rendered in pieces. For use by the device's owner.

    Tensors are replaced, never changed: ``copy.copy`` keeps a state.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        """Draws the phases. seed: of the noise."""
        phases = draw_phases(torch.Generator("cpu").manual_seed(_derived_seed(seed, "phases")))
        self.phases = upload(phases, device)  # float32 [1, 9, 1]
        self._flow_noise = _NoiseByFrame(seed, "flow", MEL_CHANNELS, device)
        self._source_noise = _NoiseByFrame(seed, "source", HARMONICS * SAMPLES_A_FRAME, device)
        self._mel = torch.zeros(0, MEL_CHANNELS, device=device)
        self._frames = 0  # whose samples were returned
        self._cycles = torch.zeros((), dtype=torch.float64, device=device)  # before the frame ``_frames``

    def flow_noise(self, frames: int) -> Tensor:
        """Returns the flow's noise, float32 [1, 80, frames], those of the prompt first."""
        return self._flow_noise.between(0, frames).T[None]

    def window(self, mel: Tensor, *, is_last: bool) -> Window:
        """Returns what the vocoder renders next.

        mel: float32 [T, 80], of all tokens so far. is_last: whether they are all tokens of the chunk.
        """
        mel = self._blend(mel if is_last else mel[: len(mel) - MEL_FRAMES_PER_TOKEN * LOOK_AHEAD])
        end = max(len(mel) - (0 if is_last else FRAMES_HELD_BACK), self._frames)
        start = max(self._frames - CONTEXT_FRAMES, 0)
        noise = self._source_noise.between(start, len(mel))
        return Window(
            mel[start:],
            noise.view(-1, HARMONICS).T,
            self._cycles,
            self._frames - start,
            end - start,
        )

    def advance(self, window: Window, samples: Tensor, cycles: Tensor) -> Tensor:
        """Notes that a window was rendered. Returns its new samples, float32 [480 a frame].

        samples: float32 [480 T] of the window. cycles: before each of its frames and after the last.
        """
        before = self._mel[: self._frames - window.start]
        self._mel = torch.cat([before, window.mel])
        self._frames += window.end - window.start
        self._cycles = cycles[window.end]
        return samples[SAMPLES_A_FRAME * window.start : SAMPLES_A_FRAME * window.end]

    @property
    def is_at_start(self) -> bool:
        """Whether no samples were returned so far."""
        return self._frames == 0

    def _blend(self, mel: Tensor) -> Tensor:
        """Joins the mel that was rendered and the one that goes on, with a short transition."""
        earlier, done = self._mel, self._frames
        count = max(min(BLENDED_FRAMES, len(earlier) - done, len(mel) - done), 0)
        share = torch.arange(1, count + 1, device=mel.device)[:, None] / (count + 1)
        transition = torch.lerp(earlier[done : done + count], mel[done : done + count], share)
        return torch.cat([earlier[:done], transition, mel[done + count :]])


class _NoiseByFrame:
    """Normally distributed noise of which a frame has the same whenever it is asked for."""

    def __init__(self, seed: int, purpose: str, width: int, device: torch.device) -> None:
        self._seed, self._purpose, self._width, self._device = seed, purpose, width, device

    def between(self, start: int, end: int) -> Tensor:
        """Returns the noise of frames start to end - 1, float32 [end - start, width]."""
        first = start // NOISE_BLOCK
        blocks = [self._block(number) for number in range(first, max(end - 1, start) // NOISE_BLOCK + 1)]
        return torch.cat(blocks)[start - first * NOISE_BLOCK : end - first * NOISE_BLOCK]

    def _block(self, number: int) -> Tensor:
        seed = _derived_seed(self._seed, f"{self._purpose} {number}")
        generator = torch.Generator(self._device).manual_seed(seed)
        return torch.randn(NOISE_BLOCK, self._width, generator=generator, device=self._device)


def _derived_seed(seed: int, purpose: str) -> int:
    """Returns a seed that no draw of T3 has, 0 to 2**63 - 1."""
    digest = hashlib.blake2b(f"{seed} {purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def piece_end(index: int, *, is_first_chunk: bool) -> int:
    """Returns after how many speech tokens a piece of a chunk ends, unless it is the last. index: from 0."""
    tokens = FIRST_CHUNK_PIECES if is_first_chunk else LATER_CHUNK_PIECES
    return sum(tokens[: index + 1]) + tokens[-1] * max(index + 1 - len(tokens), 0)
