"""``python -m voice_store``: the voices of a folder, from a terminal."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from errors import WorkerError
from voice_store import commands, pronunciation_commands, starters
from voice_store.mount import missing_folder
from voice_store.plain_files import reason
from voice_store.terminal import LogFormatter, Parser, complain, sentence_of

DEFAULT_FOLDER = Path("voice_embeddings")
# As a shell reports what ends a program from outside.
STOPPED = 130
PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 1 when it failed or found damage. Exits with 2 when it was mistyped."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # terminals that cannot show every name
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("voice_store: %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        missing = missing_folder(options.dir)
        if missing is not None:
            complain(
                f"voice_store: the folder {missing} is missing; make it, or mount the volume that it is on"
            )
            return 1
        status = run(options)
        sys.stdout.flush()  # so that a closed pipe shows here
        return status
    except WorkerError as error:
        complain(f"voice_store: {sentence_of(error)}")
    except BrokenPipeError:  # the reader of the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        complain(f"voice_store: {error.filename or 'the volume'}: {reason(error)}")
    except KeyboardInterrupt:
        complain("voice_store: stopped; what was done so far stays")
        return STOPPED
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m voice_store", description=__doc__)
    parser.add_argument(
        "--dir",
        type=Path,
        default=DEFAULT_FOLDER,
        help="the store's folder, as the worker's VOICE_STORE_DIR names it (default: ./%(default)s)",
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for subject in (commands, pronunciation_commands, starters):
        subject.add_commands(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
