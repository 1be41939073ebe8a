"""The worker's settings: read from the environment once, checked all at once."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from speech.models.sources import model_sources, shortened
from speech.models.spec import ModelSource

VOLUME = Path("/runpod-volume")  # where the platform mounts an endpoint's network volume
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SECRETS = ("HF_TOKEN", "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY", "API_KEY")
PRECISIONS = ("auto", "exact")
LARGEST_MAX_TEXT_CHARS = 100_000  # about two hours of speech, which a job holds in memory several times
LARGEST_MAX_CONCURRENCY = 64
DEFAULT_REGION = "us-east-1"  # what stores expect that know no regions
DEFAULT_URL_EXPIRY_S = 24 * 3600
LONGEST_URL_EXPIRY_S = 7 * 24 * 3600  # of an S3 signature, version 4
LONGEST_JOB_TIMEOUT_S = 86_400
PLATFORM_JOB_TIMEOUT_S = 540  # a minute less than endpoints have unless they are told otherwise
HTTP_JOB_TIMEOUT_S = 300  # half a minute less than a load-balancing endpoint gives a request
LONGEST_SHUTDOWN_GRACE_S = 3_600
LONGEST_AUDIO_RETENTION_H = 8_784  # a year
ENGINES = ("fast", "upstream")
OPENAI_MODEL_PREFIXES = ("tts-", "gpt-")  # a request for such a model is for any of the worker's
ENDPOINT_MODES = ("basic", "streaming", "http")
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
PLATFORM_PORT, LAPTOP_PORT = 80, 8000
QUEUED_JOBS_PER_SLOT = 8
# How often OpenMP's threads look for the next operator before they sleep: some 0.1 ms. The default of GNU's
# library, 30 times as long, costs nothing on an idle CPU, and makes S3Gen take four times as long beside
# another process that computes.
SPIN_COUNT = "10000"
LARGEST_MAX_QUEUED_JOBS = 10_000


class SettingsError(Exception):
    """Names every variable that has a bad value, and says what to set it to."""


# Hosts of S3 stores, without a bucket's name, and the region that they name.
_AMAZON = r"s3(?:-fips)?(?:\.dualstack)?(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?"
_STORES = (
    _AMAZON,
    r"(?P<region>[a-z]{3}\d)\.digitaloceanspaces\.com",
    r"s3\.(?:(?P<region>[a-z0-9-]+)\.)?wasabisys\.com",
    r"s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com",
    r"s3\.(?P<region>[a-z-]+)\.scw\.cloud",
    r"s3\.(?P<region>[a-z0-9-]+)\.(?:io\.)?cloud\.ovh\.(?:net|us)",
    r"(?P<region>[a-z]{2}-[a-z]+-\d)\.linodeobjects\.com",
    r"(?P<region>[a-z]{3}\d)\.your-objectstorage\.com",
    r"s3api-(?P<region>[a-z0-9-]+)\.runpod\.io",
)
_STORES_OF_ONE_REGION = (  # which they call "auto"
    r"[a-z0-9]+\.(?:[a-z]+\.)?r2\.cloudflarestorage\.com",
    r"storage\.googleapis\.com",
    r"fly\.storage\.tigris\.dev",
    r"t3\.storage\.dev",
)
_OTHER_STORE = r"(?:.+\.)?s3[.-](?P<region>[a-z]{2,}(?:-[a-z]+)+-?\d+)\..+"
_ENDPOINT = re.compile(
    r"https?://(?:(?=[^/:]{1,253}(?:[/:]|$))(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}|\[[0-9A-Fa-f:.]+\])"
    r"(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%/-]*)?"
)
_BUCKET_NAME = re.compile(r"(?!.*\.\.)(?![0-9.]+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BUCKET_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_BUCKET_KEY = re.compile(r"[!-~]{1,1024}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
_API_KEY = re.compile(r"[!-~]{1,1024}")
_ORIGIN = re.compile(r"\*|https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_KEY_PREFIX = re.compile(r"(?!/)(?!.*//)(?!(?:.*/)?\.\.?(?:/|$))[A-Za-z0-9!_.*'()=/-]{1,512}")


@dataclass(frozen=True)
class BucketSettings:
    """An S3 bucket for finished audio."""

    endpoint_url: str  # of the store; the bucket's name before the host or at the end of the path is left out
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    name: str
    region: str | None = None  # as it was set
    url_expiry_s: int = DEFAULT_URL_EXPIRY_S  # how long the links to audio work
    key_prefix: str = ""  # before the names of all objects, as it is

    @property
    def store_url(self) -> str:
        """The store's address without the bucket's name and without a slash at its end."""
        parts = urlsplit(self.endpoint_url)
        netloc, path = parts.netloc, parts.path.rstrip("/")
        if not _is_store(parts.hostname or ""):
            netloc = netloc.removeprefix(f"{self.name}.")
        return f"{parts.scheme}://{netloc}{path.removesuffix(f'/{self.name}').rstrip('/')}"

    @property
    def host_region(self) -> str | None:
        """The region that the store's host names."""
        host = urlsplit(self.store_url).hostname or ""
        if _matches(_STORES_OF_ONE_REGION, host):
            return "auto"
        found = _matches((*_STORES, _OTHER_STORE), host)
        region = found["region"] if found else None
        return region.upper() if region and host.endswith(".runpod.io") else region

    @property
    def signing_region(self) -> str | None:
        """The region that was set, else the host's; None where only the store knows."""
        return self.region or self.host_region

    def with_defaults_of(self, operators: BucketSettings) -> BucketSettings:
        """Returns these settings with the operator's expiry, and region where both use the same store."""
        is_same_store = operators.store_url == self.store_url
        return replace(
            self,
            region=self.region or (operators.region if is_same_store else None),
            url_expiry_s=operators.url_expiry_s,
        )


