"""A program that forks a sandboxed process for each recording to decode.

    python -I ffmpeg_server.py < SOCKET

Loading Python's and FFmpeg's libraries takes 0.2 s, a fork of a process that has them takes milliseconds.
This process reads nothing that a caller sent.

SOCKET is one end of a pair (AF_UNIX, SOCK_SEQPACKET). Each of its messages is a byte that names the limits
(``audio.limits.LIMITS_BY_REQUEST``) and carries three file descriptors: the recording, the file for the
samples (see ``ffmpeg_child``), and one end of another pair. That receives ``FORKED`` when the process that
decodes has been forked, and then its exit status, a C int, negative for a signal; it is closed without a word
when no process could be forked. When its other end is closed the process is killed. The program ends when
SOCKET is closed and all processes have ended; they end with it.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # -I leaves it out

from audio.sandbox import end_with_parent

FORKED = b"."
EXIT_STATUS = struct.Struct("@i")
_REQUEST_FDS = 3
_MAX_FDS = 4096


class DecoderServer:
    """Forks a process for each request and passes on how it ended."""

    def __init__(self, requests: socket.socket, work: Callable[[bytes], object]) -> None:
        """Keeps the socket and the work, which runs with a recording as input and the samples as output.

        work: called with the request's byte.
        """
        self._requests, self._work, self._pid = requests, work, os.getpid()
        self._controls: dict[int, socket.socket] = {}  # by process id
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Returns when the socket of requests is closed and the last process has ended."""
        ended, wakeup = socket.socketpair()
        ended.setblocking(False)
        wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # ignored signals do not write to the descriptor
        signal.set_wakeup_fd(wakeup.fileno())
        self._selector.register(self._requests, selectors.EVENT_READ, self._accept)
        self._selector.register(ended, selectors.EVENT_READ, lambda: self._reap(ended))
        while self._requests.fileno() != -1 or self._controls:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._requests, 1, _REQUEST_FDS)
        if not message:
            self._selector.unregister(self._requests)
            self._requests.close()
            return
        try:
            recording, samples, control_fd = descriptors  # ValueError: there was no room for all of them
            pid = os.fork()
        except (ValueError, OSError):
            for descriptor in descriptors:
                os.close(descriptor)
            return
        if pid == 0:
            self._decode(message, recording, samples)
        os.close(recording)
        os.close(samples)
        control = socket.socket(fileno=control_fd)
        self._controls[pid] = control
        self._selector.register(control, selectors.EVENT_READ, lambda: self._kill(pid, control))
        _send(control, FORKED)

    def _decode(self, request: bytes, recording: int, samples: int) -> None:
        """Becomes the process that decodes. Never returns."""
        exit_status = 1
        try:
            end_with_parent()
            if os.getppid() != self._pid:
                return
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(recording, 0)
            os.dup2(samples, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.closerange(3, _MAX_FDS)  # this server's sockets among them
            self._work(request)
            exit_status = 0
        except SystemExit as error:
            exit_status = error.code if isinstance(error.code, int) else 1
        finally:
            os._exit(exit_status)

    def _kill(self, pid: int, control: socket.socket) -> None:
        """Ends a process that nobody waits for any more."""
        if self._controls.get(pid) is not control:
            return  # it ended by itself; ``select`` returned both events at once
        self._selector.unregister(control)
        os.kill(pid, signal.SIGKILL)  # not yet waited for, so the number is still its own

    def _reap(self, ended: socket.socket) -> None:
        with suppress(BlockingIOError):
            while ended.recv(4096):
                pass
        while self._controls:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._controls.pop(pid) as control:
                with suppress(KeyError):  # where ``_kill`` was here before
                    self._selector.unregister(control)
                _send(control, EXIT_STATUS.pack(os.waitstatus_to_exitcode(status)))


def _send(control: socket.socket, message: bytes) -> None:
    with suppress(OSError):  # nobody waits for it any more
        control.send(message)


def main() -> None:
    from audio import ffmpeg_child

    ffmpeg_child.load_everything()
    DecoderServer(socket.socket(fileno=os.dup(0)), ffmpeg_child.main).serve()


if __name__ == "__main__":
    main()
