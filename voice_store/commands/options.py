"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from errors import VoiceNotFound
from voice_store.live import Timing
from voice_store.names import is_voice_id
from voice_store.reader import StoreReader
from voice_store.store import VoiceStore

Subparsers = Any  # argparse has no public name for what add_subparsers() returns


def open_store(options: argparse.Namespace) -> VoiceStore:
    """Looks at the volume once: whoever types a wrong name is told so at once."""
    return VoiceStore(options.dir, Timing(settle_s=0))


def add_details(command: argparse.ArgumentParser) -> None:
    command.add_argument("--description")
    command.add_argument("--gender")
    command.add_argument("--language", help="a code such as en")
    command.add_argument("--tag", action="append", dest="tags", metavar="TAG", help="may be given many times")


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The details that are given, as the store's methods take them."""
    return {key: getattr(options, key) for key in ("description", "gender", "language", "tags")}


def add_jobs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--jobs",
        type=_count,
        default=1,
        metavar="N",
        help="processes that read audio at the same time (default: 1)",
    )


def path(text: str) -> Path:
    """A file or a folder; an empty text, of a variable that is not set, names neither."""
    if not text:
        raise argparse.ArgumentTypeError("give a file or a folder, not an empty text")
    return Path(text)


def find_voice(options: argparse.Namespace, name_or_id: str) -> dict[str, Any]:
    """What is known about a voice, a damaged one too; a name goes before an id.

    Raises VoiceNotFound with the nearest names.
    """
    store = open_store(options)
    try:
        return store.metadata(name=name_or_id)
    except VoiceNotFound:
        # One that is damaged may be in no index.
        if is_voice_id(name_or_id) and name_or_id in (reader := StoreReader(options.dir)).voice_ids:
            return reader.metadata(name_or_id)
        raise


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number from 1 on")
    return number
