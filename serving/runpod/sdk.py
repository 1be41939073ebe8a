"""The RunPod SDK, imported without what its import does besides."""

from __future__ import annotations

from typing import Any


def import_sdk() -> Any:
    """Imports the ``runpod`` package without asking about the CPU. Returns the package.

    Its debugger, which prints the CPU's name, asks for it at each import: py-cpuinfo then runs CPUID in
    processes of its own and counts the clock's ticks for a second, which takes 1.1 s of CPU time at a start.
    """
    import cpuinfo

    ask = cpuinfo.get_cpu_info
    cpuinfo.get_cpu_info = lambda: {"brand_raw": "not asked"}
    try:
        import runpod
    finally:
        cpuinfo.get_cpu_info = ask
    return runpod
