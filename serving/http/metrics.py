"""What an operator watches, in Prometheus' text format."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from errors import WorkerError
from operations.base import Services

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_AUDIO_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 40)
TOTAL_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
REAL_TIME_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4)


log = logging.getLogger(__name__)


class Metrics:
    """Counts and times of this process's jobs."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time and open files of this process
        self.jobs = Counter(
            "voice_worker_jobs", "Jobs that ended.", ("operation", "outcome"), registry=registry
        )
        self._refused = Counter(
            "voice_worker_refused",
            "Requests of which no job was made.",
            ("code",),
            registry=registry,
        )
        self.first_audio = Histogram(
            "voice_worker_first_audio_seconds",
            "From a request to its first audio.",
            buckets=FIRST_AUDIO_S,
            registry=registry,
        )
        self.total = Histogram(
            "voice_worker_job_seconds",
            "From a request to the end of its reply.",
            ("operation",),
            buckets=TOTAL_S,
            registry=registry,
        )
        self.audio_s = Counter("voice_worker_audio_seconds", "Seconds of audio made.", registry=registry)
        self.real_time_factor = Histogram(
            "voice_worker_real_time_factor",
            "Seconds of work on a job for a second of its audio, waiting for places and readers excluded.",
            buckets=REAL_TIME_FACTORS,
            registry=registry,
        )

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Adds a figure that is asked for whenever the metrics are. It is NaN while it cannot be had."""
        Gauge(f"voice_worker_{name}", help, registry=self._registry).set_function(lambda: _or_nan(value))

    def watch(self, services: Services) -> None:
        """Adds what the model and the store say of themselves, once they are there."""
        synthesizer, voices = services.models.first, services.voices
        self.gauge(
            "batch_rows_in_use",
            "Rows of the decoder's batch that are taken; a chunk of text takes two, or one without guidance.",
            lambda: synthesizer.usage.rows_in_use,
        )
        self.gauge("batch_rows", "Rows of the decoder's batch.", lambda: synthesizer.usage.rows)
        self.gauge("stored_voices", "Voices in the store.", lambda: voices.stats()["total_voices"])
        usage = synthesizer.usage
        if usage.memory_bytes is not None:
            total_bytes = usage.memory_total_bytes or 0
            self.gauge(
                "device_memory_bytes",
                "Memory of the GPU that the worker has taken.",
                lambda: synthesizer.usage.memory_bytes or 0,
            )
            self.gauge("device_memory_total_bytes", "Memory of the GPU.", lambda: total_bytes)

    def ended(
        self, operation: str, outcome: str, took_s: float, reply: Mapping[str, Any] | None = None
    ) -> None:
        """Counts a job. outcome: "ok" or an error's code. reply: its receipt, if there is one."""
        self.jobs.labels(operation, outcome).inc()
        self.total.labels(operation).observe(took_s)
        audio_s, stages_s = _audio_and_work(reply or {})
        if audio_s > 0:
            self.audio_s.inc(audio_s)
            self.real_time_factor.observe(stages_s / audio_s)

    def refused(self, code: str) -> None:
        """Counts a request that never became a job. code: the error's."""
        self._refused.labels(code).inc()

    def render(self) -> bytes:
        """Returns all of it as text."""
        return generate_latest(self._registry)


def _audio_and_work(reply: Mapping[str, Any]) -> tuple[float, float]:
    """Returns the seconds of a job's audio, and of the stages in which they were made."""
    stages_s = reply.get("metrics", {}).get("stages", {})
    return reply.get("duration", 0.0), sum(stages_s.values())


def _or_nan(value: Callable[[], float]) -> float:
    try:
        return value()
    except WorkerError as error:
        log.warning("a figure cannot be had for /metrics: %s", error)
        return math.nan
