"""Finding weights: a named folder, the caches, the hub."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils.tqdm import disable_progress_bars

from errors import ModelUnavailable
from speech.models.spec import ModelSpec

log = logging.getLogger(__name__)

HOW_TO_GET_WEIGHTS = (
    "set CHECKPOINT_DIR to a folder with the weights, let the worker reach the Hugging Face hub, or choose "
    "the model in the endpoint's model cache"
)


class _HubUnreachable(ModelUnavailable):
    """There are no weights here, and the hub gave no answer."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder with all weights of a model."""

    folder: Path
    revision: str | None  # the hub's commit, 40 hex digits; None when only the content can tell
    may_be_unpublished: bool = False  # named by CHECKPOINT_DIR, or the last resort

    def file(self, name: str) -> Path:
        """Returns where a file of the model is, whether it is there or not."""
        return self.folder / name


def find_checkpoint(
    spec: ModelSpec,
    *,
    checkpoint_dir: Path | None = None,
    hub_caches: tuple[Path, ...] = (),
    revision: str = "main",
    token: str | None = None,
    last_resort: Path | None = None,
) -> Checkpoint:
    """Returns the first complete checkpoint.

    In this order: ``checkpoint_dir``, ``hub_caches`` in turn, the user's hub cache, a download,
    ``last_resort`` when the hub cannot be reached and ``revision`` is "main".

    hub_caches: folders laid out like ``~/.cache/huggingface/hub``. The hub is asked only when
    nothing local will do, so that a worker with weights starts while the hub is down.
    Raises ModelUnavailable, saying how to get weights.
    """
    if checkpoint_dir is not None:
        return _named_checkpoint(spec, checkpoint_dir)
    for cache in (*hub_caches, Path(constants.HF_HUB_CACHE)):
        snapshot = _cached_snapshot(spec, cache, revision)
        if snapshot is not None:
            log.info("weights: %s %s, cached", spec.repository, snapshot.name)
            return Checkpoint(snapshot, snapshot.name)
    try:
        return _download(spec, revision, token)
    except _HubUnreachable:
        # Who names a revision wants that one.
        if last_resort is None or _missing(spec, last_resort) or revision != "main":
            raise
        log.warning("weights: the hub cannot be reached; taking those in %s", last_resort)
        return Checkpoint(last_resort, None, may_be_unpublished=True)


def _missing(spec: ModelSpec, folder: Path) -> list[str]:
    return [name for name in spec.files.required if not (folder / name).is_file()]


def _named_checkpoint(spec: ModelSpec, folder: Path) -> Checkpoint:
    missing = _missing(spec, folder)
    if missing:
        log.error("CHECKPOINT_DIR %s lacks %s", folder, missing)
        raise ModelUnavailable(
            f"the folder that CHECKPOINT_DIR names lacks {', '.join(missing)}",
            hint=f"it must hold the files of {spec.repository}",
        )
    resolved = folder.resolve()
    is_snapshot = resolved.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", resolved.name)
    return Checkpoint(folder, resolved.name if is_snapshot else None, may_be_unpublished=True)


def _cached_snapshot(spec: ModelSpec, cache: Path, revision: str) -> Path | None:
    """Returns the complete snapshot of ``revision`` in a hub cache, if it is there."""
    repository = cache / f"models--{spec.repository.replace('/', '--')}"
    reference = repository / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = repository / "snapshots" / commit
    if not re.fullmatch(r"[0-9a-f]{40}", commit) or _missing(spec, snapshot):
        return None
    return snapshot


def _download(spec: ModelSpec, revision: str, token: str | None) -> Checkpoint:
    log.info("weights: downloading %s at %s", spec.repository, revision)
    if not sys.stderr.isatty():
        disable_progress_bars()  # a log is no place for them
    try:
        folder = Path(
            snapshot_download(
                spec.repository, revision=revision, allow_patterns=list(spec.files.all), token=token or None
            )
        )
    except (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        httpx.HTTPError,
        OSError,
        ValueError,
        RuntimeError,  # of hf_xet, which has no class of its own for most
    ) as error:
        log.error("weights: %s: %s", error.__class__.__name__, error)
        kind = _HubUnreachable if _gave_no_answer(error) else ModelUnavailable
        raise kind(
            f"no weights of {spec.repository} at revision {revision!r} were found, and the hub did not "
            f"give them ({error.__class__.__name__})",
            hint=HOW_TO_GET_WEIGHTS,
        ) from error
    missing = _missing(spec, folder)
    if missing:
        raise ModelUnavailable(
            f"revision {revision!r} of {spec.repository} lacks {', '.join(missing)}",
            hint="choose another MODEL_REVISION",
        )
    return Checkpoint(folder, folder.name)


def _gave_no_answer(error: Exception) -> bool:
    """Says whether the hub was silent or down. A refusal or a full disk is something else."""
    # The client wraps whatever went wrong, refusals included.
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
    if isinstance(cause, HfHubHTTPError):
        return cause.response.is_server_error
    return isinstance(cause, httpx.TransportError | OfflineModeIsEnabled | ConnectionError | TimeoutError)
