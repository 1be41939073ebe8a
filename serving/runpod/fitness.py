"""What must hold before the first job is taken.

The SDK runs the checks, tells the platform which one failed, and ends the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from errors import WorkerError
from operations.base import Services
from serving.envelope import start_failure
from serving.job_worker import JobWorker
from settings import Settings


def fitness_checks(
    settings: Settings, worker: JobWorker, loading: Future[Services], volume: Path
) -> list[Callable[[], None]]:
    """Returns the checks. Each raises when it fails; its name is what the platform is told.

    loading: of the weights, begun already. volume: where the platform mounts one.
    """

    def network_volume() -> None:
        if settings.voice_store_dir.resolve().is_relative_to(volume.resolve()) and not volume.is_mount():
            raise RuntimeError(
                f"VOICE_STORE_DIR is {settings.voice_store_dir}, and no volume is mounted at {volume}: "
                "attach one to the endpoint, or unset VOICE_STORE_DIR"
            )

    def model_weights() -> None:
        try:
            loading.result()
        except WorkerError as error:
            raise RuntimeError(start_failure(error)) from error

    def spoken_word() -> None:
        services = loading.result()
        try:
            worker.runner.submit(services.models.check).result()
        except WorkerError as error:
            raise RuntimeError(start_failure(error)) from error

    return [network_volume, model_weights, spoken_word]
