"""The worker's own program around a synthesizer without a model, for tests that run it as a process.

The text of a job says what its speaking is like: "wait" until the file ``go`` is in the working directory or
the job is cancelled, "hang" until the file is there, "lose the GPU", "break", anything else: speak. The file
``silent`` makes the fitness check of the model fail. With NO_VOLUME in the environment there is no volume.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import handler
from errors import DeviceLost, ModelUnavailable
from tests.fakes import FakeSynthesizer, build_worker

GO, SILENT, BEGUN = Path("go"), Path("silent"), Path("begun")


class FaultySynthesizer(FakeSynthesizer):
    def check(self) -> None:
        if SILENT.exists():
            raise ModelUnavailable("no sound comes")

    def synthesize(self, utterances, cancel, *, hop="whole"):
        BEGUN.touch()
        text = utterances[0].text
        if "lose the GPU" in text:
            raise DeviceLost("the GPU failed", hint="send the job again")
        if "break" in text:
            raise RuntimeError(f"error in {__file__} on host-of-the-tests")
        while ("wait" in text or "hang" in text) and not GO.exists():
            if "wait" in text:
                cancel.raise_if_cancelled()
            time.sleep(0.01)
        yield from super().synthesize(utterances, cancel, hop=hop)


worker = build_worker(
    Path.cwd(),
    FaultySynthesizer(),
    settings=handler.warm_settings(),
    stop_grace_s=0.5,
    has_volume="NO_VOLUME" not in os.environ,
)
handler.warm_worker = lambda: worker

if __name__ == "__main__":
    handler.main()
