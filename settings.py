"""The worker's settings: read from the environment once, checked all at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

VOLUME = Path("/runpod-volume")  # where the platform mounts an endpoint's network volume
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
PRECISIONS = ("auto", "exact")
MODELS = ("chatterbox",)
LARGEST_MAX_TEXT_CHARS = 1_000_000
LARGEST_MAX_CONCURRENCY = 64
DEFAULT_REGION = "us-east-1"  # stores other than Amazon's take any, and this one is what most of them expect
DEFAULT_URL_EXPIRY_S = 24 * 3600
LONGEST_URL_EXPIRY_S = 7 * 24 * 3600  # of an S3 signature, version 4
LONGEST_JOB_TIMEOUT_S = 86_400
PLATFORM_JOB_TIMEOUT_S = 540  # a minute less than endpoints have unless they are told otherwise
LONGEST_SHUTDOWN_GRACE_S = 3_600
ENGINES = ("fast", "upstream")
ENDPOINT_MODES = ("basic", "streaming")


class SettingsError(Exception):
    """Names every variable that has a bad value, and says what to set it to."""


@dataclass(frozen=True)
class BucketSettings:
    """An S3 bucket for finished audio.

    endpoint_url: of the store, "https://..."; a bucket's name in front of the host is understood.
    url_expiry_s: how long the links to audio work.
    """

    endpoint_url: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    name: str
    region: str = DEFAULT_REGION
    url_expiry_s: int = DEFAULT_URL_EXPIRY_S


@dataclass(frozen=True)
class Settings:
    """What the operator chose.

    voice_store_dir: made when the first voice is stored. checkpoint_dir: a folder of weights that
    wins over every other place. model_revision: branch, tag or commit on the hub. hub_caches: laid
    out as Hugging Face does, looked into before the user's own. device: auto, cpu, cuda or cuda:N.
    engine: our way to run the model, or upstream's own. max_concurrency: jobs at a time, for which a GPU's
    memory is set aside at the start. endpoint_mode: streaming ones answer every job in pieces.
    job_timeout_s: a job is ended then, before the platform would (600 s unless the endpoint says
    otherwise). shutdown_grace_s: what running jobs get after a SIGTERM. allow_private_urls: fetch
    recordings from a network of one's own, too. on_platform: replies go to the platform, with its limits.
    """

    voice_store_dir: Path
    model: str
    checkpoint_dir: Path | None
    model_revision: str
    hub_caches: tuple[Path, ...]
    device: str
    precision: str
    engine: str
    max_text_chars: int
    max_concurrency: int
    endpoint_mode: str
    job_timeout_s: int
    shutdown_grace_s: int
    bucket: BucketSettings | None
    allow_private_urls: bool
    hf_token: str | None = field(repr=False)
    log_level: str
    on_platform: bool

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, volume: Path = VOLUME) -> Settings:
        """Unset and empty variables mean the default. Raises SettingsError."""
        reader = _Reader(env)
        on_platform = reader.text("RUNPOD_WEBHOOK_GET_JOB") is not None
        timeout_s = PLATFORM_JOB_TIMEOUT_S if on_platform else LONGEST_JOB_TIMEOUT_S
        settings = cls(
            voice_store_dir=reader.folder_to_make("VOICE_STORE_DIR", _default_voice_store_dir(volume)),
            model=reader.choice("MODEL", MODELS, MODELS[0], remark="this version runs no other model"),
            checkpoint_dir=reader.folder("CHECKPOINT_DIR"),
            model_revision=reader.text("MODEL_REVISION") or "main",
            hub_caches=(volume / "huggingface-cache" / "hub",),
            device=reader.device("DEVICE"),
            precision=reader.choice("PRECISION", PRECISIONS, "auto"),
            engine=reader.choice("ENGINE", ENGINES, ENGINES[0]),
            max_text_chars=reader.integer("MAX_TEXT_CHARS", 1, LARGEST_MAX_TEXT_CHARS, default=5000),
            max_concurrency=reader.integer("MAX_CONCURRENCY", 1, LARGEST_MAX_CONCURRENCY, default=1),
            endpoint_mode=reader.choice("ENDPOINT_MODE", ENDPOINT_MODES, ENDPOINT_MODES[0]),
            job_timeout_s=reader.integer("JOB_TIMEOUT_S", 1, LONGEST_JOB_TIMEOUT_S, default=timeout_s),
            shutdown_grace_s=reader.integer("SHUTDOWN_GRACE_S", 0, LONGEST_SHUTDOWN_GRACE_S, default=20),
            bucket=reader.bucket(),
            allow_private_urls=reader.choice("ALLOW_PRIVATE_URLS", ("false", "true"), "false") == "true",
            hf_token=reader.text("HF_TOKEN"),
            log_level=reader.choice("LOG_LEVEL", LOG_LEVELS, "INFO", fold=str.upper),
            on_platform=on_platform,
        )
        if reader.problems:
            raise SettingsError("; ".join(reader.problems))
        return settings


def _default_voice_store_dir(volume: Path) -> Path:
    # A mount, not just a folder: the platform puts its model cache under the same path where no volume
    # is attached, and what is written there ends with the worker.
    return (volume if volume.is_mount() else Path()) / "voice_embeddings"


class _Reader:
    """Reads variables and gathers what is wrong with them; a bad one reads as its default."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        return self._env.get(name, "").strip() or None

    def choice(
        self,
        name: str,
        choices: Collection[str],
        default: str,
        *,
        fold: Callable[[str], str] = str.lower,
        remark: str = "",
    ) -> str:
        value = fold(self.text(name) or default)
        if value not in choices:
            self._refuse(name, f"one of {', '.join(choices)}" if len(choices) > 1 else default, remark)
        return value

    def device(self, name: str) -> str:
        value = (self.text(name) or "auto").lower()
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self._refuse(name, "auto, cpu, cuda or cuda:N")
        return value

    def integer(self, name: str, smallest: int, largest: int, *, default: int, remark: str = "") -> int:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,18}", value) or not smallest <= int(value) <= largest:
            wanted = str(smallest) if smallest == largest else f"a whole number from {smallest} to {largest}"
            self._refuse(name, wanted, remark)
            return default
        return int(value)

    def bucket(self) -> BucketSettings | None:
        """All four that are needed, or none of them."""
        names = ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "NAME")
        values = [self.text(f"BUCKET_{name}") for name in names]
        expiry_s = self.integer("BUCKET_URL_EXPIRY_S", 60, LONGEST_URL_EXPIRY_S, default=DEFAULT_URL_EXPIRY_S)
        region = self.text("BUCKET_REGION") or DEFAULT_REGION
        url, key, secret, bucket = values
        if url and key and secret and bucket:
            if not re.fullmatch(r"https?://[^/\s@]+/?", url):
                self._refuse(
                    "BUCKET_ENDPOINT_URL", "the store's address, like https://s3.eu-central-1.example"
                )
            return BucketSettings(url, key, secret, bucket, region, expiry_s)
        if any(values):
            missing = [f"BUCKET_{name}" for name, value in zip(names, values, strict=True) if not value]
            self.problems.append(f"{', '.join(missing)} missing: set all of a bucket's settings, or none")
        return None

    def folder(self, name: str) -> Path | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            path = Path(value).expanduser()
            if path.is_dir():
                return path
        except (RuntimeError, OSError, ValueError):  # no such user; too long; a null byte
            pass
        self._refuse(name, "a folder that exists")
        return None

    def folder_to_make(self, name: str, default: Path) -> Path:
        value = self.text(name)
        try:
            path = default if value is None else Path(value).expanduser()
            if path.is_dir() or not path.exists():
                return path
        except (RuntimeError, OSError, ValueError):
            pass
        self._refuse(name, "a folder, not a file")
        return default

    def _refuse(self, name: str, wanted: str, remark: str = "") -> None:
        found = f"{name} is {self.text(name)!r}" if self.text(name) else f"{name} is not set"
        self.problems.append(f"{found}: set it to {wanted}, or unset it{remark and f' ({remark})'}")
