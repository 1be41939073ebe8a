"""Finding weights: named folders, the caches, the hub."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils.tqdm import disable_progress_bars

from errors import ModelUnavailable
from speech.models.sources import DEFAULT_REVISION
from speech.models.spec import MODELS, ModelSource, ModelSpec, WeightFiles
from speech.weights.checkpoint import Checkpoint, existing_file
from speech.weights.config import CONFIG_FILE, CONFIG_FORMAT, damaged_config, read_config_file

log = logging.getLogger(__name__)

HOW_TO_GET_WEIGHTS = (
    "set CHECKPOINT_DIR or MODEL_DIRS to a folder with the weights, let the worker reach the Hugging Face "
    "hub, or choose the model in the endpoint's model cache"
)
WHO_NAMES_FOLDERS = "CHECKPOINT_DIR or MODEL_DIRS"
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")


class _HubUnreachable(ModelUnavailable):
    """There are no weights here, and the hub gave no answer."""


def find_model(
    source: ModelSource,
    *,
    hub_caches: tuple[Path, ...] = (),
    token: str | None = None,
    last_resort: Path | None = None,
    others: Sequence[ModelSource] = (),
) -> tuple[ModelSpec, Checkpoint]:
    """Returns a model and its first complete checkpoint.

    In this order: the source's folder, ``hub_caches`` in turn, the user's hub cache, a download,
    ``last_resort`` when the hub cannot be reached and the source's revision is "main".

    A folder whose name is no published model's has a model that was made from one: which, its T3's file name
    says, or "model" in its ``config.json``. What it lacks beside T3 comes from that model's places.

    hub_caches: folders laid out like ``~/.cache/huggingface/hub``. others: the worker's models, from whose
    folders comes first what this one's folder or repository lacks, and else from the revision at which they
    are. The hub is asked only when nothing local will do, so that a worker with weights starts while the hub
    is down.
    Raises ModelUnavailable, saying how to get weights.
    """
    neighbours = tuple(each for each in others if each.name in MODELS)
    places = _Places((*hub_caches, Path(constants.HF_HUB_CACHE)), token, neighbours)
    published = MODELS.get(source.name)
    if source.folder is not None:
        if published is None:
            return _find_fine_tune(source.name, source.folder, places)
        return _in_folder(published, source.folder, places)
    if published is None:
        raise ModelUnavailable(
            f"there is no model {source.name!r}",
            hint=f"the models are {', '.join(MODELS)}; name the folder of one of your own in MODEL_DIRS",
        )
    try:
        return published, _find_published(published, source.revision, places)
    except _HubUnreachable:
        # Who names a revision wants that one.
        if last_resort is None or source.revision != DEFAULT_REVISION:
            raise
        if _missing(published.files.required, last_resort):
            raise
        log.warning("weights: the hub cannot be reached; taking those in %s", last_resort)
        return published, Checkpoint(last_resort, None, may_be_unpublished=True)


def _missing(names: Iterable[str], *folders: Path) -> list[str]:
    return [name for name in names if all(existing_file(folder, name) is None for folder in folders)]


def _find_published(spec: ModelSpec, revision: str, places: _Places) -> Checkpoint:
    files, shared = spec.files, _shared_files(spec)
    required, optional = _parted(files, [name for name in files.all if name not in shared])
    folder = places.find(spec.repository, revision, required, optional)
    lacking = _missing([name for name in files.all if name in shared], folder)
    return Checkpoint(folder, folder.name, base_folders=_find_lacking(spec, lacking, places))


def _shared_files(spec: ModelSpec) -> tuple[str, ...]:
    """Returns what the base repository has of a model's files."""
    if spec.base_repository is None:
        return ()
    own = (spec.files.t3, spec.files.s3gen, *spec.files.tokenizer)
    return tuple(name for name in spec.files.all if name not in own)


def _parted(files: WeightFiles, names: Collection[str]) -> tuple[list[str], list[str]]:
    """Parts names of files into those that a model must have and those that may be absent."""
    required = [name for name in names if name in files.required]
    return required, [name for name in names if name not in required]


