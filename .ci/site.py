"""Hooks of the documentation's site: addresses, and links to files that lie outside docs/."""

from __future__ import annotations

import logging
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ADDRESSES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")
LOG = logging.getLogger("mkdocs.hooks.site")


def on_config(config: Any) -> Any:
    """The addresses of the site and of the repository are those of pyproject.toml."""
    config.site_url = ADDRESSES["Documentation"]
    config.repo_url = ADDRESSES["Source"]
    config.repo_name = "Source"
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link out of docs/ leads to the repository; to a file that is not there, it is an error."""

    def replaced(link: re.Match[str]) -> str:
        if not (ROOT / link[1]).exists():
            LOG.warning("%s links to %s, which does not exist", page.file.src_uri, link[1])
        return f"]({ADDRESSES['Source']}/blob/main/{link[1]}"

    return OUTSIDE.sub(replaced, markdown)
