"""Writes what speaking reads of the weights into smaller files beside them: a worker then starts sooner.

    python -m scripts.repack [FOLDER]

Packs the models that MODEL names, whose weights are looked for, and downloaded, as a worker does it. FOLDER
holds the files of one model, in place of CHECKPOINT_DIR. The packed files are used by themselves wherever
PRECISION=auto computes in bfloat16; remove them, and nothing is lost.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from errors import WorkerError
from speech.models.sources import model_sources
from speech.weights.find import find_model
from speech.weights.pack import pack_model


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.repack", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args(arguments)
    env = dict(os.environ)
    if options.folder is not None:
        if not options.folder.is_dir():
            sys.exit(f"{options.folder} is no folder")
        env["CHECKPOINT_DIR"] = str(options.folder)
        env.pop("MODEL_REVISION", None)  # which a folder does not have
    sources, problems = model_sources(env)
    if problems:
        sys.exit("; ".join(problems))
    if options.folder is not None and len(sources) > 1:
        sys.exit("FOLDER holds one model, and MODEL names several: set MODEL to that one")
    files = []
    try:
        for source in sources:
            files += pack_model(*find_model(source, token=os.environ.get("HF_TOKEN"), others=sources))
    except WorkerError as error:
        sys.exit(f"{error.code}: {error.message}")
    except OSError as error:
        sys.exit(f"the files cannot be written beside the weights: {error}")
    for file in dict.fromkeys(files):
        print(f"{file}: {file.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
