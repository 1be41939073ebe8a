"""How large a reply may be that the platform carries."""

from __future__ import annotations

from serving.envelope import PIECE_LIMIT_BYTES, Limits

# For a reply, and how the platform names the jobs that came by /runsync.
RUN_REPLY_LIMIT_BYTES = 10_000_000
RUNSYNC_REPLY_LIMIT_BYTES = 20_000_000
RUNSYNC_ID_PREFIX = "sync-"


def queue_limits(job_id: str, is_streamed: bool) -> Limits:
    """Returns the limits of a job that the platform's queue handed out."""
    is_waited_for = job_id.startswith(RUNSYNC_ID_PREFIX)
    result_bytes = RUNSYNC_REPLY_LIMIT_BYTES if is_waited_for else RUN_REPLY_LIMIT_BYTES
    return Limits(PIECE_LIMIT_BYTES if is_streamed else result_bytes, result_bytes)
