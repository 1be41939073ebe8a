"""Which way finished audio takes.

A platform drops a reply that is too large. Audio that does not fit goes to a bucket or to a folder on the
volume, and audio that a bucket does not take stays on the volume: it is thrown away only where there is
neither.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from audio.network import HostPolicy
from cancel import CancelToken
from delivery.records import Record, ResultRecords
from delivery.s3 import Bucket, BucketError, job_bucket
from delivery.spill import SPILL_FOLDER, Spill
from delivery.sweeping import start_sweeping
from errors import DeliveryFailed, InvalidRequest, OutputTooLarge, WorkerError

ENVELOPE_BYTES = 4096  # what the SDK and the platform put around a reply, rounded up generously

DeliveryMode = Literal["auto", "inline", "s3", "volume"]

log = logging.getLogger(__name__)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def posted_bytes(value: object) -> int:
    """Bytes of a value as the SDK posts it. Raises TypeError or ValueError for what cannot be posted."""
    return len(_encode(value).encode())


def base64_length(byte_count: int) -> int:
    """Characters that base64 makes of so many bytes, padding included."""
    return 4 * ((byte_count + 2) // 3)


@dataclass(frozen=True)
class Target:
    """Where the audio of one job is to go."""

    job_id: str
    mode: DeliveryMode = "auto"
    bucket: Bucket | None = None  # the job's own, else the operator's
    job_input: Mapping[str, Any] | None = None  # what a repetition of the job has too; None: it has none


@dataclass(frozen=True)
class Delivered:
    """Where the audio went: exactly one of the three."""

    audio: str | None = None  # base64, to be put into the reply
    audio_path: str | None = None  # a file on the volume
    audio_url: str | None = None  # of a bucket, signed
    warnings: tuple[str, ...] = ()

    def fields(self) -> dict[str, str]:
        """The one of the three that there is, as a reply has it."""
        places = {"audio": self.audio, "audio_url": self.audio_url, "audio_path": self.audio_path}
        return {name: place for name, place in places.items() if place is not None}


class Delivery:
    """Brings encoded audio to the caller."""

    def __init__(
        self,
        spill: Spill | None,
        bucket: Bucket | None = None,
        job_hosts: HostPolicy | None = None,
    ) -> None:
        """spill: the folder on the volume; None where files would end with this worker.

        bucket: the operator's; a job may bring its own. job_hosts: which addresses the bucket of a job may
        have; by default public ones, over https.
        """
        self._spill, self._bucket, self._job_hosts = spill, bucket, job_hosts
        self._records = None if spill is None else ResultRecords(spill)

    def start_sweeping(self) -> None:
        """Sweeps the folder on the volume now and every hour, in a thread of its own; without one nothing."""
        if self._spill is not None:
            start_sweeping(self._spill)

    def validate(
        self,
        mode: DeliveryMode,
        job_id: str,
        cancel: CancelToken,
        *,
        s3_config: Mapping[str, Any] | None = None,
        job_input: Mapping[str, Any] | None = None,
    ) -> Target:
        """Returns the target of the job's audio, before any work is done.

        s3_config: the job's own bucket. job_input: see ``Target``. Raises InvalidRequest, FetchRefused,
        FetchFailed when the job asks for a way that does not exist; Cancelled.
        """
        bucket = self._bucket
        if s3_config is not None:
            settings = job_bucket(s3_config, bucket.settings if bucket is not None else None)
            bucket = Bucket(settings, self._job_hosts)
            bucket.check_endpoint("s3Config.endpointUrl", cancel)
        if mode == "s3" and bucket is None:
            raise InvalidRequest(
                "'s3' is not possible: no bucket is set up here",
                field="delivery",
                hint="send s3Config beside input, or another delivery",
            )
        if mode == "volume" and self._spill is None:
            raise InvalidRequest(
                "'volume' is not possible: no network volume is attached to this endpoint",
                field="delivery",
                hint="send 'auto', or 's3' with a bucket",
            )
        return Target(job_id, mode, bucket, job_input)

    def has_room_beside_the_reply(self, target: Target) -> bool:
        """Whether audio that does not fit into the reply can go, or be kept, elsewhere."""
        return self._spill is not None or (target.bucket is not None and target.mode != "inline")

    def previous_result(self, target: Target, cancel: CancelToken) -> dict[str, Any] | None:
        """Returns what is left of the reply that this job had before, when its audio was delivered elsewhere.

        Nothing that was text is in it, see ``delivery.records``. None for a job that has to be done. Raises
        Cancelled.
        """
        if self._records is None or self._spill is None or target.job_input is None:
            return None
        if (found := self._records.find(target.job_id, target.job_input)) is None:
            return None
        if found.file is not None:
            return {**found.reply, "audio_path": str(self._spill.path.resolve() / found.file)}
        assert found.key is not None
        if target.bucket is None:
            return None
        try:
            return {**found.reply, "audio_url": target.bucket.url(found.key, cancel)}
        except BucketError:
            return None

    def deliver(
        self,
        audio: bytes,
        target: Target,
        *,
        extension: str,
        content_type: str,
        reply: Mapping[str, Any],
        limit_bytes: int | None,
        hint: str,
        cancel: CancelToken,
    ) -> Delivered:
        """Puts the audio where the caller can get it.

        extension: of the file's name, without the dot. reply: all but the audio; what is not text in it is
        recorded with audio that goes elsewhere. limit_bytes: the largest reply that arrives; None: any size
        does. hint: what to do for less audio. Raises OutputTooLarge, DeliveryFailed, Cancelled.
        """
        needed_bytes = base64_length(len(audio)) + posted_bytes(reply) + ENVELOPE_BYTES
        fits = limit_bytes is None or needed_bytes <= limit_bytes
        if target.mode in ("auto", "inline") and fits:
            return Delivered(audio=base64.b64encode(audio).decode("ascii"))
        too_large = f"the reply would have {needed_bytes} bytes and {limit_bytes} is the platform's limit"
        name = self.file_name(target, extension)
        if not self.has_room_beside_the_reply(target):
            raise OutputTooLarge(too_large, hint=hint)
        if target.mode == "inline":
            self._keep(name, audio, OutputTooLarge(too_large, hint=hint))
            raise OutputTooLarge(
                f"{too_large}; the audio is kept on the volume as {SPILL_FOLDER}/{name}",
                hint=f"send delivery 'auto' to get its path, or {hint}",
            )
        try:
            delivered = self.deliver_elsewhere(audio, target, name, content_type, cancel)
        except DeliveryFailed as error:
            if target.mode == "auto" and target.bucket is None:
                raise OutputTooLarge(too_large, hint=hint) from error
            raise
        if target.mode == "auto":
            where = "audio_path on the volume" if delivered.audio_path else "audio_url"
            note = f"{too_large}: the audio is in {where}; else {hint}"
            delivered = replace(delivered, warnings=(*delivered.warnings, note))
        self._remember(target, reply, delivered, name)
        return delivered

    def deliver_elsewhere(
        self,
        audio: bytes,
        target: Target,
        name: str,
        content_type: str,
        cancel: CancelToken,
    ) -> Delivered:
        """Puts the audio into the bucket or onto the volume. Raises DeliveryFailed, Cancelled."""
        cancel.raise_if_cancelled()
        bucket = target.bucket
        if bucket is None or target.mode == "volume":
            not_taken = DeliveryFailed(
                "the volume did not take the audio", hint="check that it is mounted and not full"
            )
            return Delivered(audio_path=self._keep(name, audio, not_taken))
        try:
            bucket.upload(name, audio, content_type, cancel)
            return Delivered(audio_url=bucket.url(name, cancel))
        except BucketError as error:
            failed = f"the upload to the bucket failed: {error}"
            if self._spill is None:
                raise DeliveryFailed(failed, hint="send the job again, or with another bucket") from error
            path = self._keep(name, audio, DeliveryFailed(f"{failed}, and the volume did not take the audio"))
            if target.mode == "s3":
                raise DeliveryFailed(
                    f"{failed}; the audio is kept on the volume as {SPILL_FOLDER}/{name}"
                ) from error
            log.warning("%s", failed, exc_info=error)
            return Delivered(audio_path=path, warnings=(failed,))

    @staticmethod
    def file_name(target: Target, extension: str, part: int | None = None) -> str:
        """The name of the job's audio outside of the reply. part: of a stream, which piece it is."""
        suffix = "" if part is None else f".{part:04d}"
        return f"{Spill.stem(target.job_id)}{suffix}.{extension}"

    def _keep(self, name: str, audio: bytes, failure: WorkerError) -> str:
        """Returns the path of the file on the volume. Raises ``failure``."""
        if self._spill is None:
            raise failure
        try:
            return str(self._spill.write_audio(name, audio))
        except (OSError, WorkerError) as error:
            log.exception("could not keep audio on the volume")
            raise failure from error

    def _remember(self, target: Target, reply: Mapping[str, Any], delivered: Delivered, name: str) -> None:
        if target.job_input is None or self._records is None:
            return
        file, key = (name, None) if delivered.audio_path else (None, name)
        self._records.write(target.job_id, target.job_input, Record(dict(reply), file, key))
