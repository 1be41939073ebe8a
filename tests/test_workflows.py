"""GitHub's workflows: that they run what is there, with no more rights than they need."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parent.parent
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text())
    for path in sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
}
TEXTS = {name: (REPOSITORY / ".github" / "workflows" / name).read_text() for name in WORKFLOWS}
TOOLS_OF_THE_MACHINE = {"gh", "sudo"}
# What a job may do besides reading the repository.
RIGHTS = {("release.yml", "image"): {"packages": "write"}, ("release.yml", "release"): {"contents": "write"}}
EVERY_JOB = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]


def commands():
    for name, job in EVERY_JOB:
        for step in WORKFLOWS[name]["jobs"][job].get("steps", ()):
            if "run" in step:
                for line in step["run"].strip().splitlines():
                    yield pytest.param(line, id=f"{name}: {line[:50]}")


def targets():
    return set(re.findall(r"^([a-z-]+):(?!=)", (REPOSITORY / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("command", commands())
def test_a_step_runs_what_is_there(command):
    program, *arguments = shlex.split(command)
    if program == "make":
        assert set(arguments) <= targets()
    elif program == "python":
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1]) is not None
    elif program.startswith("."):
        assert os.access(REPOSITORY / program, os.X_OK)
    else:
        assert program in TOOLS_OF_THE_MACHINE


def test_a_change_is_checked_by_what_a_person_runs():
    steps = WORKFLOWS["ci.yml"]["jobs"]["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make browser", ".ci/run"]


def test_every_python_that_the_worker_runs_on_is_checked():
    checked = WORKFLOWS["ci.yml"]["jobs"]["check"]["strategy"]["matrix"]["python"]
    for version in checked:
        assert version in (REPOSITORY / "scripts" / "find_python").read_text().replace(", ", ".")
    in_the_image = re.search(r"python:(3\.\d+)-", (REPOSITORY / "Dockerfile").read_text())
    assert in_the_image[1] in checked


@pytest.mark.parametrize(("name", "job"), EVERY_JOB)
def test_a_job_has_the_rights_that_it_needs_alone(name, job):
    assert WORKFLOWS[name]["permissions"] == {}
    permissions = WORKFLOWS[name]["jobs"][job]["permissions"]
    assert permissions == {"contents": "read"} | RIGHTS.get((name, job), {})


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_to_a_commit_whose_version_stands_beside_it(name):
    used = re.findall(r"uses: (\S+)(.*)$", TEXTS[name], re.M)
    assert used
    for action, comment in used:
        if action.startswith("./"):
            assert (REPOSITORY / action).is_file()
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_one_action_has_one_version():
    pins = {}
    for text in TEXTS.values():
        for action, commit in re.findall(r"uses: ([\w/-]+)@(\w+)", text):
            assert pins.setdefault(action, commit) == commit, action


@pytest.mark.parametrize(("name", "job"), EVERY_JOB)
def test_texts_from_outside_reach_a_step_as_variables_alone(name, job):
    for step in WORKFLOWS[name]["jobs"][job].get("steps", ()):
        assert "${{" not in step.get("run", "")


def test_nothing_is_released_before_tag_and_tests_are_good():
    jobs = WORKFLOWS["release.yml"]["jobs"]

    def before(job):
        needs = jobs[job].get("needs", [])
        direct = [needs] if isinstance(needs, str) else needs
        return set(direct).union(*(before(needed) for needed in direct))

    assert {"notes", "test"} <= before("image")
    assert {"notes", "test", "image"} <= before("release")
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"


def test_the_image_has_the_versions_tag_alone_and_says_where_it_comes_from():
    steps = {
        step["uses"].partition("@")[0]: step["with"]
        for step in WORKFLOWS["release.yml"]["jobs"]["image"]["steps"]
        if "with" in step
    }
    metadata = steps["docker/metadata-action"]
    kind, pattern, group = metadata["tags"].split(",")
    assert (kind, group, metadata["flavor"]) == ("type=match", "group=1", "latest=false")
    assert re.match(pattern.removeprefix("pattern="), "v1.2.0rc1")[1] == "1.2.0rc1"
    assert steps["docker/build-push-action"]["provenance"] == "mode=max"


def test_dependabot_looks_after_everything_that_is_pinned():
    content = yaml.safe_load((REPOSITORY / ".github" / "dependabot.yml").read_text())
    assert {entry["package-ecosystem"] for entry in content["updates"]} == {"github-actions", "pip", "docker"}
    assert all(entry["schedule"]["interval"] == "weekly" for entry in content["updates"])
