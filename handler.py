"""The worker's entry point: builds the services once and hands jobs to them.

``python handler.py`` starts the RunPod SDK, which runs test_input.json when no platform is there.
"""

from __future__ import annotations

import functools
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import logs
from audio.fetch import Fetcher
from audio.network import HostPolicy
from delivery import Bucket, Deliverer, Spill, spill_folder
from errors import WorkerError
from operations import warm_up as warm_up_operations
from operations.base import Services
from serving.fitness import fitness_checks
from serving.leaving import leave
from serving.worker import Worker
from settings import VOLUME, Settings, SettingsError
from voice_store import Mount, VoiceStore

QUIET_S = 2.0  # a worker is mostly started for a job that waits: that one comes sooner

log = logging.getLogger(__name__)


@functools.cache
def warm_settings() -> Settings:
    """Read at the first call. Raises SettingsError."""
    return Settings.take_from_env()


def build_services() -> Services:
    """With the model loaded. Raises WorkerError, SettingsError."""
    from speech.engine import load_engine  # torch takes seconds to import: tools do without

    settings = warm_settings()
    engine = load_engine(
        model=settings.model,
        checkpoint_dir=settings.checkpoint_dir,
        device=settings.device,
        precision=settings.precision,
        upstream=settings.engine == "upstream",
        max_concurrency=settings.max_concurrency,
        revision=settings.model_revision,
        hf_token=settings.hf_token,
        hub_caches=settings.hub_caches,
    )
    warm_up_operations()
    store_dir = settings.voice_store_dir
    is_on_volume = store_dir.is_relative_to(VOLUME) and VOLUME.is_mount()
    mount = Mount(VOLUME) if is_on_volume else None
    fetcher = Fetcher(allow_private=settings.allow_private_urls)
    return Services(
        speaker=engine,
        voices=VoiceStore(store_dir, mount=mount),
        delivery=Deliverer(
            Spill(spill_folder(store_dir, VOLUME), mount),
            # The operator's bucket may be in a network of their own.
            Bucket(settings.bucket, HostPolicy(allow_private=True)) if settings.bucket is not None else None,
            fetcher.hosts,
        ),
        max_text_chars=settings.max_text_chars,
        fetch=fetcher.fetch,
    )


@functools.cache
def warm_worker() -> Worker:
    """Its services are built by its first job, or before."""
    return Worker(warm_settings(), build_services)


async def handler(event: object) -> dict[str, Any]:
    """The reply to one job. See ``Worker.handle``."""
    return await warm_worker().handle(event)


async def streaming_handler(event: object) -> AsyncIterator[dict[str, Any]]:
    """The pieces of the reply to one job. See ``Worker.stream``."""
    async for piece in warm_worker().stream(event):
        yield piece


def main() -> None:
    """Warms up, then hands over to the SDK. A start that fails says why in one line and exits 1."""
    try:
        settings = warm_settings()
    except SettingsError as error:
        sys.exit(f"cannot start: {error}")
    # The first process of a container has no default for it. On the platform nothing is taken yet.
    exit_code = 0 if settings.on_platform else 128 + signal.SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: leave(exit_code))
    logs.configure(settings.log_level)
    log.info("starting with %s", settings)
    worker = warm_worker()
    loading = worker.submit(worker.services)
    import runpod  # beside the loading: it waits for a process that asks about the CPU

    logs.configure(settings.log_level)  # the import has installed a log handler of its own
    sdk_logger = runpod.RunPodLogger()
    if sdk_logger.level in ("TRACE", "DEBUG"):  # its default, at which it prints every reply
        sdk_logger.set_level("INFO")
    if settings.on_platform:
        _serve(settings, worker, loading)
    else:
        _run_locally(worker, loading)


def _run_locally(worker: Worker, loading: Future[Services]) -> None:
    """The SDK does the one job of test_input.json, or serves an API on this machine."""
    import runpod

    try:
        worker.submit(loading.result().speaker.check).result()
    except WorkerError as error:
        sys.exit(f"cannot start: {error.reply()['error']}")
    runpod.serverless.start({"handler": handler})


def _serve(settings: Settings, worker: Worker, loading: Future[Services]) -> None:
    import runpod
    from runpod.serverless.modules import rp_scale

    from serving.scaler import Scaler

    if not settings.voice_store_dir.is_relative_to(VOLUME):
        log.warning("no network volume is mounted: cloned voices end with this worker, and no other has them")
    for check in fitness_checks(settings, worker, loading, VOLUME):
        runpod.serverless.register_fitness_check(check)
    concurrency = settings.max_concurrency
    config: dict[str, Any] = {
        "handler": streaming_handler if settings.endpoint_mode == "streaming" else handler,
        "return_aggregate_stream": True,  # who waits for a streaming endpoint's result gets all pieces
        "concurrency_modifier": lambda _current: concurrency,
    }
    # The SDK tells the platform to replace the worker when it answers the job that is running.
    worker.condition.when_condemned(lambda: config.update(refresh_worker=True))
    worker.report = runpod.serverless.progress_update
    threading.Thread(target=_prepare, args=(worker, loading), name="prepare", daemon=True).start()
    rp_scale.JobScaler = functools.partial(Scaler, worker, settings.shutdown_grace_s)
    try:
        runpod.serverless.start(config)
    except Exception:
        log.exception("the loop that takes jobs has ended")
        leave(1)
    leave(1 if worker.condition.is_condemned else 0)


def _prepare(worker: Worker, loading: Future[Services]) -> None:
    """Jobs in known voices wait neither for what new voices take, nor beside its loading."""
    speaker = loading.result().speaker
    worker.activity.wait_for_quiet(QUIET_S)
    speaker.prepare_for_new_voices()


if __name__ == "__main__":
    main()
