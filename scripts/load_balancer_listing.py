"""Writes the repository of the Hub's second listing, load-balancing endpoints, which run the same image.

    python -m scripts.load_balancer_listing IMAGE FOLDER

A listing has one type, and a repository one listing. So load-balancing endpoints need a repository of their
own, which holds nothing but what the Hub asks for: this program makes it from .runpod and IMAGE, a published
image with its tag or digest. Commit FOLDER to that repository and make a release there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
PORT = "80"  # what the load balancer expects where nothing is set
IMAGE_REFERENCE = re.compile(
    r"[a-z0-9][a-z0-9._:/-]*/[a-z0-9._/-]+(:(?P<tag>[\w.-]+))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
FIXED = {"ENDPOINT_MODE": "http", "PORT": PORT, "PORT_HEALTH": PORT}
HOW_IT_IS_CALLED = "Called over HTTP, by OpenAI's clients too; audio is sent while it is made."
INPUTS = [
    {
        "key": "API_KEY",
        "input": {
            "name": "Key",
            "type": "string",
            "description": "Needed on a Pod, which anybody reaches; callers send it as X-API-Key",
            "default": "",
        },
    },
    {
        "key": "CORS_ORIGINS",
        "input": {
            "name": "Origins of pages",
            "type": "string",
            "description": "Pages that may use it, such as https://app.example.com, separated by commas",
            "default": "",
            "advanced": True,
        },
    },
]
README = """# Chatterbox Voice Worker, over HTTP

Text to speech in cloned voices, with OpenAI's speech API, as a load-balancing endpoint or a Pod of RunPod.

This repository holds the Hub's listing alone. It is made by `make load-balancer-listing` of the worker's
repository, and runs the worker's image, `{image}`.
"""


def load_balancer_listing(listing: dict[str, Any]) -> dict[str, Any]:
    """Returns the hub.json of load-balancing endpoints. listing: that of endpoints with a queue."""
    config = listing["config"]
    asked = [variable for variable in config["env"] if variable["key"] not in FIXED]
    fixed = [{"key": key, "value": value} for key, value in FIXED.items()]
    presets = [preset for preset in config["presets"] if not preset["defaults"].keys() & FIXED.keys()]
    return {
        **listing,
        "title": f"{listing['title']} (HTTP)",
        "description": f"{listing['description']} {HOW_IT_IS_CALLED}",
        "config": {"endpointType": "LB", **config, "presets": presets, "env": [*fixed, *INPUTS, *asked]},
    }


def load_balancer_tests(tests: dict[str, Any]) -> dict[str, Any]:
    """Returns the tests.json of load-balancing endpoints. tests: that of endpoints with a queue.

    The Hub's tests are jobs, and know no paths: the image takes them from a queue, as it can.
    """
    return {**tests, "config": {**tests["config"], "env": [{"key": "ENDPOINT_MODE", "value": "basic"}]}}


def write_repository(image: str, folder: Path) -> None:
    """Writes the files that the Hub asks for, over those that are there. Raises OSError."""
    made = {
        ".runpod/hub.json": load_balancer_listing(json.loads(_read(".runpod/hub.json"))),
        ".runpod/tests.json": load_balancer_tests(json.loads(_read(".runpod/tests.json"))),
    }
    (folder / ".runpod").mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    (folder / "Dockerfile").write_text(f"FROM --platform=linux/amd64 {image}\n")
    (folder / "README.md").write_text(README.format(image=image))
    for name in ("handler.py", "LICENSE"):  # the Hub looks for a handler.py; the image has its own
        shutil.copy(REPOSITORY / name, folder)


def _read(name: str) -> str:
    return (REPOSITORY / name).read_text()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.load_balancer_listing", description=__doc__.splitlines()[0]
    )
    parser.add_argument("image", help="such as ghcr.io/OWNER/chatterbox-voice-worker:1.0.0")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    match = IMAGE_REFERENCE.fullmatch(options.image)
    if match is None or (match["tag"] in (None, "latest") and match["digest"] is None):
        sys.exit(
            f"IMAGE is {options.image!r}: name a published image in small letters, with its digest or the "
            "tag of its version, such as ghcr.io/owner/chatterbox-voice-worker:1.0.0. Workers keep an image "
            "that they have, so a tag that moves, like latest, leaves old ones behind"
        )
    write_repository(options.image, options.folder)
    print(f"{options.folder}: the repository of the load-balancing listing")


if __name__ == "__main__":
    main()
