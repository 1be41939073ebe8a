"""Cuts a long recording of speech at its pauses. numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio.vad import HOP_S, SILENT_BELOW_DBFS, measure_levels
from audio.waveform import Waveform

GRID_S = 0.04  # pieces begin at multiples of a speech token's length: only the last token is filled up
SHORTEST_SHARE = 0.5  # of the longest piece
REST_SHARE = 0.1  # of the longest piece, at least, is left for the last one
PAUSE_FRAMES = 17  # of 32 ms, one each 10 ms: 192 ms; within words closures of plosives take up to 150 ms
QUIET_BELOW_SPEECH_DB = 20.0


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording. Pieces follow each other without a gap."""

    waveform: Waveform
    is_silent: bool  # no frame of it reaches -70 dBFS
    ends_in_pause: bool  # or where the recording ends


def cut_at_pauses(recording: Waveform, longest_s: float) -> list[Piece]:
    """Returns the recording in pieces of at most ``longest_s``, all but the last a multiple of 40 ms.

    A recording that is short enough is one piece. Any other is cut where it is the quietest for 0.2 s,
    between half of ``longest_s`` and all of it; of equally quiet places at the last.
    """
    step = round(GRID_S * recording.sample_rate_hz)
    longest = int(longest_s / GRID_S + 1e-6)  # in steps, as all numbers below
    count = len(recording.samples) / step
    start, cuts, in_pauses = 0, [], []
    while count - start > longest:
        first = start + int(SHORTEST_SHARE * longest)
        last = min(start + longest, int(count - REST_SHARE * longest))
        start, is_pause = quietest_place(recording, first, last, step)
        cuts.append(start * step)
        in_pauses.append(is_pause)
    waveforms = [Waveform(part, recording.sample_rate_hz) for part in np.split(recording.samples, cuts)]
    return [
        Piece(waveform, float(measure_levels(waveform)[0].max()) < SILENT_BELOW_DBFS, ends_in_pause)
        for waveform, ends_in_pause in zip(waveforms, [*in_pauses, True], strict=True)
    ]


def quietest_place(recording: Waveform, first: int, last: int, step: int) -> tuple[int, bool]:
    """Returns the best place for a cut, and whether it is a pause. first, last: in steps of 40 ms, as it."""
    part = Waveform(recording.samples[first * step : last * step], recording.sample_rate_hz)
    level_dbfs, loud_dbfs = measure_levels(part)
    around_dbfs = np.lib.stride_tricks.sliding_window_view(level_dbfs, PAUSE_FRAMES).max(axis=1)
    # The middle of each stretch, where that lies on the grid.
    frames_a_step = round(GRID_S / HOP_S)
    middle = (PAUSE_FRAMES + 2) // 2
    places = np.arange(-(-middle // frames_a_step), (len(around_dbfs) - 1 + middle) // frames_a_step + 1)
    levels_dbfs = around_dbfs[places * frames_a_step - middle]
    best = len(places) - 1 - int(np.argmin(levels_dbfs[::-1]))
    return first + int(places[best]), bool(levels_dbfs[best] <= loud_dbfs - QUIET_BELOW_SPEECH_DB)