@dataclass(frozen=True)
class BucketProblem:
    """What is wrong with one of a bucket's settings."""

    setting: str  # the attribute of BucketSettings
    reason: str  # the predicate of a sentence about it
    wanted: str  # what it should be instead, as a noun


def bucket_problems(bucket: BucketSettings) -> list[BucketProblem]:
    """Returns what can be known to be wrong without asking the store."""
    problems = []
    is_endpoint = _ENDPOINT.fullmatch(bucket.endpoint_url) is not None
    if not is_endpoint:
        wanted = "its address, like https://s3.eu-central-1.example.com"
        problems.append(BucketProblem("endpoint_url", "is not the address of an S3 store", wanted))
    for setting in ("access_key_id", "secret_access_key"):
        if not _BUCKET_KEY.fullmatch(getattr(bucket, setting)):
            problems.append(BucketProblem(setting, "holds characters that no key has", "the key as it is"))
    if not _BUCKET_NAME.fullmatch(bucket.name):
        wanted = "3 to 63 small letters, digits, dots and hyphens"
        problems.append(BucketProblem("name", "is not the name of a bucket", wanted))
    if bucket.region is not None and not _BUCKET_REGION.fullmatch(bucket.region):
        problems.append(BucketProblem("region", "is not the name of a region", "one like eu-central-1"))
    elif bucket.region is not None and is_endpoint:
        found = _matches((_AMAZON,), urlsplit(bucket.store_url).hostname or "")
        if found and found["region"] not in (None, bucket.region):
            reason = f"is not the region of the endpoint, which is {found['region']}"
            problems.append(BucketProblem("region", reason, "the same, or none"))
    if bucket.key_prefix and not _KEY_PREFIX.fullmatch(bucket.key_prefix):
        reason = "cannot stand before a name"
        problems.append(BucketProblem("key_prefix", reason, "letters and digits, like speech/"))
    return problems


def _matches(patterns: Iterable[str], host: str) -> re.Match[str] | None:
    return next((found for pattern in patterns if (found := re.fullmatch(pattern, host))), None)


def _is_store(host: str) -> bool:
    return _matches((*_STORES, *_STORES_OF_ONE_REGION), host) is not None


@dataclass(frozen=True)
class HttpSettings:
    """How the worker is reached over HTTP."""

    host: str  # the address to listen on
    port: int
    health_port: int  # of /ping for the platform; the same port serves everything
    api_key: str | None = field(repr=False)  # None: nobody is asked for one
    allow_anonymous: bool  # on an address that others reach
    cors_origins: tuple[str, ...]  # of pages that may use the worker; "*" for all
    metrics_public: bool
    max_queued_jobs: int  # that wait for a free place

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        return self.host in LOOPBACK_HOSTS