def _in_folder(spec: ModelSpec, folder: Path, places: _Places) -> tuple[ModelSpec, Checkpoint]:
    """Returns a published model whose files lie in a folder. Raises ModelUnavailable for missing ones."""
    shared = _shared_files(spec)
    missing = _missing([name for name in spec.files.required if name not in shared], folder)
    if missing:
        log.error("the folder of %s, %s, lacks %s", spec.name, folder, missing)
        raise ModelUnavailable(
            f"the folder that {WHO_NAMES_FOLDERS} names for {spec.name} lacks {', '.join(missing)}",
            hint=f"it must hold the files of {spec.repository}; a model of your own that takes what it lacks "
            "from this one has a name of its own, in MODEL and in MODEL_DIRS",
        )
    base_folders = _find_lacking(spec, _missing(shared, folder), places)
    return _as_configured(spec, folder), _named_checkpoint(folder, base_folders)


def _find_fine_tune(name: str, folder: Path, places: _Places) -> tuple[ModelSpec, Checkpoint]:
    """Returns a model that was made from a published one. Raises ModelUnavailable."""
    base, t3 = _base_model(name, folder)
    spec = replace(_as_configured(base, folder), name=name, files=replace(base.files, t3=t3))
    base_folders = _find_lacking(base, _missing(spec.files.all, folder), places)
    log.info("model: %s was made from %s, which has what its folder lacks", name, base.name)
    return spec, _named_checkpoint(folder, base_folders)


def _base_model(name: str, folder: Path) -> tuple[ModelSpec, str]:
    """Returns the published model from which a folder's was made, and the name of its T3's file.

    Raises ModelUnavailable.
    """
    place = f"the folder that MODEL_DIRS names for {name}"
    how_to_say = f'a {CONFIG_FILE} with {{"format": "{CONFIG_FORMAT}", "model": "{next(iter(MODELS))}"}}'
    model = (read_config_file(folder) or {}).get("model")
    if model is not None:
        if not isinstance(model, str) or model not in MODELS:
            raise damaged_config(f"model must be one of {', '.join(MODELS)}")
        t3 = MODELS[model].files.t3
        found = t3 if existing_file(folder, t3) else _only_t3(folder)
        if found is None:
            raise ModelUnavailable(
                f"{place} has neither {t3} nor exactly one other file t3*.safetensors or t3*.pt",
                hint=f"put the weights of T3 there as {t3}",
            )
        return MODELS[model], found
    bases = [spec for spec in MODELS.values() if existing_file(folder, spec.files.t3)]
    if len(bases) > 1:
        raise ModelUnavailable(
            f"{place} has the T3 of several models: {', '.join(spec.files.t3 for spec in bases)}",
            hint=f"leave one, or say which in {how_to_say}",
        )
    if not bases:
        raise ModelUnavailable(
            f"{place} has no T3 of a model that is known",
            hint="name the file as its base model does "
            f"({', '.join(each.files.t3 for each in MODELS.values())}), or say which that is in {how_to_say}",
        )
    return bases[0], bases[0].files.t3


def _only_t3(folder: Path) -> str | None:
    """Returns the name of T3's file where there is one, whatever it is called."""
    stems = {path.stem for path in folder.glob("t3*") if path.suffix in (".safetensors", ".pt")}
    return f"{stems.pop()}.safetensors" if len(stems) == 1 else None


def _as_configured(spec: ModelSpec, folder: Path) -> ModelSpec:
    """Returns a model with the languages of its folder's configuration. Raises ModelUnavailable."""
    languages = (read_config_file(folder) or {}).get("languages")
    if languages is None:
        return spec
    if (
        not isinstance(languages, list)
        or not languages
        or not all(isinstance(code, str) and _LANGUAGE.fullmatch(code) for code in languages)
    ):
        raise damaged_config('languages must be a list of codes, such as ["en"]')
    return replace(spec, languages=tuple(dict.fromkeys(languages)))


def _find_lacking(spec: ModelSpec, lacking: Collection[str], places: _Places) -> tuple[Path, ...]:
    """Returns folders of a model's repositories with files that another folder lacks.

    Raises ModelUnavailable for a file without which the model cannot speak.
    """
    shared, folders = _shared_files(spec), []
    for repository, names in (
        (spec.repository, [name for name in lacking if name not in shared]),
        (spec.base_repository, [name for name in lacking if name in shared]),
    ):
        if repository is None or not names:
            continue
        required, optional = _parted(spec.files, names)
        try:
            folders.append(places.find_rest(repository, spec.name, required, optional))
        except ModelUnavailable:
            if required:
                raise
            log.warning("weights: going without %s of %s", ", ".join(optional), repository)
    return tuple(folders)


