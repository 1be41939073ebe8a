"""Which way finished audio takes.

The platform drops a reply that is too large. Audio that does not fit goes to a bucket or to a folder on the
volume, and audio that a bucket does not take stays on the volume: it is never thrown away.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from audio.network import HostPolicy
from delivery.finished import Finished, FinishedJobs
from delivery.s3 import Bucket, BucketError, job_bucket
from delivery.spill import Spill
from errors import DeliveryFailed, InvalidRequest, OutputTooLarge, WorkerError
from operations.base import ENVELOPE_BYTES, Delivered, DeliveryMode, Job, posted_bytes

log = logging.getLogger(__name__)


class Deliverer:
    """The ``Delivery``. spill: the folder on the volume. bucket: the operator's; a job may bring its own.

    job_hosts: which addresses the bucket of a job may have; by default public ones, over https.
    """

    def __init__(
        self,
        spill: Spill,
        bucket: Bucket | None = None,
        job_hosts: HostPolicy | None = None,
    ) -> None:
        self._spill, self._bucket, self._job_hosts = spill, bucket, job_hosts
        self._finished = FinishedJobs(spill)

    def prepare(self, mode: DeliveryMode, job: Job) -> None:
        """See ``operations.base.Delivery``."""
        bucket = self._bucket_of(job)
        if bucket is not None and job.s3_config is not None:
            bucket.check_endpoint("s3Config.endpointUrl")
        if mode == "s3" and bucket is None:
            raise InvalidRequest(
                "delivery: no bucket is set up here for 's3'; send s3Config beside input, or another delivery"
            )

    def deliver(
        self,
        audio: bytes,
        *,
        extension: str,
        mode: DeliveryMode,
        reply: Mapping[str, Any],
        advice: str,
        job: Job,
    ) -> Delivered:
        """See ``operations.base.Delivery``."""
        needed_bytes = base64_length(len(audio)) + posted_bytes(reply) + ENVELOPE_BYTES
        limit_bytes = job.reply_limit_bytes
        fits = limit_bytes is None or needed_bytes <= limit_bytes
        if mode in ("auto", "inline") and fits:
            return Delivered(audio=base64.b64encode(audio).decode("ascii"))

        name = f"{self._spill.stem(job.id)}{job.part}.{extension}"
        too_large = f"the reply would have {needed_bytes} bytes and {limit_bytes} is the platform's limit"
        bucket = self._bucket_of(job)
        if mode == "s3" or (mode == "auto" and bucket is not None):
            assert bucket is not None  # prepare() saw to that
            delivered = self._to_bucket(bucket, name, audio, is_only_way=mode == "s3")
        elif mode == "inline":
            self._keep(name, audio, OutputTooLarge(f"{too_large}; {advice}"))
            raise OutputTooLarge(
                f"{too_large}; the audio is kept on the volume as {self._spill.path.name}/{name}; "
                f"send delivery 'auto' to get its path, or {advice}"
            )
        else:
            failure: WorkerError = (
                DeliveryFailed("the volume did not take the audio; check that it is mounted and not full")
                if mode == "volume"
                else OutputTooLarge(f"{too_large}; {advice}")
            )
            delivered = Delivered(audio_path=self._keep(name, audio, failure))
        if mode == "auto":
            where = "audio_path on the volume" if delivered.audio_path else "audio_url"
            note = f"{too_large}: the audio is in {where}; else {advice}"
            delivered = replace(delivered, warnings=(*delivered.warnings, note))
        self._remember(job, reply, delivered, name)
        return delivered

    def repeat(self, job: Job) -> dict[str, Any] | None:
        """See ``operations.base.Delivery``."""
        if job.input is None or (found := self._finished.find(job.id, job.input)) is None:
            return None
        if found.file is not None:
            return {**found.reply, "audio_path": str(self._spill.path.resolve() / found.file)}
        bucket = self._bucket_of(job)
        assert found.key is not None
        try:
            return None if bucket is None else {**found.reply, "audio_url": bucket.url(found.key)}
        except BucketError:
            return None

    def _to_bucket(self, bucket: Bucket, name: str, audio: bytes, *, is_only_way: bool) -> Delivered:
        try:
            bucket.upload(name, audio)
            return Delivered(audio_url=bucket.url(name))
        except BucketError as error:
            failed = f"the upload to the bucket failed: {error}"
            path = self._keep(name, audio, DeliveryFailed(f"{failed}, and the volume did not take the audio"))
            if is_only_way:
                raise DeliveryFailed(
                    f"{failed}; the audio is kept on the volume as {self._spill.path.name}/{name}"
                ) from error
            log.warning("%s", failed, exc_info=error)
            return Delivered(audio_path=path, warnings=(failed,))

    def _keep(self, name: str, audio: bytes, failure: WorkerError) -> str:
        """The path of the file on the volume. Raises ``failure``."""
        try:
            return str(self._spill.write(name, audio))
        except (OSError, WorkerError) as error:
            log.exception("could not keep audio on the volume")
            raise failure from error

    def _remember(self, job: Job, reply: Mapping[str, Any], delivered: Delivered, name: str) -> None:
        if job.input is None or job.part:
            return
        file, key = (name, None) if delivered.audio_path else (None, name)
        told = {**reply, "warnings": [*reply.get("warnings", []), *delivered.warnings]}
        self._finished.remember(job.id, job.input, Finished(told, file, key))

    def _bucket_of(self, job: Job) -> Bucket | None:
        """Raises InvalidRequest."""
        if job.s3_config is None:
            return self._bucket
        operators = self._bucket.settings if self._bucket else None
        return Bucket(job_bucket(job.s3_config, operators), self._job_hosts)


def base64_length(byte_count: int) -> int:
    """Characters that base64 makes of so many bytes, padding included."""
    return 4 * ((byte_count + 2) // 3)
