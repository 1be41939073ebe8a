"""Makes what the small demonstration model is trained on.

    python -m training [texts|speech] [--folder out/training] [--sentences 20000] [--seed 0]

Without a stage all are run, one after the other; what is there already is not made again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.data import make_speech
from training.texts import make_texts

STAGES = ("texts", "speech")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    parser.add_argument("stage", nargs="?", choices=STAGES)
    parser.add_argument("--folder", type=Path, default=Path("out/training"))
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    texts = options.folder / "texts.txt"
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.stage in (None, "texts") and not texts.exists():
        lines = make_texts(options.sentences, options.seed)
        unfinished = texts.with_suffix(".unfinished")
        unfinished.write_text("\n".join(lines) + "\n")
        unfinished.replace(texts)
    if options.stage in (None, "speech"):
        try:
            make_speech(texts.read_text().splitlines(), options.folder / "speech", options.seed)
        except (FileNotFoundError, RuntimeError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
