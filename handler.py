"""The worker's entry point: builds the services once and hands jobs to them.

``python handler.py`` starts the RunPod SDK, which runs test_input.json when no platform is there, or, with
ENDPOINT_MODE=http, the HTTP server.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import signal
import sys
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import logs
from audio.fetch import Fetcher
from audio.network import HostPolicy
from delivery import Bucket, Delivery, Spill, spill_folder
from errors import WorkerError
from operations import warm_up as warm_up_operations
from operations.base import Services
from operations.chosen_model import check_default_language
from operations.conditionals import VoiceConditionals
from serving.envelope import LimitsOf, error_sentence, parse_job, start_failure
from serving.health import HealthCheckedEngine, WorkerHealth
from serving.job_worker import JobWorker
from serving.runpod.fitness import fitness_checks
from serving.runpod.limits import queue_limits
from serving.runpod.sdk import import_sdk
from serving.shutdown import exit_process
from settings import VOLUME, Settings, SettingsError
from speech.contract import Models
from version import VERSION, WORKER
from voice_store import Mount, Timing, VoiceStore

SMALL_MODEL = Path(__file__).with_name("samples") / "small"
LOCAL_JOB = Path("test_input.json")  # in the working directory, as the SDK looks for it

log = logging.getLogger(__name__)


@functools.cache
def warm_settings() -> Settings:
    """Returns the settings, read at the first call. Raises SettingsError."""
    return Settings.take_from_env()


def build_services(settings: Settings, health: WorkerHealth) -> Services:
    """Loads the model and builds what operations work with. Raises WorkerError."""
    from speech.pipeline import load_synthesizers  # torch takes seconds to import: tools do without

    synthesizers = load_synthesizers(
        settings.models,
        device=settings.device,
        precision=settings.precision,
        upstream=settings.engine == "upstream",
        max_concurrency=settings.max_concurrency,
        hf_token=settings.hf_token,
        hub_caches=settings.hub_caches,
        # On the platform missing weights are an error.
        last_resort=None if settings.on_platform else SMALL_MODEL,
    )
    models = Models([HealthCheckedEngine(each, health) for each in synthesizers])
    check_default_language(settings.default_language, models)
    warm_up_operations(settings.default_language or models.first.info.default_language)
    return Services(
        models=models,
        conditionals=VoiceConditionals(),
        voices=VoiceStore(settings.voice_store_dir, Timing(in_background=True), _mount(settings)),
        fetch=Fetcher(allow_private=settings.allow_private_urls).fetch,
        max_text_chars=settings.max_text_chars,
        require_consent=settings.require_consent,
        default_language=settings.default_language,
        store_is_shared=outlives_worker(settings),
    )


def build_delivery(settings: Settings) -> Delivery:
    """Builds what brings audio to callers."""
    spill = Spill(
        spill_folder(settings.voice_store_dir, VOLUME),
        _mount(settings),
        audio_retention_h=settings.audio_retention_h,
    )
    # The operator's bucket may be in a network of their own.
    own_hosts = HostPolicy(allow_private=True)
    return Delivery(
        spill if outlives_worker(settings) else None,
        Bucket(settings.bucket, own_hosts) if settings.bucket is not None else None,
        HostPolicy(allow_private=settings.allow_private_urls),
    )


def outlives_worker(settings: Settings) -> bool:
    """Whether files beside the voice store are there for other workers, too.

    On the platform only the network volume is: the rest of the file system ends with the worker.
    """
    return not settings.on_platform or _is_on_volume(settings)


def _is_on_volume(settings: Settings) -> bool:
    # Resolved: neither a link nor ".." in the path decides.
    return settings.voice_store_dir.resolve().is_relative_to(VOLUME.resolve()) and VOLUME.is_mount()


def _mount(settings: Settings) -> Mount | None:
    return Mount(VOLUME) if _is_on_volume(settings) else None


@functools.cache
def warm_worker() -> JobWorker:
    """Returns the worker. Its services are built by its first job, or before."""
    settings, health = warm_settings(), WorkerHealth()
    return JobWorker(
        settings,
        lambda: build_services(settings, health),
        build_delivery(settings),
        health,
        _limits(settings) if settings.on_platform else None,
    )


def _limits(settings: Settings) -> LimitsOf:
    if settings.endpoint_mode != "http":
        return queue_limits
    from serving.http.app import http_limits

    return http_limits


async def handler(event: object) -> dict[str, Any]:
    """Returns the reply to one job. See ``JobWorker.handle``."""
    return await warm_worker().handle(event)


async def streaming_handler(event: object) -> AsyncGenerator[dict[str, Any]]:
    """Yields the pieces of the reply to one job. See ``JobWorker.stream``."""
    # Closed with this generator: an abandoned one would be closed only when it is collected.
    async with contextlib.aclosing(warm_worker().stream(event)) as pieces:
        async for piece in pieces:
            yield piece


def main() -> None:
    """Warms up, then hands over to the SDK. A start that fails says why in one line and exits 1."""
    options = _parse_arguments()
    try:
        settings = warm_settings()
    except SettingsError as error:
        sys.exit(f"cannot start: {error}")
    is_http = settings.endpoint_mode == "http"
    if not settings.on_platform and not options.rp_serve_api and not is_http:
        _check_local_job(options.test_input)
    # PID 1 has no default SIGTERM action. No job has been taken yet, so exiting is safe.
    exit_code = 0 if settings.on_platform else 128 + signal.SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: exit_process(exit_code))
    logs.configure(settings.log_level)
    log.info("starting %s with %s", WORKER, settings)
    worker = warm_worker()
    worker.delivery.start_sweeping()
    loading = worker.runner.submit(worker.services)
    if is_http:
        from serving.http.server import serve

        exit_process(serve(settings, worker, loading))
    runpod = import_sdk()  # beside the loading
    logs.configure(settings.log_level)  # the import has installed a log handler of its own
    sdk_logger = runpod.RunPodLogger()
    if sdk_logger.level in ("TRACE", "DEBUG"):  # its default, at which it prints every reply
        sdk_logger.set_level("INFO")
    if settings.on_platform:
        _serve(settings, worker, loading)
    else:
        _run_locally(worker, loading)


def _parse_arguments() -> argparse.Namespace:
    """Reads what decides what is started. The SDK reads the same arguments again, and a few more."""
    parser = argparse.ArgumentParser(
        prog="handler.py",
        description="Serves jobs of the platform; without one, runs the job of test_input.json and exits.",
        epilog="Other options are the RunPod SDK's: --rp_log_level, --rp_debugger, --rp_api_concurrency.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--test_input", metavar="JSON", help="the job to run instead of test_input.json's")
    parser.add_argument("--rp_serve_api", action="store_true", help="serve an HTTP API on this machine")
    parser.add_argument("--rp_api_host", metavar="HOST", help="of that API, default localhost")
    parser.add_argument("--rp_api_port", metavar="PORT", type=int, help="of that API, default 8000")
    return parser.parse_known_args()[0]


def _check_local_job(test_input: str | None) -> None:
    """Exits with 1 and a sentence when the local job cannot be run: nobody should wait for a model then."""
    name = "--test_input" if test_input is not None else LOCAL_JOB.name
    try:
        job = json.loads(LOCAL_JOB.read_text("utf-8") if test_input is None else test_input)
        parse_job(job, "")
    except FileNotFoundError:
        sys.exit(f"{name} is not in this folder: make it, or send a job with --test_input")
    except (OSError, ValueError, RecursionError) as error:
        sys.exit(f"{name} cannot be read as JSON: {error}")
    except WorkerError as error:
        sys.exit(f"{name}: {error_sentence(error)}")


def _run_locally(worker: JobWorker, loading: Future[Services]) -> None:
    """The SDK does the one job of test_input.json, or serves an API on this machine."""
    import runpod

    try:
        worker.runner.submit(loading.result().models.check).result()
    except WorkerError as error:
        sys.exit(start_failure(error))
    runpod.serverless.start({"handler": handler})


def _serve(settings: Settings, worker: JobWorker, loading: Future[Services]) -> None:
    import runpod
    from runpod.serverless.modules import rp_scale

    from serving.runpod.scaler import Scaler

    if not outlives_worker(settings):
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
    worker.health.on_unhealthy(lambda: config.update(refresh_worker=True))
    worker.report_progress = runpod.serverless.progress_update
    rp_scale.JobScaler = functools.partial(Scaler, worker, settings.shutdown_grace_s)
    try:
        runpod.serverless.start(config)
    except Exception:
        log.exception("the loop that takes jobs has ended")
        exit_process(1)
    exit_process(1 if worker.health.is_unhealthy else 0)


if __name__ == "__main__":
    main()
