"""Where weights are looked for: a named folder, the caches, the hub."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from errors import ModelUnavailable
from speech.variants import Variant

log = logging.getLogger(__name__)

HOW_TO_GET_WEIGHTS = (
    "set CHECKPOINT_DIR to a folder with the weights, let the worker reach the Hugging Face hub, choose "
    "the model in the endpoint's model cache, or write a checkpoint for trying things out with "
    "`python -m speech.smoke DIR` and set CHECKPOINT_DIR to it"
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with all of a variant's weights.

    revision: the hub's commit, 40 hex digits; None when only the content can tell.
    chosen_by_name: whether CHECKPOINT_DIR named it.
    """

    folder: Path
    revision: str | None
    chosen_by_name: bool = False


def find_checkpoint(
    variant: Variant,
    *,
    checkpoint_dir: Path | None = None,
    hub_caches: tuple[Path, ...] = (),
    revision: str = "main",
    token: str | None = None,
) -> Checkpoint:
    """The first that is complete: ``checkpoint_dir``, ``hub_caches`` in turn, the user's hub
    cache, a download.

    hub_caches: folders laid out like ``~/.cache/huggingface/hub``. The hub is asked only when
    nothing local will do, so that a worker with weights starts while the hub is down.
    Raises ModelUnavailable, saying how to get weights.
    """
    if checkpoint_dir is not None:
        return _named_checkpoint(variant, checkpoint_dir)
    for cache in (*hub_caches, Path(constants.HF_HUB_CACHE)):
        snapshot = _cached_snapshot(variant, cache, revision)
        if snapshot is not None:
            log.info("weights: %s %s, cached", variant.repository, snapshot.name)
            return Checkpoint(snapshot, snapshot.name)
    return _download(variant, revision, token)


def _missing(variant: Variant, folder: Path) -> list[str]:
    return [name for name in variant.weights if not (folder / name).is_file()]


def _named_checkpoint(variant: Variant, folder: Path) -> Checkpoint:
    missing = _missing(variant, folder)
    if missing:
        log.error("CHECKPOINT_DIR %s lacks %s", folder, missing)
        raise ModelUnavailable(
            f"the folder that CHECKPOINT_DIR names lacks {', '.join(missing)}; it must hold the files of "
            f"{variant.repository}"
        )
    resolved = folder.resolve()
    is_snapshot = resolved.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", resolved.name)
    return Checkpoint(folder, resolved.name if is_snapshot else None, chosen_by_name=True)


def _cached_snapshot(variant: Variant, cache: Path, revision: str) -> Path | None:
    """The complete snapshot of ``revision`` in a hub cache, if it is there."""
    repository = cache / f"models--{variant.repository.replace('/', '--')}"
    reference = repository / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = repository / "snapshots" / commit
    if not re.fullmatch(r"[0-9a-f]{40}", commit) or _missing(variant, snapshot):
        return None
    return snapshot


def _download(variant: Variant, revision: str, token: str | None) -> Checkpoint:
    log.info("weights: downloading %s at %s", variant.repository, revision)
    if not sys.stderr.isatty():
        disable_progress_bars()  # a log is no place for them
    try:
        folder = Path(
            snapshot_download(
                variant.repository, revision=revision, allow_patterns=list(variant.files), token=token or None
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        log.error("weights: %s: %s", error.__class__.__name__, error)
        raise ModelUnavailable(
            f"no weights of {variant.repository} at revision {revision!r} were found, and the hub did not "
            f"give them ({error.__class__.__name__}); {HOW_TO_GET_WEIGHTS}"
        ) from error
    missing = _missing(variant, folder)
    if missing:
        raise ModelUnavailable(
            f"revision {revision!r} of {variant.repository} lacks {', '.join(missing)}; "
            "choose another MODEL_REVISION"
        )
    return Checkpoint(folder, folder.name)
