"""Writes the store that ``test_old_stores.py`` reads, by the version whose stores have to stay readable.

    git worktree add --detach OLD 7982da0
    cd OLD && PYTHONPATH=OLD python -P HERE/tests/voice_store/make_old_store.py store-before.tar

The file goes to ``data/``.
OLD and HERE are absolute paths. Commit 7982da0 is the last one whose voice files do not say what clone was
told, whose deletions wait in ``deleted/<id>.pending.json``, and whose replacements are promised in
``deleted/<id>.<other>.replaced.json``. The tar holds ``store/`` and ``expected.json``: what that version says
of it.

Notes of that version know the file of a voice by its size and its time to the nanosecond, so each member's
time stands in a header of its own, as decimal digits; a float would not hold them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audio.waveform import Waveform
from voice_store import VoiceStore
from voice_store.live import Timing

EVERY_DETAIL = {
    "description": "calm, from the north",
    "gender": "male",
    "language": "de",
    "tags": ["narration", "ältere Stimme"],
    "default_parameters": {"exaggeration": 0.7, "seed": 3},
    "aliases": ["Benjamin", "b. n."],
    "consent": {"by": "Ben Northman", "date": "2026-01-02", "statement": "My voice may be cloned."},
    "pronunciations": [
        {"text": "Nguyen", "say": "win"},
        {"text": "SQL", "say": "sequel", "case_sensitive": True},
    ],
}
OTHER_DETAILS = {
    "description": "brisk",
    "gender": "female",
    "language": "fr",
    "tags": ["news"],
    "default_parameters": {"temperature": 0.6},
    "aliases": ["Deborah"],
    "consent": {"by": "Dee", "date": "2026-02-03", "statement": "Agreed."},
    "pronunciations": [{"text": "Dee", "say": "dee"}],
}


def waveform(seed: int) -> Waveform:
    """A quarter of a second of steps, the same for the same seed."""
    steps = np.random.default_rng(seed).integers(-8, 9, 60)
    return Waveform(np.repeat(steps / 16, 100).astype(np.float32), 24_000)


def fill(store: VoiceStore, root: Path) -> None:
    """Voices in every state in which that version leaves them when nothing fails."""
    date = "2026-01-{:02}T00:00:00".format
    store.put(waveform(1), "Amy", created_at=date(1), original_file="amy.wav")
    store.put(waveform(2), "Ben", created_at=date(2), **EVERY_DETAIL)
    store.put(waveform(3), "Cy", created_at=date(3), description="as cloned")
    store.update(name="Cy", new_name="Cyrus", description="renamed once")
    store.update(name="Cyrus", new_name="Cyrille")
    store.put(waveform(4), "Dee", created_at=date(4), **EVERY_DETAIL | {"aliases": ["D."]})
    store.update(name="Dee", **OTHER_DETAILS)
    store.put(waveform(5), "Eve", created_at=date(5), description="replaced")
    store.put(waveform(6), "Eve", overwrite=True, description="replaces")
    store.put(waveform(7), "Fay", created_at=date(7))
    store.delete(name="Fay")
    store.put(waveform(8), "Zoë 新", created_at=date(8), voice_id="zoe-v1.2")
    store.put(waveform(9), "Gus", created_at=date(9), description="to be deleted")
    store.update(name="Gus", tags=["gone"])
    store.put(waveform(10), "Hal", created_at=date(10), description="to be replaced")
    store.put(waveform(12), "Ivy", created_at=date(12), description="stays")
    store.put(waveform(14), "Jo", created_at=date(14))
    store.update(name="Jo", description="forgotten later", tags=["one"])
    store.update(name="Jo", description="", tags=[])
    for name in ("Amy", "Gus", "Hal"):
        store.get(name=name).shelf.write("chatterbox", f"what a model made of {name}".encode())
    store.put_pronunciations([{"text": "Saoirse", "say": "seer-sha"}])
    add_what_others_keep(root, store.get(name="Amy").voice_id)
    store.list()


def add_what_others_keep(root: Path, voice_id: str) -> None:
    """Keys and files of other programs, and a further name that one of them gave."""
    catalog = json.loads((root / "voice_catalog.json").read_text())
    catalog[voice_id] |= {"firebase_storage_path": f"voices/{voice_id}", "category": "narration"}
    (root / "voice_catalog.json").write_text(json.dumps(catalog))
    mapping = json.loads((root / "name_mapping.json").read_text())
    (root / "name_mapping.json").write_text(json.dumps(mapping | {"Old Amy": voice_id}))
    stats = json.loads((root / "stats.json").read_text())
    (root / "stats.json").write_text(json.dumps(stats | {"theirs": 1}))
    (root / "quick_index.json").write_text(json.dumps({"theirs": [voice_id]}))


def kill_at(name: str, is_meant: Callable[[str], bool], change: Callable[[], object]) -> None:
    """Makes a change in a process that ends when it calls ``os.<name>`` for such a file."""
    child = os.fork()
    if child == 0:
        call = getattr(os, name)

        def ends(*arguments, **options):
            if any(is_meant(str(argument)) for argument in arguments):
                os._exit(9)
            return call(*arguments, **options)

        setattr(os, name, ends)
        change()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, "it was not killed"


def leave_unfinished(store: VoiceStore) -> None:
    """A deletion, a replacement, and a replacement whose new voice never came, each by a worker that dies."""
    kill_at("unlink", lambda _: True, lambda: store.delete(name="Gus"))
    kill_at(
        "unlink",  # of the name under which the voice was written, after it has got its own
        lambda name: name.endswith(".tmp") and ".pkl.gz." in name,
        lambda: store.put(waveform(11), "Hal", overwrite=True, description="replaces"),
    )
    kill_at(
        "link",
        lambda name: name.endswith(".pkl.gz"),
        lambda: store.put(waveform(13), "Ivy", overwrite=True, description="never came"),
    )


def expected_of(root: Path, folder: Path) -> dict[str, object]:
    """What that version says of the store, asked on a copy, since a reader finishes what others left."""
    shutil.copytree(root, folder / "copy")
    store = VoiceStore(folder / "copy", Timing(settle_s=0))
    voices = {voice["voice_id"]: voice for voice in store.list()}
    notes = [json.loads(path.read_text()) for path in (root / "deleted").iterdir()]
    aliases = {"Old Amy": store.get(name="Amy").voice_id}
    aliases |= {alias: voice_id for voice_id, voice in voices.items() for alias in voice["aliases"]}
    return {
        "voices": list(voices.values()),
        "digests": {voice_id: store.get(voice_id=voice_id).digest for voice_id in voices},
        "aliases": aliases,
        "gone": {
            note["voice"]["voice_id"]: note["name"]
            for note in notes
            if note["voice"]["voice_id"] not in voices
        },
    }


def pack(folder: Path, target: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if path.name == ".indexes.lock":
                continue
            member = tar.gettarinfo(path, str(path.relative_to(folder)))
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            seconds, nanoseconds = divmod(path.stat().st_mtime_ns, 10**9)
            member.pax_headers["mtime"] = f"{seconds}.{nanoseconds:09}"
            with path.open("rb") if path.is_file() else open(os.devnull, "rb") as file:  # noqa: PTH123
                tar.addfile(member, file)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "content" / "store"
        root.parent.mkdir()
        store = VoiceStore(root, Timing(settle_s=0))
        fill(store, root)
        waiting = VoiceStore(root, Timing(settle_s=3600))
        waiting.list()  # or each of the next changes would finish the one before
        waiting.list()
        leave_unfinished(waiting)
        expected = expected_of(root, Path(scratch))
        (root.parent / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False))
        pack(root.parent, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
