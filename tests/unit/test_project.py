"""What stands around the code agrees with it, and with itself."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Cli
from tests.documents import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    """The steps of all its jobs."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_the_package_page_has_no_relative_link() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    source = PROJECT["project"]["urls"]["Source"]
    ours = [link for link in links if "brainldm" in link.lower()]
    assert ours
    assert [link for link in ours if not link.startswith(source)] == []


def test_the_address_stands_in_one_file() -> None:
    source = PROJECT["project"]["urls"]["Source"]
    for file in (*ROOT.glob("*.*"), *ROOT.glob(".github/**/*.*"), *ROOT.glob("docs/*.md")):
        if file.is_file() and file.name != "pyproject.toml":
            assert source not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_exists(workflow: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    scripts = "\n".join(step.get("run", "") for step in steps(workflow))
    for words in re.findall(r"\bmake ([\w -]+)", scripts):
        assert set(words.split()) <= set(targets), words
    for script in re.findall(r"(?<!\S)\.ci/\w+", scripts):
        assert (ROOT / script).is_file()


def test_every_python_that_is_promised_is_tested() -> None:
    promised = re.findall(r":: (3\.\d+)'", str(PROJECT["project"]["classifiers"]))
    tested = re.findall(r'"(3\.\d+)"', (ROOT / ".github/workflows/ci.yml").read_text())
    assert set(promised) == set(tested)
    assert PROJECT["project"]["requires-python"] == f">={promised[0]}"


def test_the_container_serves_for_a_user_who_is_not_root(said: Cli) -> None:
    lines = [line.split(" ", 1) for line in (ROOT / "Dockerfile").read_text().splitlines() if line]
    told = {word: rest for word, rest in lines}
    assert [rest for word, rest in lines if word == "USER"] == ["brainldm"]
    assert list(told).index("USER") < list(told).index("CMD")
    words = [*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])]
    assert words[:2] == ["brainldm", "serve"]
    code, answer = said(*words[1:], "--waiting", "0")
    assert code == 2
    assert "--waiting is 0" in answer  # all the other options are known


def test_an_sdist_holds_all_that_is_under_version_control() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    always = {"pyproject.toml", ".gitignore"}
    roots = {name.split("/")[0] for name in listed} - always
    assert roots
    missing = [r for r in roots if not any(fnmatch.fnmatch(f"/{r}", each) for each in included)]
    assert missing == []
