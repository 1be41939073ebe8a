"""What must hold before the first job is taken. The SDK runs the checks, tells the platform which one failed,
and ends the worker."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from errors import WorkerError
from operations.base import Services
from serving.worker import Worker
from settings import Settings


def fitness_checks(
    settings: Settings, worker: Worker, loading: Future[Services], volume: Path
) -> list[Callable[[], None]]:
    """Each raises when it fails; its name is what the platform is told.

    loading: of the weights, begun already. volume: where the platform mounts one.
    """

    def network_volume() -> None:
        if settings.voice_store_dir.is_relative_to(volume) and not volume.is_mount():
            raise RuntimeError(
                f"VOICE_STORE_DIR is {settings.voice_store_dir}, and no volume is mounted at {volume}: "
                "attach one to the endpoint, or unset VOICE_STORE_DIR"
            )

    def model_weights() -> None:
        try:
            loading.result()
        except WorkerError as error:
            raise RuntimeError(f"cannot start: {error.reply()['error']}") from error

    def spoken_word() -> None:
        services = loading.result()
        worker.submit(services.speaker.check).result()

    return [network_volume, model_weights, spoken_word]
