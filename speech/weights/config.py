"""The file ``config.json`` beside weights, which says what their names and shapes cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from errors import ModelUnavailable

CONFIG_FILE = "config.json"  # of checkpoints of our own; the published repositories have none
CONFIG_FORMAT = "chatterbox-voice-worker/1"


def read_config_file(folder: Path) -> Mapping[str, object] | None:
    """Returns the configuration in a folder; None where there is none, or one of another program.

    Raises ModelUnavailable.
    """
    file = folder / CONFIG_FILE
    if not file.exists():
        return None
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise damaged_config(error) from error
    written_as = config.get("format") if isinstance(config, dict) else None
    if not isinstance(written_as, str) or not written_as.startswith(CONFIG_FORMAT.partition("/")[0] + "/"):
        return None  # ``transformers`` writes files of this name, too
    if written_as != CONFIG_FORMAT:
        raise damaged_config(f"its format is not {CONFIG_FORMAT}")
    return dict(config)


def damaged_config(reason: object) -> ModelUnavailable:
    """Returns the error for a configuration that says something impossible."""
    return ModelUnavailable(
        f"{CONFIG_FILE} beside the weights is damaged, or of another version of this worker: {reason}",
        hint="take the checkpoint's own file, or write the checkpoint again",
    )
