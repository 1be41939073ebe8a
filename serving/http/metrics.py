"""What an operator watches, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_AUDIO_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 40)
TOTAL_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
REAL_TIME_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4)


class Metrics:
    """Counts and times of this process's jobs."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.jobs = Counter(
            "voice_worker_jobs", "Jobs that ended.", ("operation", "outcome"), registry=registry
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
            "Seconds that a job took for a second of its audio.",
            buckets=REAL_TIME_FACTORS,
            registry=registry,
        )

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Adds a figure that is asked for whenever the metrics are."""
        Gauge(f"voice_worker_{name}", help, registry=self._registry).set_function(value)

    def ended(self, operation: str, outcome: str, took_s: float, audio_s: float) -> None:
        """Counts a job. outcome: "ok" or an error's code. audio_s: seconds of audio that were made."""
        self.jobs.labels(operation, outcome).inc()
        self.total.labels(operation).observe(took_s)
        if audio_s > 0:
            self.audio_s.inc(audio_s)
            self.real_time_factor.observe(took_s / audio_s)

    def render(self) -> bytes:
        """Returns all of it as text."""
        return generate_latest(self._registry)
