"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import tests.typed  # noqa: F401 (the hook asks for it by name)

# Before anything of brainldm is imported: see tests/typed.py.
install_import_hook("brainldm", "tests.typed.held")

ROOT = Path(__file__).resolve().parents[1]

Run = Callable[..., subprocess.CompletedProcess[str]]
Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program of this environment, in `tmp_path` or `cwd`, and return its output as text."""
    programs = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([programs, os.environ["PATH"]])}

    def run(*command: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `brainldm` in this process: its exit code, and all that it said in one line."""

    def said(*arguments: object) -> tuple[int, str]:
        from brainldm.cli import main

        monkeypatch.setattr(sys, "argv", ["brainldm", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return int(exit.value.code or 0), " ".join((captured.out + captured.err).split())

    return said
