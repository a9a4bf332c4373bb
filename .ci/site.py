"""Hooks of the documentation's site: addresses, links out of docs/, and the reference.

The reference is made from the code: the commands from their help, the rooms from their docstrings.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src/brainldm"
ADDRESSES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")
LOG = logging.getLogger("mkdocs.hooks.site")


def rooms() -> list[str]:
    """The packages and modules of brainldm; its commands have a page of their own."""
    packages = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    modules = [path.stem for path in PACKAGE.glob("[a-z]*.py")]
    return sorted({*packages, *modules} - {"cli"})


def on_config(config: Any) -> Any:
    """The addresses are those of pyproject.toml; the reference has a page for each room."""
    config.site_url = ADDRESSES["Documentation"]
    config.repo_url = ADDRESSES["Source"]
    config.repo_name = "Source"
    [reference] = [part["Reference"] for part in config.nav if "Reference" in part]
    reference += ["reference/commands.md", "reference/public.md"]
    reference.append({"Rooms": [f"reference/{room}.md" for room in rooms()]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the reference."""
    typer = [
        sys.executable,
        "-m",
        "typer",
        "brainldm.cli.app",
        "utils",
        "docs",
        "--name",
        "brainldm",
    ]
    commands = subprocess.run(typer, capture_output=True, text=True, check=True).stdout
    pages = {"commands": re.sub(r"\A# .*", "# Commands", commands)}
    names = ("BrainLDM", "Conditions", "Volume")
    pages["public"] = "# Python\n" + "".join(f"\n::: brainldm.{name}\n" for name in names)
    for room in rooms():
        options = "    options: {show_submodules: true, show_root_heading: false, heading_level: 2}"
        pages[room] = f"# brainldm.{room}\n\n::: brainldm.{room}\n{options}\n"
    for name, content in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link out of docs/ leads to the repository; to a file that is not there, it is an error."""

    def replaced(link: re.Match[str]) -> str:
        if not (ROOT / link[1]).exists():
            LOG.warning("%s links to %s, which does not exist", page.file.src_uri, link[1])
        return f"]({ADDRESSES['Source']}/blob/main/{link[1]}"

    return OUTSIDE.sub(replaced, markdown)
