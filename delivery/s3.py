"""Audio to an S3 bucket, and a link by which the caller gets it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from settings import BucketSettings

CONTENT_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "pcm": "audio/L16",
    "ulaw": "audio/basic",
}

# What stores answer, as a part of a sentence for the caller.
_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "the access key is not known",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "AccessDenied": "the keys may not write there",
    "403": "the keys may not write there",
    "404": "there is no such bucket",
}

# All tries together stay below what a cancelled job has to end, see ``serving.worker``.
TRIES, CONNECT_S, ANSWER_S = 3, 4, 10


class BucketError(Exception):
    """What went wrong, as a part of a sentence for the caller: no key, no host, no path."""


class Bucket:
    """One bucket with one set of keys. May be used by several threads."""

    def __init__(self, settings: BucketSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._made: Any = None

    def upload(self, key: str, audio: bytes) -> None:
        """Returns when the store has it. Tried again with growing pauses; raises BucketError."""
        with _told():
            self._client().put_object(
                Bucket=self.settings.name,
                Key=key,
                Body=audio,
                ContentType=CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream"),
            )

    def url(self, key: str) -> str:
        """Whoever has it can get the object until it expires."""
        with _told():
            url: str = self._client().generate_presigned_url(
                "get_object",
                Params={"Bucket": self.settings.name, "Key": key},
                ExpiresIn=self.settings.url_expiry_s,
            )
        return url

    def _client(self) -> Any:
        """Made when it is first needed: importing boto3 takes a third of a second."""
        with self._lock:
            if self._made is None:
                self._made = _make_client(self.settings)
            return self._made


@contextmanager
def _told() -> Iterator[None]:
    """Turns what boto3 raises into BucketError."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "an unknown error"))
        raise BucketError(_REASONS.get(code, f"the store answered {code}")) from error
    except (BotoCoreError, Boto3Error, ValueError) as error:
        raise BucketError("the store did not answer") from error


def _make_client(settings: BucketSettings) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        region_name=settings.region,
    ).client(
        "s3",
        endpoint_url=_without_bucket(settings.endpoint_url, settings.name),
        config=Config(
            signature_version="s3v4",
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            # Stores other than Amazon's do not all know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            proxies={},
        ),
    )


def _without_bucket(endpoint_url: str, name: str) -> str:
    parts = urlsplit(endpoint_url)
    return parts._replace(netloc=parts.netloc.removeprefix(f"{name}."), path="").geturl()
