"""Writes what speaking reads of the weights into one file beside them: a worker then starts sooner.

    python -m scripts.repack [FOLDER]

FOLDER holds the files of the published repository; without it the weights are looked for, and downloaded,
as a worker does that has no CHECKPOINT_DIR. The file is used by itself wherever PRECISION=auto computes in
bfloat16; remove it, and nothing is lost.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from errors import WorkerError
from speech.models.spec import CHATTERBOX, MODELS, ModelSource
from speech.weights.files import fingerprint
from speech.weights.find import find_model
from speech.weights.pack import write_packed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.repack", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args(arguments)
    revision = os.environ.get("MODEL_REVISION") or "main"
    name = os.environ.get("MODEL") or CHATTERBOX.name
    if name not in MODELS:
        sys.exit(f"MODEL must be one of {', '.join(MODELS)}, not {name!r}")
    try:
        source = ModelSource(name, revision, options.folder)
        spec, checkpoint = find_model(source, token=os.environ.get("HF_TOKEN"))
        content = fingerprint(checkpoint.files(spec.files.all))
        file = write_packed(checkpoint.folder, spec.files, content)
    except WorkerError as error:
        sys.exit(f"{error.code}: {error.message}")
    except OSError as error:
        sys.exit(f"the file cannot be written beside the weights: {error}")
    print(f"{file}: {file.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
