"""``list``, ``show`` and ``stats``: what the store holds."""

from __future__ import annotations

import argparse
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from voice_store.commands.options import Subparsers, find_voice, open_store
from voice_store.commands.terminal import print_json, print_table, say
from voice_store.reader import StoreReader


def add_commands(commands: Subparsers) -> None:
    command = commands.add_parser("list", help="print all voices, or those that match")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--gender")
    command.add_argument("--language")
    command.add_argument(
        "--tag", action="append", default=[], dest="tags", metavar="TAG", help="many: voices that have all"
    )
    command.add_argument("--query", metavar="TEXT", help="part of a name, a description, a tag or an id")
    command.set_defaults(run=list_voices)

    command = commands.add_parser("show", help="print what is known about a voice")
    command.add_argument("voice", metavar="NAME_OR_ID")
    command.set_defaults(run=show)

    command = commands.add_parser("stats", help="count voices, hours and bytes")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=show_stats)


def list_voices(options: argparse.Namespace) -> int:
    voices = [voice for voice in open_store(options).list() if _matches(voice, options)]
    if options.json:
        print_json(voices)
    elif voices:
        _print_voices(voices)
    else:
        say("no voices")
    return 0


def show(options: argparse.Namespace) -> int:
    print_json(find_voice(options, options.voice))
    return 0


def show_stats(options: argparse.Namespace) -> int:
    stats = _count(StoreReader(options.dir))
    if options.json:
        print_json(stats)
        return 0
    damaged = stats["damaged_voices"]
    say(
        f"voices   {stats['total_voices']}"
        + (f", of which {damaged} damaged; check says more" * (damaged > 0))
    )
    say(f"audio    {_duration(stats['audio_seconds'])}")
    say(f"on disk  {stats['bytes_on_disk'] / 1e6:.1f} MB")
    for heading, key in (("GENDER", "genders"), ("LANGUAGE", "languages"), ("TAG", "tags")):
        if stats[key]:
            say("")
            print_table([(heading, "VOICES"), *((name, str(count)) for name, count in stats[key].items())])
    return 0


def _matches(voice: Mapping[str, Any], options: argparse.Namespace) -> bool:
    for field in ("gender", "language"):
        wanted = getattr(options, field)
        if wanted is not None and _fold(voice[field] or "") != _fold(wanted):
            return False
    if not set(map(_fold, options.tags)) <= set(map(_fold, voice["tags"])):
        return False
    texts = (voice["voice_id"], voice["speaker_name"], voice["description"] or "", *voice["tags"])
    return options.query is None or any(_fold(options.query) in _fold(text) for text in texts)


def _fold(text: str) -> str:
    """For comparing whatever the case and the Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def _print_voices(voices: Sequence[Mapping[str, Any]]) -> None:
    rows = [("ID", "NAME", "GENDER", "LANGUAGE", "SECONDS", "CREATED", "TAGS", "DESCRIPTION")]
    for voice in voices:
        rows.append(
            (
                voice["voice_id"],
                voice["speaker_name"],
                voice["gender"],
                voice["language"] or "",
                "?" if voice["duration"] is None else f"{voice['duration']:.1f}",
                voice["created_at"],
                ", ".join(voice["tags"]),
                voice["description"] or "",
            )
        )
    print_table(rows)


def _count(reader: StoreReader) -> dict[str, Any]:
    """damaged_voices: those that are known to be, without reading them all."""
    voices = list(reader.library.voices.values())
    durations_s = [voice["duration"] for voice in voices if voice["duration"] is not None]
    stamps = map(reader.folders.voices.stamp, reader.voice_ids)
    return {
        "total_voices": len(reader.voice_ids),
        "damaged_voices": len(reader.voice_ids) - len(durations_s),
        "audio_seconds": round(sum(durations_s), 2),
        "bytes_on_disk": sum(stamp.size for stamp in stamps if stamp is not None),
        "genders": _most_first(voice["gender"] for voice in voices),
        "languages": _most_first(voice["language"] for voice in voices if voice["language"]),
        "tags": _most_first(tag for voice in voices for tag in voice["tags"]),
    }


def _most_first(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _duration(duration_s: float) -> str:
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} (h:mm:ss)"
