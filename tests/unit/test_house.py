"""The house is in order: what the documents and the metadata name exists."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml

import brainldm
from brainldm.cli.app import app
from tests.documents import DOCUMENTS, commands, name

SHELL = ("bash", "console", "shell")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_documented_brainldm_option_exists(document: Path) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for words in commands(document, *SHELL):
        if Path(words[0]).name != "brainldm":
            continue
        assert words[1] in verbs, words
        verb = verbs[words[1]]
        if subverbs := getattr(verb, "commands", None):
            assert words[2] in subverbs, words
            verb = subverbs[words[2]]
        known = {option for each in verb.params for option in each.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_documented_bundle_override_exists(document: Path, root: Path) -> None:
    config = json.loads((root / "bundle/configs/inference.json").read_text())
    known = {f"--{key}" for key in config} | {"--config_file", "--meta_file", "--net_id"}
    for words in commands(document, *SHELL):
        if "monai.bundle" in words:
            assert {word for word in words if word.startswith("--")} <= known, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_documented_make_target_exists(document: Path, root: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    for words in commands(document, *SHELL):
        if words[0] == "make":
            assert words[1] in targets, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_one_version_everywhere(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    metadata = json.loads((root / "bundle/configs/metadata.json").read_text())
    changes = (root / "CHANGELOG.md").read_text()

    assert project["version"] == brainldm.__version__
    assert str(citation["version"]) == brainldm.__version__
    assert metadata["required_packages_version"]["brainldm"] == brainldm.__version__
    assert f"## [{brainldm.__version__}]" in changes
    assert metadata["version"] in metadata["changelog"]


def test_the_bundle_names_the_pinned_versions(root: Path) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    metadata = json.loads((root / "bundle/configs/metadata.json").read_text())

    assert metadata["monai_version"] == pinned["monai"]
    assert metadata["pytorch_version"] == pinned["torch"]
    assert metadata["numpy_version"] == pinned["numpy"]
    for package, version in metadata["required_packages_version"].items():
        if package != "brainldm":
            assert version == pinned[package], package


def test_bundle_metadata_has_the_keys_and_conditions_of_the_published_one(root: Path) -> None:
    metadata = json.loads((root / "bundle/configs/metadata.json").read_text())

    assert metadata.keys() == {
        "schema",
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "required_packages_version",
        "task",
        "description",
        "authors",
        "copyright",
        "data_source",
        "data_type",
        "image_classes",
        "eval_metrics",
        "intended_use",
        "references",
        "network_data_format",
    }
    image = metadata["network_data_format"]["inputs"]["image"]
    assert list(image["channel_def"].values()) == [
        "Gender",
        "Age",
        "Ventricular volume",
        "Brain volume",
    ]
