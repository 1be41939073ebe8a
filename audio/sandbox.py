"""Takes from the calling process what it needs to reach anything but its own memory and its open files.

Used by the program that decodes strangers' recordings. It imports the standard library alone. Linux only.
Each protection that the kernel refuses is left out and named, and the others still apply.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
from collections.abc import Callable

_NOBODY = 65_534  # the user and group that own nothing, on every Linux

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SECCOMP_MODE_FILTER = 2
_RET_KILL_PROCESS, _RET_ERRNO, _RET_ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000

# Classic BPF (linux/bpf_common.h) over struct seccomp_data (linux/seccomp.h).
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_THIRD_ARGUMENT = 0, 4, 32
_ARCH_X86_64 = 0xC000_003E
_X32_NUMBERS = 0x4000_0000  # the second set of numbers that the same processors take
_PROT_EXEC = 4

# What an interpreter with everything loaded still calls (numbers of x86-64): memory, its open files, clocks.
_ALLOWED = {
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "lseek": 8,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "pread64": 17,
    "pwrite64": 18,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "getpid": 39,
    "exit": 60,
    "gettimeofday": 96,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "exit_group": 231,
    "getrandom": 318,
}
_ALLOWED_UNLESS_EXECUTABLE = {"mmap": 9, "mprotect": 10}


def enter_sandbox(*, cpu_s: int, memory_bytes: int, file_bytes: int) -> list[str]:
    """Restricts the process for the rest of its life. To be called once, with one thread.

    Afterwards the process cannot open a file or socket, start a process or program, signal or read another
    process, or use more than ``cpu_s`` seconds of CPU time, ``memory_bytes`` of private memory and files
    longer than ``file_bytes``. Files that are open stay so.

    Returns the protections that the kernel refused, each with the name of its error; usually none. The
    limits of resources always apply.
    """
    missing: list[str] = []
    _attempt("another user", _become_nobody, missing)
    limits = {
        # SIGXCPU at the first value tells the parent what happened; SIGKILL at the second cannot be ignored.
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
        resource.RLIMIT_DATA: (memory_bytes, memory_bytes),
        resource.RLIMIT_FSIZE: (file_bytes, file_bytes),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (0, 0),  # not even in the place of a file that is closed
        resource.RLIMIT_NPROC: (0, 0),
    }
    for limit, values in limits.items():
        most = resource.getrlimit(limit)[1]
        soft, hard = (value if most == resource.RLIM_INFINITY else min(value, most) for value in values)
        resource.setrlimit(limit, (soft, hard))
    _attempt("no_new_privs", lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0), missing)
    _attempt("the filter of system calls", _filter_system_calls, missing)
    return missing


def end_with_parent() -> None:
    """Lets the kernel kill the calling process when the one that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0)


def _attempt(name: str, protect: Callable[[], None], missing: list[str]) -> None:
    try:
        protect()
    except OSError as error:
        missing.append(f"{name} ({errno.errorcode.get(error.errno or 0, 'unknown')})")


def _become_nobody() -> None:
    """As another user the process cannot read its parent's environment or memory, or signal it.

    Only root may change its user. A process of any other user keeps it.
    """
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    end_with_parent()  # which the kernel forgets with the user


def _filter_system_calls() -> None:
    if os.uname().machine != "x86_64":
        raise OSError(errno.ENOSYS, "the numbers of system calls are those of x86-64")
    program = _program()
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions and a pointer to them.
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


def _program() -> bytes:
    """The filter, as an array of struct sock_filter.

    A call that is not allowed fails with EPERM. A call by the numbers of another architecture ends the
    process.
    """
    denied = _RET_ERRNO | errno.EPERM
    instructions = [
        (_LOAD_WORD, 0, 0, _OFFSET_ARCH),
        (_JUMP_EQUAL, 1, 0, _ARCH_X86_64),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32_NUMBERS),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
    ]
    for number in _ALLOWED.values():
        instructions += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_ALLOW)]
    for number in _ALLOWED_UNLESS_EXECUTABLE.values():
        instructions += [
            (_JUMP_EQUAL, 0, 4, number),
            (_LOAD_WORD, 0, 0, _OFFSET_THIRD_ARGUMENT),
            (_JUMP_ANY_BIT, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, denied),
            (_RETURN, 0, 0, _RET_ALLOW),
        ]
    instructions.append((_RETURN, 0, 0, denied))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _prctl(option: int, second: int, third: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(value) for value in (second, third, 0, 0)]
    if libc.prctl(ctypes.c_int(option), *arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