def _named_checkpoint(folder: Path, base_folders: tuple[Path, ...]) -> Checkpoint:
    resolved = folder.resolve()
    is_snapshot = resolved.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", resolved.name)
    return Checkpoint(folder, resolved.name if is_snapshot else None, True, base_folders)


@dataclass(frozen=True)
class _Places:
    """Where the files of a repository of the hub may lie."""

    caches: tuple[Path, ...]
    token: str | None
    neighbours: tuple[ModelSource, ...] = ()  # the worker's published models

    def find_rest(self, repository: str, model: str, required: list[str], optional: list[str]) -> Path:
        """Returns a folder with what another one lacks: one that the operator names, else as ``find`` does.

        model: the published one whose files they are. Raises ModelUnavailable.
        """
        neighbours = [each for each in self.neighbours if MODELS[each.name].repository == repository]
        named = [each.folder for each in neighbours if each.folder is not None]
        usable = [folder for folder in named if not _missing(required, folder)]
        for folder in usable:
            if not _missing(optional, folder):
                return folder
        try:
            return self.find(repository, _revision_of(model, neighbours), required, optional)
        except ModelUnavailable:
            if not required or not usable:
                raise
            return usable[0]

    def find(self, repository: str, revision: str, required: list[str], optional: list[str]) -> Path:
        """Returns a snapshot with all required files, and with the optional ones that can be had.

        The hub is asked where no cache has all of them. Raises ModelUnavailable.
        """
        snapshots = [
            snapshot
            for cache in self.caches
            if (snapshot := _cached_snapshot(cache, repository, revision))
            and not _missing(required, snapshot)
        ]
        for snapshot in snapshots:
            if not _missing(optional, snapshot):
                log.info("weights: %s %s, cached", repository, snapshot.name)
                return snapshot
        try:
            return _download(repository, revision, required, optional, self.token)
        except ModelUnavailable:
            if not snapshots:
                raise
            log.warning("weights: %s %s, cached without some files", repository, snapshots[0].name)
            return snapshots[0]


def _revision_of(model: str, neighbours: Sequence[ModelSource]) -> str:
    """Returns the revision at which a worker has a model, else one that the model's repository is pinned to.

    neighbours: the worker's models of that repository.
    """
    own = [each.revision for each in neighbours if each.name == model and each.folder is None]
    pinned = [each.revision for each in neighbours if each.revision != DEFAULT_REVISION]
    return next(iter([*own, *pinned]), DEFAULT_REVISION)


def _cached_snapshot(cache: Path, repository: str, revision: str) -> Path | None:
    """Returns the folder of a revision in a hub cache, if it is there."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    return folder / "snapshots" / commit if re.fullmatch(r"[0-9a-f]{40}", commit) else None


def _download(
    repository: str, revision: str, required: list[str], optional: list[str], token: str | None
) -> Path:
    log.info("weights: downloading %s at %s", repository, revision)
    if not sys.stderr.isatty():
        disable_progress_bars()  # a log is no place for them
    try:
        folder = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=[*required, *optional], token=token or None
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
            f"no weights of {repository} at revision {revision!r} were found, and the hub did not "
            f"give them ({error.__class__.__name__})",
            hint=HOW_TO_GET_WEIGHTS,
        ) from error
    missing = _missing(required, folder)
    if missing:
        raise ModelUnavailable(
            f"revision {revision!r} of {repository} lacks {', '.join(missing)}",
            hint="choose another revision of the model in MODEL or MODEL_REVISION",
        )
    return folder


def _gave_no_answer(error: Exception) -> bool:
    """Says whether the hub was silent or down. A refusal or a full disk is something else."""
    # The client wraps whatever went wrong, refusals included.
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
    if isinstance(cause, HfHubHTTPError):
        return cause.response.is_server_error
    return isinstance(cause, httpx.TransportError | OfflineModeIsEnabled | ConnectionError | TimeoutError)
