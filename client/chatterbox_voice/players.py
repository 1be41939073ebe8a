"""Programs of the system that play audio."""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import tempfile
import threading
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
        """Feeds the player from a thread of its own.

        The parts are taken as fast as they come: a server makes no more for a reader that is slow, and ends
        a job that takes too long.
        """
        waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with subprocess.Popen([self.name, *self.arguments], stdin=subprocess.PIPE) as process:  # noqa: S603
            feeding = threading.Thread(target=_feed, args=(process, waiting))
            feeding.start()
            try:
                for part in parts:
                    if not feeding.is_alive():  # somebody has closed the player
                        break
                    waiting.put(part)
                waiting.put(None)
                return process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                waiting.put(None)
                feeding.join()


def _feed(process: subprocess.Popen[bytes], waiting: queue.SimpleQueue[bytes | None]) -> None:
    """Writes parts to a process until there is None, or the process has ended."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        while (part := waiting.get()) is not None:
            process.stdin.write(part)
            process.stdin.flush()


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
