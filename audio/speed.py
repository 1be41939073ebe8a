"""Changes of the speed of speech that keep its pitch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.filter.context import FilterContext

SLOWEST, FASTEST = 0.25, 4.0
# Beyond these FFmpeg's filter repeats or leaves out whole windows: several in a row do smaller steps.
_SMALLEST_STEP, _LARGEST_STEP = 0.5, 2.0
_PUSHED_SAMPLES = 4_096

_NO_SAMPLES: NDArray[np.float32] = np.zeros(0, np.float32)


class SpeedChanger:
    """Changes the speed of one stretch of speech, by FFmpeg's ``atempo`` (WSOLA).

    The results of ``add`` and ``finish``, put end to end, have the length of the input divided by the speed,
    rounded, and are the same however the samples are divided among the calls. docs/log.md compares this with
    other methods.
    """

    def __init__(self, speed: float, sample_rate_hz: int) -> None:
        """speed: ``SLOWEST`` to ``FASTEST``; 2 is twice as fast."""
        import av.filter  # for those alone who ask for it

        assert SLOWEST <= speed <= FASTEST, speed
        self._speed, self._sample_rate_hz = speed, sample_rate_hz
        self._read = self._written = 0
        self._waiting = _NO_SAMPLES  # short of what is pushed at a time
        self._make_frame = av.AudioFrame.from_ndarray
        self._nothing_ready = (av.BlockingIOError, av.EOFError)
        self._graph = av.filter.Graph()
        source: FilterContext = self._graph.add_abuffer(
            sample_rate=sample_rate_hz, format="fltp", layout="mono"
        )
        for step in _steps(speed):
            tempo = self._graph.add("atempo", f"{step:.9f}")
            source.link_to(tempo)
            source = tempo
        source.link_to(self._graph.add("abuffersink"))
        self._graph.configure()

    def add(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes float32 [n]; returns what is ready, float32 [m], which may be nothing."""
        waiting = np.concatenate([self._waiting, samples])
        # In blocks of one size: what the filter gives depends on how it is fed.
        ready = len(waiting) // _PUSHED_SAMPLES * _PUSHED_SAMPLES
        self._waiting = waiting[ready:]
        parts = [self._push(waiting[at : at + _PUSHED_SAMPLES]) for at in range(0, ready, _PUSHED_SAMPLES)]
        return self._limited(np.concatenate([_NO_SAMPLES, *parts]), self._expected())

    def finish(self) -> NDArray[np.float32]:
        """Returns the rest; no call may follow."""
        parts = [self._push(self._waiting)] if len(self._waiting) else []
        if self._read:
            self._graph.push(None)
            parts.append(self._pull())
        length = self._expected()
        rest = self._limited(np.concatenate([_NO_SAMPLES, *parts]), length)
        return np.pad(rest, (0, length - self._written))

    def _expected(self) -> int:
        return round(self._read / self._speed)

    def _limited(self, samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
        """Returns no more than what makes so many samples in all."""
        kept = samples[: length - self._written]
        self._written += len(kept)
        return kept

    def _push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        frame = self._make_frame(np.ascontiguousarray(samples)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = self._sample_rate_hz, self._read
        self._read += len(samples)
        self._graph.push(frame)
        return self._pull()

    def _pull(self) -> NDArray[np.float32]:
        parts = [_NO_SAMPLES]
        while True:
            try:
                frame = self._graph.pull()
            except self._nothing_ready:
                return np.concatenate(parts)
            parts.append(frame.to_ndarray()[0])


def _steps(speed: float) -> list[float]:
    """Returns factors that make up a speed, each within what the filter does well."""
    count = 1
    while not _SMALLEST_STEP <= speed ** (1 / count) <= _LARGEST_STEP:
        count += 1
    return [speed ** (1 / count)] * count
