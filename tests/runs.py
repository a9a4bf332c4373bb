"""`brainldm train` in this process, and finished runs of both stages."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from brainldm.cli import main
from tests.prepared import write_prepared


@dataclass
class Result:
    """What a command ended with."""

    code: int
    out: str
    err: str


def command(*arguments: object) -> int:
    """Run the command line in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["brainldm", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
    return int(exit.value.code or 0)


class Cli:
    """Runs commands, and keeps what they say apart from each other."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Result:
        code = command(*arguments)
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)


@dataclass
class Runs:
    """A data set, a finished run of each stage on it, and the commands for them."""

    data: Path
    first: Path
    second: Path

    @property
    def autoencoder(self) -> tuple[object, ...]:
        return ("train", "autoencoder", "--data", self.data, "--preset", "tiny")

    @property
    def diffusion(self) -> tuple[object, ...]:
        return ("train", "diffusion", "--data", self.data, "--preset", "tiny")

    @property
    def conditioned(self) -> tuple[object, ...]:
        conditions = ("--condition", "score", "--condition", "sex")
        return (*self.diffusion, "--autoencoder", self.first, *conditions)

    @classmethod
    def finished(cls, folder: Path) -> Runs:
        """Both stages, trained in a few seconds."""
        runs = cls(write_prepared(folder / "data"), folder / "first", folder / "second")
        assert command(*runs.autoencoder, "--out", runs.first) == 0
        assert command(*runs.conditioned, "--out", runs.second) == 0
        return runs


def refused(result: Result, *message: str) -> None:
    """Exit code 2, the message without a traceback, and nothing on standard output."""
    assert result.code == 2, result.err
    for part in message:
        assert part in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert result.out == ""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
