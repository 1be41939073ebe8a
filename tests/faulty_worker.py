"""The worker's own program around a speaker without a model, for tests that run it as a process.

The text of a job says what its speaking is like: "wait" until the file ``go`` is in the working directory or
nobody listens, "hang" until the file is there, "lose the GPU", "break", anything else: speak. The file
``silent`` makes the fitness check of the model fail.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import handler
from errors import DeviceLost, ModelUnavailable
from serving.worker import Worker
from speech.contract import PATIENT, Listener, SpeechStopped
from tests.fakes import FakeSpeaker, build_services

GO, SILENT, BEGUN = Path("go"), Path("silent"), Path("begun")


class FaultySpeaker(FakeSpeaker):
    def check(self) -> None:
        if SILENT.exists():
            raise ModelUnavailable("no sound comes")

    def speak(self, text, reference, params, listener: Listener = PATIENT):
        BEGUN.touch()
        if "lose the GPU" in text:
            raise DeviceLost("the GPU failed; send the job again")
        if "break" in text:
            raise RuntimeError(f"error in {__file__} on host-of-the-tests")
        while ("wait" in text or "hang" in text) and not GO.exists():
            if "wait" in text and listener.is_gone():
                raise SpeechStopped
            time.sleep(0.01)
        return super().speak(text, reference, params, listener)


services = build_services(Path.cwd(), FaultySpeaker())
worker = Worker(handler.warm_settings(), lambda: services, stop_grace_s=0.5)
handler.warm_worker = lambda: worker

if __name__ == "__main__":
    handler.main()
