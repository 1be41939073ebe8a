"""The client's README and the client's part of docs/api.md say what the client does."""

from __future__ import annotations

import json
import re
import shutil
import tomllib

import pytest
from chatterbox_voice import errors
from chatterbox_voice.cli import _parser

from tests.client.platform import ENDPOINT, KEY
from tests.job_server import REPOSITORY
from version import VERSION

README = (REPOSITORY / "client" / "README.md").read_text()
API = (REPOSITORY / "docs" / "api.md").read_text()


@pytest.mark.parametrize("document", [README, API], ids=["client/README.md", "docs/api.md"])
def test_the_first_example_works(document, endpoint, tmp_path, monkeypatch):
    (tmp_path / "samples").mkdir()
    for name in ("samples/reference.flac", "harbour.flac"):
        shutil.copy(REPOSITORY / "samples" / "reference.flac", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chatterbox_voice.addresses.PLATFORM", endpoint.address.removesuffix(f"/{ENDPOINT}"))
    monkeypatch.setenv("VOICE_WORKER_API_KEY", KEY)
    program = re.findall(r"```python\n(from chatterbox_voice .*?)```", document, re.S)[0]
    exec(program.replace("ENDPOINT_ID", ENDPOINT), {})
    assert (tmp_path / "tide.mp3").stat().st_size > 5_000


def test_exceptions_that_are_named_exist():
    table = README.partition("## Errors")[2].partition("\n## ")[0]
    named = re.findall(r"`([A-Z]\w+)`", table)
    assert len(named) > 15
    assert all(issubclass(getattr(errors, name), errors.VoiceWorkerError) for name in named)


def test_options_that_are_named_exist():
    parser = _parser()
    (commands,) = (action.choices for action in parser._actions if action.choices)
    known = {option for command in commands.values() for option in command._option_string_actions}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) <= known
    assert set(re.findall(r"voice-worker ([a-z]+)", README)) == set(commands)


def test_the_example_of_a_configuration_is_json():
    (text,) = re.findall(r"```json\n(.*?)```", README, re.S)
    assert json.loads(text)["mcpServers"]["voice"]["args"][0] == "mcp"


def test_links_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", README, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = target.partition("#")
        assert not path or (REPOSITORY / "client" / path).exists(), target
        assert path or anchor in anchors, target


def test_the_client_has_the_workers_version():
    project = tomllib.loads((REPOSITORY / "client" / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
