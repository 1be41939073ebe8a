"""Checks that a tag can be released, and writes the release's notes: the tag's section of CHANGELOG.md.

    python -m scripts.release v1.0.0 OWNER/REPOSITORY > notes.md

The tag is the version in version.py after a "v". The icon of the Hub's listing must lie in the repository
that is released, because the Hub shows it from there.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from version import VERSION

ROOT = Path(__file__).parent.parent


class NotReady(Exception):
    """Says what keeps the tag from being released."""


def section_of(changelog: str, version: str) -> str:
    """Returns what CHANGELOG.md says of a version, without its heading. Raises NotReady."""
    match = re.search(
        rf"^## \[{re.escape(version)}\](?: - (?P<date>[^\n]*))?\n(?P<text>.*?)(?=^## |^\[[^\]]+\]: |\Z)",
        changelog,
        re.M | re.S,
    )
    if match is None:
        raise NotReady(f"CHANGELOG.md has no section [{version}]: rename [Unreleased], and begin a new one")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", match["date"] or ""):
        raise NotReady(f"CHANGELOG.md has no date for {version}: write ## [{version}] - YYYY-MM-DD")
    if not match["text"].strip():
        raise NotReady(f"CHANGELOG.md's section [{version}] is empty: say what changed")
    return match["text"].strip() + "\n"


def check_tag(tag: str, version: str) -> None:
    """Raises NotReady where the tag is not that of the version."""
    if tag != f"v{version}":
        raise NotReady(f"the tag is {tag}, and version.py says {version}: change one of them")


def check_icon(icon_url: str, repository: str) -> None:
    """Raises NotReady where the listing's icon lies in another repository."""
    if not icon_url.startswith(f"https://raw.githubusercontent.com/{repository}/"):
        raise NotReady(
            f"iconUrl in .runpod/hub.json is {icon_url}: change its owner and name to {repository}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.release", description=__doc__.splitlines()[0])
    parser.add_argument("tag")
    parser.add_argument("repository", help="owner and name on GitHub")
    options = parser.parse_args(arguments)
    try:
        check_tag(options.tag, VERSION)
        check_icon(json.loads((ROOT / ".runpod" / "hub.json").read_text())["iconUrl"], options.repository)
        print(section_of((ROOT / "CHANGELOG.md").read_text(), VERSION), end="")
    except NotReady as problem:
        sys.exit(f"not released: {problem}")


if __name__ == "__main__":
    main()