@dataclass(frozen=True)
class Settings:
    """What the operator chose."""

    voice_store_dir: Path  # made when the first voice is stored
    models: tuple[ModelSource, ...]  # the first is the default
    default_language: str | None  # of texts, where neither the job nor the voice names one
    hub_caches: tuple[Path, ...]  # laid out as Hugging Face does, searched before the user's own
    device: str  # auto, cpu, cuda or cuda:N
    precision: str
    engine: str  # our way to run the model, or upstream's own
    max_text_chars: int
    max_concurrency: int  # jobs at a time, for which a GPU's memory is set aside at the start
    endpoint_mode: str  # streaming endpoints answer every job in pieces; http: no queue, a server
    job_timeout_s: int  # a job is ended then, before the platform would end it
    shutdown_grace_s: int  # what running jobs get after a SIGTERM
    bucket: BucketSettings | None
    audio_retention_h: int  # after which audio on the volume, written from now on, is swept; 0: it stays
    require_consent: bool  # a voice is cloned only with somebody's consent
    allow_private_urls: bool  # recordings may be fetched from the operator's own network, too
    hf_token: str | None = field(repr=False)
    log_level: str
    http: HttpSettings
    on_platform: bool  # replies go through the platform, with its limits

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, volume: Path = VOLUME) -> Settings:
        """Reads the settings; unset and empty variables mean the default. Raises SettingsError."""
        reader = _Reader(env)
        mode = reader.choice("ENDPOINT_MODE", ENDPOINT_MODES, ENDPOINT_MODES[0])
        platform = ["RUNPOD_WEBHOOK_GET_JOB"]
        if mode == "http":  # such a worker gets no jobs from a queue
            platform += ["RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID"]
        on_platform = any(reader.text(name) is not None for name in platform)
        # A load balancer asks for RunPod's key before it passes a request on; the proxy before a pod asks
        # for none. A pod has no endpoint's id.
        is_of_endpoint = any(reader.text(name) is not None for name in platform if name != "RUNPOD_POD_ID")
        timeout_s = LONGEST_JOB_TIMEOUT_S
        if on_platform:
            timeout_s = HTTP_JOB_TIMEOUT_S if mode == "http" else PLATFORM_JOB_TIMEOUT_S
        max_concurrency = reader.integer("MAX_CONCURRENCY", 1, LARGEST_MAX_CONCURRENCY, default=1)
        settings = cls(
            voice_store_dir=reader.store_folder("VOICE_STORE_DIR", _default_voice_store_dir(volume), volume),
            models=reader.models(),
            default_language=reader.language("DEFAULT_LANGUAGE"),
            hub_caches=(volume / "huggingface-cache" / "hub",),
            device=reader.device("DEVICE"),
            precision=reader.choice("PRECISION", PRECISIONS, "auto"),
            engine=reader.choice("ENGINE", ENGINES, ENGINES[0]),
            max_text_chars=reader.integer("MAX_TEXT_CHARS", 1, LARGEST_MAX_TEXT_CHARS, default=5000),
            max_concurrency=max_concurrency,
            endpoint_mode=mode,
            job_timeout_s=reader.integer("JOB_TIMEOUT_S", 1, LONGEST_JOB_TIMEOUT_S, default=timeout_s),
            shutdown_grace_s=reader.integer("SHUTDOWN_GRACE_S", 0, LONGEST_SHUTDOWN_GRACE_S, default=20),
            bucket=reader.bucket(),
            audio_retention_h=reader.integer("AUDIO_RETENTION_H", 0, LONGEST_AUDIO_RETENTION_H, default=0),
            require_consent=reader.flag("REQUIRE_CONSENT"),
            allow_private_urls=reader.flag("ALLOW_PRIVATE_URLS"),
            hf_token=reader.text("HF_TOKEN"),
            log_level=reader.choice("LOG_LEVEL", LOG_LEVELS, "INFO", fold=_log_level),
            http=reader.http(
                max_concurrency,
                on_platform=on_platform,
                needs_key=mode == "http" and not is_of_endpoint,
            ),
            on_platform=on_platform,
        )
        if reader.problems:
            raise SettingsError("; ".join(reader.problems))
        return settings

    @classmethod
    def take_from_env(cls) -> Settings:
        """Reads the process's own environment and removes the secrets from it.

        Libraries and child processes then do not find them there. What GNU's OpenMP reads when PyTorch is
        imported gets a value where the operator has set none. Raises SettingsError.
        """
        settings = cls.from_env()
        for name in SECRETS:
            _forget(name)
        if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
            os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
        return settings


