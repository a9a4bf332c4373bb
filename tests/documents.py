"""What the documentation holds, for the tests that hold it to its word.

Every fenced block is run (`tests/e2e/test_docs.py`), or a comment above it says why not:

    <!-- not run: it needs the published weights -->
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "bundle/docs/README.md",
]

_FENCED = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str
    not_run: str | None
    """Why the tests leave it out; None if they run it."""

    @property
    def commands(self) -> list[list[str]]:
        """Its commands, each split into words without its comment."""
        lines = self.text.replace("\\\n", " ").splitlines()
        split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
        return [words for words in split if words]


def blocks(document: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a document, in these languages or in any."""
    found = [
        Block(each["language"], each["text"], each["reason"])
        for each in _FENCED.finditer(document.read_text(encoding="utf-8"))
    ]
    return [block for block in found if not languages or block.language in languages]


def commands(document: Path, *languages: str) -> list[list[str]]:
    """The commands of a document's shell blocks, run or not."""
    return [words for block in blocks(document, *languages) for words in block.commands]


def name(document: Path) -> str:
    """The document's path in the repository."""
    return str(document.relative_to(ROOT))
