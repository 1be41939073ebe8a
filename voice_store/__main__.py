"""``python -m voice_store``: the voices of a folder, from a terminal."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from errors import VoiceNotFound, WorkerError
from voice_store.embeddings import is_voice_id
from voice_store.saving import read_recording
from voice_store.store import VoiceStore

DEFAULT_FOLDER = Path("voice_embeddings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 1 when it failed, with one line on stderr."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # terminals that cannot show every name
    logging.basicConfig(level=logging.ERROR, format="voice_store: %(message)s")
    run: Callable[[VoiceStore, argparse.Namespace], None] = options.run
    try:
        run(VoiceStore(options.dir), options)
    except WorkerError as fault:
        print(f"voice_store: {fault.message}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def add(store: VoiceStore, options: argparse.Namespace) -> None:
    waveform, warnings = read_recording(options.file, field="FILE")
    result = store.put(
        waveform,
        options.name,
        description=options.description,
        gender=options.gender,
        original_file=options.file.name,
        overwrite=options.overwrite,
    )
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    voice = result.voice
    done = "added" if result.created else "already there"
    print(f"{done}: {voice.name} ({voice.voice_id}), {voice.waveform.duration_s:.1f} s")


def list_voices(store: VoiceStore, options: argparse.Namespace) -> None:
    voices = store.list()
    if options.json:
        print(json.dumps(voices, indent=2, ensure_ascii=False))
    elif voices:
        _print_table(voices)
    else:
        print("no voices")


def show(store: VoiceStore, options: argparse.Namespace) -> None:
    print(json.dumps(_find(store, options.voice), indent=2, ensure_ascii=False))


def remove(store: VoiceStore, options: argparse.Namespace) -> None:
    try:
        voice = _find(store, options.voice)
        voice_id, shown = voice["voice_id"], f"{voice['speaker_name']} ({voice['voice_id']})"
    except VoiceNotFound:
        if not is_voice_id(options.voice):
            raise
        voice_id = shown = options.voice  # perhaps a damaged file, which no list shows
    if not options.yes and not _confirm(f"remove {shown}? [y/N] "):
        print("kept")
        return
    store.delete(voice_id=voice_id)
    print(f"removed: {shown}")


def _find(store: VoiceStore, name_or_id: str) -> dict[str, Any]:
    try:
        return store.metadata(name=name_or_id)
    except VoiceNotFound as by_name:
        if is_voice_id(name_or_id):
            try:
                return store.metadata(voice_id=name_or_id)
            except VoiceNotFound:
                raise by_name from None  # it names the nearest
        raise


def _confirm(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _print_table(voices: Sequence[dict[str, Any]]) -> None:
    rows = [("ID", "NAME", "GENDER", "SECONDS", "CREATED", "DESCRIPTION")]
    for voice in voices:
        seconds = "?" if voice["duration"] is None else f"{voice['duration']:.1f}"
        identity = (voice["voice_id"], voice["speaker_name"], voice["gender"])
        rows.append((*identity, seconds, voice["created_at"], voice["description"] or ""))
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _columns(text: str) -> int:
    """How wide a terminal draws it."""
    drawn = (character for character in text if unicodedata.category(character) not in ("Mn", "Me", "Cf"))
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in drawn)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m voice_store", description=__doc__)
    parser.add_argument(
        "--dir",
        type=Path,
        default=DEFAULT_FOLDER,
        help="the store's folder, as the worker's VOICE_STORE_DIR names it (default: ./%(default)s)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("add", help="keep a recording as a voice")
    command.add_argument("file", type=Path, metavar="FILE", help="WAV, FLAC, OGG, Opus or MP3")
    command.add_argument("--name", required=True)
    command.add_argument("--description")
    command.add_argument("--gender")
    command.add_argument("--overwrite", action="store_true", help="replace a voice of that name")
    command.set_defaults(run=add)

    command = commands.add_parser("list", help="print all voices")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=list_voices)

    command = commands.add_parser("show", help="print what is known about a voice")
    command.add_argument("voice", metavar="NAME_OR_ID")
    command.set_defaults(run=show)

    command = commands.add_parser("remove", help="remove a voice")
    command.add_argument("voice", metavar="NAME_OR_ID")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.set_defaults(run=remove)
    return parser


if __name__ == "__main__":
    sys.exit(main())
