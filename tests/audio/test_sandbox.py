"""Hostile code in the decoder's place, in the same sandbox: what it tries is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# Runs as the decoder does: isolated, in an empty environment, after everything was loaded. {prepare} may take
# a layer of the sandbox away; {attack} sets `outcome` when it reaches something.
_PROGRAM = """
import ctypes, json, mmap, os, signal, socket, sys
sys.path.append({repository!r})
from audio import sandbox
libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
outcome = None
{prepare}
missing = sandbox.enter_sandbox(cpu_s=2, memory_bytes=256 * 2**20, file_bytes=2**20)
try:
    {attack}
except (OSError, ValueError):  # ValueError: how Python tells that a limit cannot be lifted
    pass
os.write(1, json.dumps([missing, str(outcome)]).encode())
os._exit(0)
"""

ATTACKS = {
    "open a file": "outcome = open('/etc/passwd').read()",
    "write a file": "outcome = open('/tmp/left-behind-by-the-decoder', 'w')",
    "open a file in the place of a closed one": "os.close(0); outcome = os.open('/etc/passwd', os.O_RDONLY)",
    "list a folder": "outcome = os.listdir('/')",
    "look at a file": "outcome = os.stat('/etc/passwd')",
    "read the parent's environment": "outcome = open(f'/proc/{parent}/environ', 'rb').read()",
    "open the parent's memory": "outcome = open(f'/proc/{parent}/mem', 'rb')",
    "read the parent's memory": "outcome = call(310, parent, 0, 0, 0, 0, 0)",
    "trace the parent": "outcome = call(101, 16, parent, 0, 0)",
    "signal the parent": "os.kill(parent, 0); outcome = 'reached'",
    "open a socket": "outcome = socket.socket()",
    "a pair of sockets": "outcome = socket.socketpair()",
    "fork": "outcome = os.fork() or os._exit(0)",
    "start a thread or process by clone3": "outcome = call(435, 0, 0)",
    "run a program": "os.execv('/bin/true', ['true'])",
    "code in memory": "outcome = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "io_uring": "outcome = call(425, 1, 0)",
    "become root again": "os.setuid(0); outcome = 'root'",
    "a new namespace": "outcome = call(272, 0x10000000)",
    "lift a limit": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)); outcome = 'lifted'",
}
# What the limits and the other user hold back where the kernel has no filter of system calls.
WITHOUT_A_FILTER = [
    "open a file",
    "write a file",
    "open a file in the place of a closed one",
    "read the parent's environment",
    "open the parent's memory",
    "trace the parent",
    "signal the parent",
    "open a socket",
    "fork",
    "become root again",
    "lift a limit",
]


def attack(name: str, prepare: str = "") -> tuple[list[str], str]:
    """The protections that were missing, and what the attack reached: "None" for nothing."""
    program = _PROGRAM.format(repository=str(REPOSITORY), prepare=prepare, attack=ATTACKS[name])
    finished = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, env={}, check=False)
    assert finished.returncode == 0, finished.stderr.decode()
    missing, outcome = json.loads(finished.stdout)
    return missing, outcome


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_code_reaches_nothing(name):
    missing, outcome = attack(name)
    assert outcome == "None"
    assert missing == [] or os.getuid() != 0


@pytest.mark.parametrize("name", WITHOUT_A_FILTER)
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_without_the_filter_of_system_calls_it_still_reaches_nothing(name):
    refuse = "def refuse(): raise OSError(38, 'no such call')\nsandbox._filter_system_calls = refuse"
    missing, outcome = attack(name, prepare=refuse)
    assert missing == ["the filter of system calls (ENOSYS)"]
    assert outcome == "None"


def test_the_attacks_succeed_without_a_sandbox():
    """Else the tests above would show nothing."""
    harmless = "sandbox.enter_sandbox = lambda **_: []"
    for name in (
        "open a file",
        "read the parent's environment",
        "signal the parent",
        "open a socket",
        "fork",
    ):
        assert attack(name, prepare=harmless)[1] != "None"


def test_another_set_of_system_calls_ends_the_process():
    program = _PROGRAM.format(
        repository=str(REPOSITORY), prepare="", attack="outcome = call(0x40000000 + 39)"
    )
    finished = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, env={}, check=False)
    assert finished.returncode == -31  # SIGSYS
    assert finished.stdout == b""
