"""Finished audio in an S3 bucket, and links by which callers get it.

boto3 signs the links and botocore the uploads. ``audio.pinned_http`` sends these, since a caller may bring
the store: the address that was checked is the one that is dialled, and no answer can keep a job waiting or
fill the memory.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from audio.network import HostPolicy, TransferError, run_within
from cancel import CancelToken
from errors import FetchFailed, FetchRefused, InvalidRequest, Problem
from settings import DEFAULT_REGION, BucketSettings, bucket_problems

# Error codes of S3, as a part of a sentence for the caller.
_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "the access key is not known",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "AccessDenied": "the keys may not write there",
    "AuthorizationHeaderMalformed": "the bucket is in another region",
    "PermanentRedirect": "the bucket is in another region",
    "RequestTimeTooSkewed": "the worker's clock is wrong",
    "EntityTooLarge": "the audio is too large for one object",
}
_REASONS_BY_STATUS = {403: "AccessDenied", 404: "NoSuchBucket"}
_NO_ANSWER = "the store did not answer"

TRIES = 3
DEADLINE_S = 60.0  # for all tries together, and
SLOWEST_BYTES_PER_S = 2_000_000  # as much longer as the audio takes at this speed
PAUSE_S = 0.5  # before the second try; twice as long before the third
CONNECT_S, ANSWER_S = 5.0, 15.0
MAX_ANSWER_BYTES = 2**16
_BUSY = frozenset({408, 425, 429})

_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,63})</Region>")
_REGION_NAME = re.compile(r"[A-Za-z0-9-]{1,63}")
_AMAZON_HOST = re.compile(r"(?<=://)s3[.-][a-z0-9.-]*amazonaws\.com(?=[/:]|\.cn|$)", re.I)

_ONE_BYTE = {"Range": "bytes=0-0"}

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class BucketError(Exception):
    """What went wrong, as a part of a sentence for the caller: no key, no host, no path."""


@dataclass(frozen=True)
class _Answer:
    """What a store said, as far as it was read."""

    status: int
    code: str | None  # of the error
    region: str | None  # where the bucket is, if the store says so

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_temporary(self) -> bool:
        return self.status >= 500 or self.status in _BUSY

    @property
    def reason(self) -> str:
        code = self.code or _REASONS_BY_STATUS.get(self.status)
        if code is None:
            return "the store answered with an unknown error"
        return _REASONS.get(code, f"the store answered {code}")


class Bucket:
    """One bucket with one set of keys. Thread-safe; makes no connection before it is used."""

    def __init__(
        self,
        settings: BucketSettings,
        hosts: HostPolicy | None = None,  # which addresses may be dialled; None: public ones, over https
        *,
        deadline_s: float = DEADLINE_S,  # for one upload of a short file, all tries together
        pause_s: float = PAUSE_S,  # before the second try
    ) -> None:
        self.settings = settings
        self._hosts = hosts or HostPolicy()
        self._deadline_s, self._pause_s = deadline_s, pause_s
        self._region = settings.signing_region or DEFAULT_REGION
        # Whether the region is known: links for another one than the bucket's do not work.
        self._is_region_known = settings.signing_region is not None

    def check_endpoint(self, field: str, cancel: CancelToken | None = None) -> None:
        """Checks that the store may be dialled, before the work. Raises FetchRefused, FetchFailed."""
        self._hosts.check(self.settings.store_url, field, cancel)

    def upload(self, key: str, data: bytes, content_type: str, cancel: CancelToken | None = None) -> None:
        """Returns when the store has the object. Not to be called on an event loop.

        key: below the settings' prefix. content_type: see ``audio.encode.content_type``.
        Raises BucketError, Cancelled.
        """
        headers = {"Content-Type": content_type}
        deadline_s = self._deadline_s + len(data) / SLOWEST_BYTES_PER_S
        self._run(lambda: self._send_with_retries("PUT", key, headers, data), deadline_s, cancel)

    def url(self, key: str, cancel: CancelToken | None = None) -> str:
        """Returns a link by which anybody can get the object until it expires.

        Asks the store where the bucket is unless that is known, by an upload for example; then not to be
        called on an event loop. Raises BucketError, Cancelled.
        """
        if not self._is_region_known:
            self._run(lambda: self._send_with_retries("GET", key, _ONE_BYTE, b""), self._deadline_s, cancel)
        import boto3
        from botocore.config import Config

        session = boto3.session.Session(
            self.settings.access_key_id, self.settings.secret_access_key, region_name=self._region
        )
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
        client = session.client("s3", endpoint_url=self._store_url(), config=config)
        # Signing is all that boto3 does here: it opens no connection.
        url: str = client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self.settings.name, "Key": self.settings.key_prefix + key},
            ExpiresIn=self.settings.url_expiry_s,
        )
        return url

    def _run(
        self, work: Callable[[], Awaitable[Result]], deadline_s: float, cancel: CancelToken | None
    ) -> Result:
        try:
            return run_within(deadline_s, work, cancel)
        except TimeoutError as error:
            raise BucketError(_NO_ANSWER + " in time") from error

    async def _send_with_retries(
        self, method: str, key: str, headers: Mapping[str, str], data: bytes
    ) -> None:
        reason, was_cut = _NO_ANSWER, False
        for attempt in range(TRIES):
            if attempt > 0:
                await asyncio.sleep(self._pause_s * 2 ** (attempt - 1))
            try:
                if was_cut and data and not self._is_region_known:
                    # A store in another region than the bucket may cut an upload before it says so.
                    await self._send_to_right_region("GET", key, _ONE_BYTE, b"")
                answer = await self._send_to_right_region(method, key, headers, data)
            except (TransferError, FetchFailed):
                reason, was_cut = _NO_ANSWER, True
                continue
            except FetchRefused as error:
                raise BucketError(f"the store {error.reason}") from error
            if answer.is_success:
                self._is_region_known = True
                return
            reason, was_cut = answer.reason, False
            if not answer.is_temporary:
                break
        raise BucketError(reason)

    async def _send_to_right_region(
        self, method: str, key: str, headers: Mapping[str, str], data: bytes
    ) -> _Answer:
        """Sends a request, and once more where the store says that the bucket is in another region."""
        answer = await self._send(method, key, headers, data)
        if answer.is_success or answer.region is None or answer.region == self._region:
            return answer
        if self._is_region_known:
            log.warning("the bucket is in region %s, not in %s as was set", answer.region, self._region)
        self._region, self._is_region_known = answer.region, True
        return await self._send(method, key, headers, data)

    async def _send(self, method: str, key: str, headers: Mapping[str, str], data: bytes) -> _Answer:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        from audio.pinned_http import pinned_request  # aiohttp and botocore take a while to import

        target = self._hosts.target(self._object_url(key), "endpoint")
        request = AWSRequest(method, target.url, headers=dict(headers), data=data)
        S3SigV4Auth(self._credentials(), "s3", self._region).add_auth(request)
        addresses = await self._hosts.addresses(target, "endpoint")
        async with pinned_request(
            target,
            addresses,
            method=method,
            headers=dict(request.headers.items()),
            body=data,
            connect_s=CONNECT_S,
            answer_s=ANSWER_S,
        ) as response:
            region = response.headers.get("x-amz-bucket-region", "")
            if 200 <= response.status < 300:
                return _Answer(response.status, None, None)
            body = await response.read_at_most(MAX_ANSWER_BYTES)
        if not _REGION_NAME.fullmatch(region):
            region = _first(_REGION, body) or ""
        return _Answer(response.status, _first(_CODE, body), region or None)

    def _object_url(self, key: str) -> str:
        """The object's URL with the bucket in the path, which every store understands."""
        return f"{self._store_url()}/{self.settings.name}/{quote(self.settings.key_prefix + key, safe='/~')}"

    def _store_url(self) -> str:
        """The store's URL; of Amazon's, that of the bucket's region."""
        if self._region == (self.settings.host_region or DEFAULT_REGION):
            return self.settings.store_url
        return _AMAZON_HOST.sub(f"s3.{self._region}.amazonaws.com", self.settings.store_url)

    def _credentials(self) -> Any:
        from botocore.credentials import ReadOnlyCredentials

        return ReadOnlyCredentials(self.settings.access_key_id, self.settings.secret_access_key, None)


