"""A chunk in pieces: nothing of it is lost, and samples have no seam between them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX, MEANFLOW, MEL_CHANNELS, FlowSpec
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import Draws, PieceRequest, Renderer, RenderRequest, S3Gen, window_batch
from speech.s3gen.stream import FRAMES_HELD_BACK, NOISE_BLOCK, ChunkStream, piece_end
from speech.s3gen.vocoder import HARMONICS, SAMPLES_A_FRAME, draw_phases, vocode, vocode_windows
from speech.s3gen.weights import WeightsView
from tests.speech.s3gen.packing import make_requests, random_weights

CPU = torch.device("cpu")
LOOK_AHEAD_FRAMES = 6
ENDS = (15, 40, 61)
CASES = [(11, 1, 61), (20, 0, 61)]  # with an odd and with an even number of prompt frames


@pytest.fixture(scope="module")
def weights() -> WeightsView:
    return random_weights(TINY, CPU)


@pytest.fixture(scope="module", params=[CHATTERBOX.flow, MEANFLOW], ids=["standard", "meanflow"])
def flow(request) -> FlowSpec:
    return request.param


@pytest.fixture(scope="module")
def plain(weights, flow) -> S3Gen:
    return S3Gen(weights, flow)


@pytest.fixture(scope="module")
def packed(weights, flow) -> PackedS3Gen:
    return PackedS3Gen(weights, flow, torch.float32, graphs=False)


def pieces_of(request: RenderRequest, stream: ChunkStream, ends: Sequence[int]) -> list[PieceRequest]:
    last = len(request.tokens)
    return [PieceRequest(request.tokens[:end], request.voice, stream, end == last) for end in ends]


def render(renderer: Renderer, request: RenderRequest, ends: Sequence[int], seed: int = 0) -> list[Tensor]:
    return [renderer.render([piece])[0] for piece in pieces_of(request, ChunkStream(seed, CPU), ends)]


@torch.inference_mode()
def vocode_in_pieces(weights: WeightsView, mel: Tensor, ends: Sequence[int], seed: int = 0) -> Tensor:
    """The samples of a mel of which each piece knows the frames up to its end and six more."""
    stream, samples = ChunkStream(seed, CPU), []
    for end in ends:
        is_last = end == len(mel)
        window = stream.window(mel[: end + (0 if is_last else LOOK_AHEAD_FRAMES)], is_last=is_last)
        rendered, cycles = vocode_windows(
            weights / "mel2wav", *window_batch([window], [stream], len(window.mel))
        )
        samples.append(stream.advance(window, rendered[0], cycles[0]))
    return torch.cat(samples)


@pytest.fixture(scope="module")
def mel() -> Tensor:
    """200 frames, four seconds."""
    return torch.randn(200, MEL_CHANNELS, generator=torch.Generator().manual_seed(3)) - 5.0


@pytest.mark.parametrize("ends", [(200,), (24, 200), (30, 31, 60, 110, 190, 195, 200), range(20, 201, 20)])
def test_the_vocoder_joins_pieces_without_a_seam(weights, mel, ends):
    whole = vocode_in_pieces(weights, mel, (200,))
    joined = vocode_in_pieces(weights, mel, ends)
    assert whole.abs().max() > 0.01
    torch.testing.assert_close(joined, whole, rtol=0, atol=2e-5)


@torch.inference_mode()
def test_a_window_that_is_the_whole_mel_sounds_as_the_mel(weights, mel):
    hift, draw = weights / "mel2wav", torch.Generator().manual_seed(1)
    phases, noise = draw_phases(draw), torch.randn(1, HARMONICS, SAMPLES_A_FRAME * 200, generator=draw)
    found, cycles = vocode_windows(
        hift, mel.T[None], torch.tensor([200]), phases, noise, torch.tensor([0]), torch.zeros(1).double()
    )
    # Upstream adds up the phase of each harmonic in float32.
    torch.testing.assert_close(found[0], vocode(hift, mel.T[None], phases, noise), rtol=0, atol=1e-4)
    assert cycles.shape == (1, 201)


@pytest.mark.parametrize("case", CASES, ids=["odd prompt", "even prompt"])
def test_pieces_have_as_many_samples_as_the_whole(plain, case):
    (request,) = make_requests([case], CPU)
    (whole,) = plain.render([request])
    pieces = render(plain, request, ENDS)
    assert sum(map(len, pieces)) == len(whole)
    odd = case[1]
    for piece, (start, end) in zip(pieces[1:-1], pairwise(ENDS[:-1]), strict=True):
        assert len(piece) == SAMPLES_A_FRAME * 2 * (end - start)
    assert len(pieces[0]) == SAMPLES_A_FRAME * (2 * ENDS[0] - odd - LOOK_AHEAD_FRAMES - FRAMES_HELD_BACK)


class Replayed(ChunkStream):
    """A stream with the draws of a whole chunk."""

    def __init__(self, draws: Draws) -> None:
        super().__init__(0, CPU)
        self.phases = draws.phases
        self._flow_noise = Fixed(draws.noise[0].T)
        self._source_noise = Fixed(draws.source_noise[0].T.reshape(-1, HARMONICS * SAMPLES_A_FRAME))


class Fixed:
    def __init__(self, noise: Tensor) -> None:
        self._noise = noise

    def between(self, start: int, end: int) -> Tensor:
        return self._noise[start:end]


@pytest.mark.parametrize("case", CASES, ids=["odd prompt", "even prompt"])
def test_a_chunk_in_one_piece_is_the_whole_but_for_its_draws(plain, flow, case):
    (request,), (again,) = make_requests([case], CPU), make_requests([case], CPU)
    (expected,) = plain.render([request])
    (found,) = plain.render(pieces_of(request, Replayed(Draws.of(again, flow)), [61]))
    # Upstream adds up the phase of each harmonic in float32.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=["odd prompt", "even prompt"])
def test_pieces_and_chunks_are_rendered_together(plain, packed, case):
    first, second, whole = make_requests([case, (7, 1, 40), (9, 0, 33)], CPU)
    alone = render(plain, first, ENDS, seed=1)
    other = render(plain, second, (15, 40), seed=2)
    (chunk,) = plain.render([whole])
    streams = ChunkStream(1, CPU), ChunkStream(2, CPU)
    *_, again = make_requests([case, (7, 1, 40), (9, 0, 33)], CPU)
    pieces = pieces_of(first, streams[0], ENDS), pieces_of(second, streams[1], (15, 40))
    found = [
        *packed.render([pieces[0][0], again, pieces[1][0]]),
        *packed.render([pieces[1][1], pieces[0][1]]),
        *packed.render([pieces[0][2]]),
    ]
    expected = [alone[0], chunk, other[0], other[1], alone[1], alone[2]]
    for one, another in zip(found, expected, strict=True):
        torch.testing.assert_close(one, another, rtol=0, atol=1e-5)


def test_a_piece_without_a_new_frame_has_no_samples(plain, packed):
    """Two tokens are less than what is looked ahead."""
    (request,) = make_requests([CASES[0]], CPU)
    for renderer in (plain, packed):
        first, rest = render(renderer, request, (2, 61))
        assert len(first) == 0
        assert len(rest) == SAMPLES_A_FRAME * (2 * 61 - 1)


def test_what_failed_half_way_can_be_rendered_again(plain):
    """A copy of the state is as it was, whatever is rendered with the original."""
    (request,) = make_requests([CASES[0]], CPU)
    stream = ChunkStream(0, CPU)
    plain.render(pieces_of(request, stream, ENDS)[:1])
    kept = copy(stream)
    (first,) = plain.render(pieces_of(request, stream, ENDS)[1:2])
    (again,) = plain.render(pieces_of(request, kept, ENDS)[1:2])
    assert torch.equal(first, again)


def test_a_frame_has_the_same_noise_in_every_piece():
    stream = ChunkStream(0, CPU)
    first = stream.flow_noise(NOISE_BLOCK - 1)
    assert torch.equal(stream.flow_noise(3 * NOISE_BLOCK + 1)[:, :, : NOISE_BLOCK - 1], first)
    at_once = ChunkStream(0, CPU).flow_noise(3 * NOISE_BLOCK + 1)
    assert torch.equal(stream.flow_noise(3 * NOISE_BLOCK + 1), at_once)
    assert torch.equal(stream._flow_noise.between(70, 130), at_once[0, :, 70:130].T)
    assert not torch.equal(ChunkStream(1, CPU).flow_noise(5), first[:, :, :5])
    assert abs(float(at_once.std()) - 1) < 0.05


def test_the_first_chunk_begins_with_less_than_later_ones():
    assert [piece_end(index, is_first_chunk=True) for index in range(6)] == [15, 40, 90, 190, 290, 390]
    assert [piece_end(index, is_first_chunk=False) for index in range(4)] == [50, 150, 250, 350]