def _forget(name: str) -> None:
    """Removes a variable from the environment, and its value from the memory that /proc/PID/environ shows."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    address = libc.getenv(name.encode())
    if address:
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
    os.environ.pop(name, None)


def _log_level(value: str) -> str:
    return {"WARN": "WARNING"}.get(value.upper(), value.upper())


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

    def language(self, name: str) -> str | None:
        code = self.text(name)
        if code is not None and not _LANGUAGE.fullmatch(code):
            self._refuse(name, "the code of a language, like en")
        return code

    def flag(self, name: str) -> bool:
        return self.choice(name, ("false", "true"), "false") == "true"

    def http(self, max_concurrency: int, *, on_platform: bool, needs_key: bool) -> HttpSettings:
        port = self.integer("PORT", 1, 65_535, default=PLATFORM_PORT if on_platform else LAPTOP_PORT)
        found = HttpSettings(
            host=self.text("HOST") or ("0.0.0.0" if on_platform else LOOPBACK_HOSTS[0]),  # noqa: S104
            port=port,
            health_port=self.integer("PORT_HEALTH", 1, 65_535, default=port),
            api_key=self.text("API_KEY"),
            allow_anonymous=self.flag("ALLOW_ANONYMOUS"),
            cors_origins=self.origins("CORS_ORIGINS"),
            metrics_public=self.flag("METRICS_PUBLIC"),
            max_queued_jobs=self.integer(
                "MAX_QUEUED_JOBS",
                0,
                LARGEST_MAX_QUEUED_JOBS,
                default=QUEUED_JOBS_PER_SLOT * max_concurrency,
            ),
        )
        is_open = found.api_key is None and not found.allow_anonymous
        if needs_key and is_open and not found.is_on_loopback:
            self.problems.append(
                f"API_KEY is not set, and HOST is {shortened(found.host)}, which others reach: set API_KEY "
                "to a secret of your own, or ALLOW_ANONYMOUS to true"
            )
        if found.api_key is not None and not _API_KEY.fullmatch(found.api_key):
            self.problems.append("API_KEY holds characters that no header has: set it to letters and digits")
        return found

    def origins(self, name: str) -> tuple[str, ...]:
        """Origins of pages, separated by commas or spaces."""
        origins = tuple(origin for origin in re.split(r"[,\s]+", self.text(name) or "") if origin)
        if not all(_ORIGIN.fullmatch(origin) for origin in origins):
            self._refuse(name, "origins such as https://app.example.com, or *")
            return ()
        return origins

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
        region, prefix = self.text("BUCKET_REGION"), self.text("BUCKET_KEY_PREFIX") or ""
        url, key, secret, name = values
        if url and key and secret and name:
            bucket = BucketSettings(url, key, secret, name, region, expiry_s, prefix)
            self.problems += [
                f"BUCKET_{found.setting.upper()} {found.reason}: set it to {found.wanted}"
                for found in bucket_problems(bucket)
            ]
            return bucket
        if any(values):
            missing = [f"BUCKET_{name}" for name, value in zip(names, values, strict=True) if not value]
            self.problems.append(f"{', '.join(missing)} missing: set all of a bucket's settings, or none")
        return None

    def models(self) -> tuple[ModelSource, ...]:
        sources, problems = model_sources(self._env)
        self.problems += problems
        for name in [source.name for source in sources if source.name.startswith(OPENAI_MODEL_PREFIXES)]:
            self.problems.append(
                f"MODEL_DIRS has a folder of {name}: choose another name; those that begin with "
                f"{' or '.join(OPENAI_MODEL_PREFIXES)} mean any model to OpenAI's clients"
            )
        return sources

    def store_folder(self, name: str, default: Path, volume: Path) -> Path:
        """A folder that may be made later: anywhere on the volume, else in a folder that exists."""
        value = self.text(name)
        try:
            path = default if value is None else Path(value).expanduser()
            if path.is_dir():
                return path
            if path.is_symlink():
                self._refuse(name, "a folder: that is a link to one that is missing")
            elif path.exists():
                self._refuse(name, "a folder, not a file")
            elif path.is_relative_to(volume) or path.parent.is_dir():
                return path
            else:
                missing = next(folder for folder in reversed(path.parents) if not folder.is_dir())
                self._refuse(name, f"a folder in one that exists ({shortened(str(missing))} is missing)")
        except (RuntimeError, OSError, ValueError):
            self._refuse(name, "a folder, not a file")
        return default

    def _refuse(self, name: str, wanted: str, remark: str = "") -> None:
        value = self.text(name)
        found = f"{name} is {shortened(value)!r}" if value else f"{name} is not set"
        self.problems.append(f"{found}: set it to {wanted}, or unset it{remark and f' ({remark})'}")
