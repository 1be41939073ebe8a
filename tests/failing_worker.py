"""The worker's own program around a speaker that breaks, for tests that run it as a process."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import handler
from tests.fakes import FakeSpeaker, build_services

services = build_services(
    Path.cwd(), FakeSpeaker(failure=RuntimeError(f"CUDA error in {__file__} on host-of-the-tests"))
)
handler.warm_services = lambda: services

if __name__ == "__main__":
    handler.main()
