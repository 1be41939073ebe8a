"""The examples of docs/integrations.md, for the tests that run them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.job_server import REPOSITORY

PAGE = REPOSITORY / "docs" / "integrations.md"
ADDRESS, KEY = "http://127.0.0.1:8000", "YOUR_KEY"  # what the page has in the place of the reader's own
RUNPOD = "https://api.runpod.ai"
# Run by other people's clients, which `make test-clients` installs; the others need nothing of the kind.
CLIENT_SECTIONS = ("Python", "JavaScript", "Home Assistant: Wyoming", "LiveKit", "Pipecat")
VOICE, ALIAS = "Harbour Master", "alloy"


@dataclass(frozen=True)
class Example:
    """A fenced block of the page.

    section: the heading above it.
    number: counts the blocks of one language in a section, from 0.
    """

    section: str
    language: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.section} {self.language} {self.number}"

    def at(self, address: str, key: str, runpod: str = RUNPOD) -> str:
        """Returns the example with addresses and a key in the places of the page's."""
        return self.text.replace(ADDRESS, address).replace(KEY, key).replace(RUNPOD, runpod)


def examples() -> list[Example]:
    """Returns all examples of the page, in its order."""
    found: list[Example] = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        heading = section.partition("\n")[0]
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", section, re.M | re.S):
            number = sum((one.section, one.language) == (heading, language) for one in found)
            found.append(Example(heading, language, number, text))
    return found


def example(section: str, language: str, number: int = 0) -> Example:
    """Returns one example of the page."""
    (found,) = [
        one for one in examples() if (one.section, one.language, one.number) == (section, language, number)
    ]
    return found
