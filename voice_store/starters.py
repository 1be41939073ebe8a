"""Starter voices: recordings that come with the project and become voices when somebody asks for it.

``samples/starters/README.md`` says where they come from, and what their licences and speakers allow.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio.decode import decode_audio
from errors import InvalidRequest, VoiceExists
from voice_store.live import Timing
from voice_store.store import PutResult, VoiceStore
from voice_store.terminal import complain, say

FOLDER = Path(__file__).parents[1] / "samples" / "starters"
LIST = "starters.json"
TAG = "starter"


@dataclass(frozen=True)
class Starter:
    """A recording, and the details with which it is stored.

    details: description, gender, language and consent, as ``VoiceStore.put`` takes them; the description
    names the speaker and the licence.
    """

    name: str
    recording: Path
    details: dict[str, Any]


def read_starters(folder: Path = FOLDER) -> list[Starter]:
    """Returns the starter voices that ``starters.json`` in the folder lists.

    Raises InvalidRequest when the list is missing or damaged.
    """
    try:
        entries = json.loads((folder / LIST).read_text("utf-8"))
        return [
            Starter(
                entry["name"],
                folder / entry["file"],
                {key: entry[key] for key in ("description", "gender", "language", "consent")},
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InvalidRequest(
            f"the list of starter voices, samples/starters/{LIST}, is missing or damaged",
            hint="run add-starters in a whole copy of the project",
        ) from fault


def add_starters(
    store: VoiceStore, starters: list[Starter]
) -> Iterator[tuple[Starter, PutResult | VoiceExists]]:
    """Stores the starter voices, and yields for each what ``put`` returned, or that its name is taken.

    A voice that is there already stays as it is, with the details that it has by now; so does another voice
    of the same name. Raises OSError for a missing recording, and what ``VoiceStore.put`` raises.
    """
    for starter in starters:
        waveform = decode_audio(starter.recording.read_bytes(), starter.recording.name)
        try:
            yield (
                starter,
                store.put(
                    waveform,
                    starter.name,
                    tags=[TAG],
                    original_file=starter.recording.name,
                    **starter.details,
                ),
            )
        except VoiceExists as taken:
            yield starter, taken


def add_commands(commands: Any) -> None:
    """Describes ``add-starters`` to the parser."""
    command = commands.add_parser(
        "add-starters",
        help="keep the starter voices that come with the project",
        description="Keeps the starter voices that come with the project. Their origin, licences and what is "
        "known of the speakers' consent are in samples/starters/README.md.",
    )
    command.set_defaults(run=run_add_starters)


def run_add_starters(options: argparse.Namespace) -> int:
    """Prints a line for each starter voice; returns 1 when a name is taken by another voice, else 0."""
    names_taken = 0
    for starter, outcome in add_starters(VoiceStore(options.dir, Timing(settle_s=0)), read_starters()):
        if isinstance(outcome, VoiceExists):
            names_taken += 1
            complain(
                f'voice_store: another voice is named "{starter.name}", and stays; '
                "give it another name with update --new-name, then run add-starters again"
            )
            continue
        fate = "added" if outcome.created else "already there"
        voice = outcome.voice
        say(f"{fate}: {voice.name} ({voice.voice_id}), {voice.waveform.duration_s:.1f} s")
    return 1 if names_taken else 0
