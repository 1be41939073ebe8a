"""From encoded audio to where the caller finds it: in the reply, or in a file on the volume.

The platform drops a reply that is too large. Audio that does not fit is written to a folder
beside the voice store, never thrown away.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from errors import OutputTooLarge
from operations.base import ENVELOPE_BYTES, Delivered, Job
from voice_store.files import Folder

SPILL_FOLDER = "audio_out"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InlineOrFile:
    """The ``Delivery`` of this version. spill_dir: where audio goes that a reply cannot hold."""

    spill_dir: Path

    def deliver(
        self, audio: bytes, *, extension: str, inline_only: bool, reply_bytes: int, advice: str, job: Job
    ) -> Delivered:
        """See ``operations.base.Delivery``."""
        needed_bytes = base64_length(len(audio)) + reply_bytes + ENVELOPE_BYTES
        limit_bytes = job.reply_limit_bytes
        if limit_bytes is None or needed_bytes <= limit_bytes:
            return Delivered(audio=base64.b64encode(audio).decode("ascii"))

        too_large = f"the reply would have {needed_bytes} bytes and {limit_bytes} is the platform's limit"
        folder, name = Folder(self.spill_dir), f"{_file_stem(job.id)}.{extension}"
        try:
            folder.make()  # not the one above: when that is missing, the volume is not mounted
            folder.replace(name, audio)
        except OSError as error:
            log.exception("could not keep audio that is too large for a reply")
            raise OutputTooLarge(f"{too_large}; {advice}") from error
        if inline_only:
            raise OutputTooLarge(
                f"{too_large}; the audio is kept on the volume as {self.spill_dir.name}/{name}; "
                f"send delivery 'auto' to get its path, or {advice}"
            )
        return Delivered(
            audio_path=str(self.spill_dir.resolve() / name),
            warnings=(f"{too_large}: the audio is in the file audio_path on the volume; else {advice}",),
        )


def base64_length(byte_count: int) -> int:
    """Characters that base64 makes of so many bytes, padding included."""
    return 4 * ((byte_count + 2) // 3)


def _file_stem(job_id: str) -> str:
    """A name made of the id, so that a job which the platform repeats overwrites its own file.

    Ids that are not plain file names get a part of their hash: no two share a file.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", job_id):
        return job_id
    digest = hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", job_id)[:60].strip("_") + "-" + digest[:16]
