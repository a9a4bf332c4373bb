"""What the documentation holds, for the tests that hold it to its word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "bundle/docs/README.md",
]

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, *languages: str) -> list[str]:
    """The fenced blocks of a document in these languages."""
    found = _FENCED.findall(document.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def commands(document: Path, *languages: str) -> list[list[str]]:
    """The commands of a document's shell blocks, each split into words without its comment."""
    lines = [line for text in blocks(document, *languages) for line in text.splitlines()]
    split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words for words in split if words]


def name(document: Path) -> str:
    """The document's path in the repository."""
    return str(document.relative_to(ROOT))
