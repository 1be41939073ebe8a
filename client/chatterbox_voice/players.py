"""Programs of the system that play audio."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Player:
    """A program that plays audio."""

    name: str
    arguments: tuple[str, ...]
    format: str  # that it surely plays
    reads_stdin: bool  # else it wants a file, whose name follows the arguments

    def play(self, parts: Iterable[bytes]) -> int:
        """Plays audio while it comes; returns the program's exit status."""
        if self.reads_stdin:
            return self._play_piped(parts)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"speech.{self.format}"
            with file.open("wb") as opened:
                for part in parts:
                    opened.write(part)
            return subprocess.run([self.name, *self.arguments, file], check=False).returncode  # noqa: S603

    def _play_piped(self, parts: Iterable[bytes]) -> int:
        command = [self.name, *self.arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:  # noqa: S603  # a name of ours
            assert process.stdin is not None
            try:
                for part in parts:
                    process.stdin.write(part)
                    process.stdin.flush()
                process.stdin.close()
            except BrokenPipeError:  # somebody has closed the player
                pass
            except BaseException:
                process.kill()
                raise
            return process.wait()


# In the order in which they are looked for: those that play while the audio comes go first. sox ("play")
# and aplay get WAV, which needs no decoder.
PLAYERS = (
    Player("ffplay", ("-nodisp", "-autoexit", "-loglevel", "error", "-i", "-"), "mp3", reads_stdin=True),
    Player("mpv", ("--no-video", "--no-terminal", "-"), "mp3", reads_stdin=True),
    Player("play", ("-q", "-t", "wav", "-"), "wav", reads_stdin=True),
    Player("aplay", ("-q", "-"), "wav", reads_stdin=True),
    Player("paplay", (), "wav", reads_stdin=False),
    Player("afplay", (), "mp3", reads_stdin=False),
)


def find_player() -> Player | None:
    """Returns the first player that this system has, or None."""
    return next((player for player in PLAYERS if shutil.which(player.name)), None)
