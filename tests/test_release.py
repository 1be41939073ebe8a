"""A tag that is released, and its notes."""

from __future__ import annotations

import re

import pytest

from scripts import release
from scripts.release import NotReady, check_icon, check_tag, section_of
from version import VERSION

CHANGELOG = """# Changelog

## [Unreleased]

- Not yet out.

## [1.1.0] - 2026-11-27

### Added

- `speed`: faster and slower.

## [1.0.0] - 2026-10-01

- The first.

[1.1.0]: https://example.com/1.1.0
"""


def test_the_notes_are_the_versions_section_alone():
    assert section_of(CHANGELOG, "1.1.0") == "### Added\n\n- `speed`: faster and slower.\n"


def test_the_last_section_ends_before_the_links():
    assert section_of(CHANGELOG, "1.0.0") == "- The first.\n"


@pytest.mark.parametrize(
    ("changelog", "advice"),
    [
        (CHANGELOG, "has no section [1.2.0]: rename [Unreleased]"),
        ("## [1x2y0] - 2026-11-27\n\n- A.\n", "has no section [1.2.0]"),
        ("## [1.2.0]\n\n- A.\n", "write ## [1.2.0] - YYYY-MM-DD"),
        ("## [1.2.0] - soon\n\n- A.\n", "write ## [1.2.0] - YYYY-MM-DD"),
        ("## [1.2.0] - 2026-11-27\n\n## [1.1.0] - 2026-11-26\n\n- A.\n", "[1.2.0] is empty"),
        ("", "has no section [1.2.0]"),
    ],
)
def test_a_version_without_notes_is_not_released(changelog, advice):
    with pytest.raises(NotReady, match=re.escape(advice)):
        section_of(changelog, "1.2.0")


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2", "v1.2.0rc1", "V1.2.0"])
def test_a_tag_that_is_not_the_version_is_not_released(tag):
    check_tag("v1.2.0", "1.2.0")
    with pytest.raises(NotReady, match="version.py says 1.2.0"):
        check_tag(tag, "1.2.0")


def test_the_icon_lies_in_the_repository_that_is_released():
    address = "https://raw.githubusercontent.com/someone/worker/main/icon.png"
    check_icon(address, "someone/worker")
    for other in ("someone/work", "else/worker"):
        with pytest.raises(NotReady, match=f"change its owner and name to {other}"):
            check_icon(address, other)


def test_what_is_not_ready_ends_the_release_with_one_line(capsys):
    with pytest.raises(SystemExit, match=f"not released: the tag is v0, and version.py says {VERSION}"):
        release.main(["v0", "owner/chatterbox-voice-worker"])
    assert capsys.readouterr().out == ""
