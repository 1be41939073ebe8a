"""``export``: voices as files for people and other stores."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from errors import InvalidRequest
from voice_store.commands.options import Subparsers, find_voice, path
from voice_store.commands.terminal import complain, say, sentence_of, with_bar
from voice_store.reader import StoreReader
from voice_store.transfer.description import FORMATS
from voice_store.transfer.exporting import TAR_SUFFIX, export_voices, open_target

_OTHER_ARCHIVES = frozenset({".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"})


def add_commands(commands: Subparsers) -> None:
    command = commands.add_parser("export", help="write voices as audio files and JSON, to a folder or a tar")
    command.add_argument("voices", nargs="*", metavar="NAME_OR_ID", help="which (default: all)")
    command.add_argument("--to", type=path, required=True, metavar="FOLDER_OR_FILE.tar")
    command.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="wav: 32-bit float, the very samples (default); flac: 24 bit, smaller and not quite the same",
    )
    command.add_argument("--force", action="store_true", help="replace files that are there")
    command.set_defaults(run=export, fail=command.error)


def export(options: argparse.Namespace) -> int:
    if options.to.suffix.lower() in _OTHER_ARCHIVES:
        options.fail(f"--to takes a folder or a file that ends in {TAR_SUFFIX}")
    reader = StoreReader(options.dir)
    voice_ids = _choose(reader, options)
    if not voice_ids:
        say("no voices")
        return 0
    with open_target(options.to, replaces=options.force) as target:
        results = export_voices(reader, voice_ids, target, options.format)
        faults = [fault for fault in with_bar(results, len(voice_ids)) if fault is not None]
        for label, fault in faults:
            complain(f"voice_store: {label}: {sentence_of(fault)}")
        if len(faults) == len(voice_ids):
            raise InvalidRequest("nothing was exported")
    say(f"exported: {len(voice_ids) - len(faults)} of {len(voice_ids)} voices to {options.to}")
    return 1 if faults else 0


def _choose(reader: StoreReader, options: argparse.Namespace) -> Sequence[str]:
    """Raises VoiceNotFound before anything is written."""
    if not options.voices:
        return reader.voice_ids
    voice_ids = (
        reader.library.find(voice) or find_voice(options, voice)["voice_id"] for voice in options.voices
    )
    return list(dict.fromkeys(voice_ids))