def _first(pattern: re.Pattern[bytes], body: bytes) -> str | None:
    found = pattern.search(body)
    return found[1].decode("ascii") if found else None


_JSON_NAMES = {
    "endpoint_url": "endpointUrl",
    "access_key_id": "accessId",
    "secret_access_key": "accessSecret",
    "name": "bucketName",
    "region": "region",
}


def job_bucket(fields: Mapping[str, Any], operators: BucketSettings | None) -> BucketSettings:
    """Returns the bucket that a job brings, as the platform's ``s3Config``. Raises InvalidRequest.

    operators: the worker's own, whose expiry counts, and whose region for a bucket of the same store.
    """
    names = [name for name in _JSON_NAMES.values() if name != "region"]
    problems = [
        Problem("is required", f"s3Config.{name}", "send a string")
        for name in names
        if not isinstance(fields.get(name), str) or not fields[name].strip()
    ]
    region = fields.get("region")
    if region is not None and not isinstance(region, str):
        problems.append(Problem("must be a string", "s3Config.region"))
    if problems:
        raise InvalidRequest.of(problems)
    url, key, secret, name = (fields[name].strip() for name in names)
    settings = BucketSettings(url, key, secret, name, (region or "").strip() or None)
    problems = [
        Problem(found.reason, f"s3Config.{_JSON_NAMES[found.setting]}", f"send {found.wanted}")
        for found in bucket_problems(settings)
    ]
    if problems:
        raise InvalidRequest.of(problems)
    return settings if operators is None else settings.with_defaults_of(operators)
