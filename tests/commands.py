"""What a command printed, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(result: Result, *message: str) -> None:
    """Exit code 2, the message without a traceback, and nothing on standard output."""
    assert result.code == 2, result.err
    for part in message:
        assert part in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert result.out == ""
