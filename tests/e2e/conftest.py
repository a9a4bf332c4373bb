"""Fixtures shared by the end-to-end tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brainldm.cli import main
from tests.commands import Cli, Result
from tests.toy import write_toy_model


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process and in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def cli(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["brainldm", *arguments])
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return Result(int(exit.value.code or 0), captured.out, captured.err)

    return cli
