"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from jaxtyping import install_import_hook

from tests.typed import MODULES

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # since tests import torch first
os.environ.update(RAY_worker_niceness="0")  # 15 is what others leave: here nothing
# What is drawn once (the template, anatomies) is drawn for all tests, and not into a user's cache.
os.environ["BRAINLDM_CACHE"] = str(Path(__file__).resolve().parents[1] / "build" / "tests-cache")
# Before anything of brainldm is imported: see tests/typed.py.
install_import_hook(MODULES, "tests.typed.held")

if TYPE_CHECKING:
    from brainldm import BrainLDM

ROOT = Path(__file__).resolve().parents[1]

Run = Callable[..., subprocess.CompletedProcess[str]]
Cli = Callable[..., tuple[int, str]]
Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same for each test."""
    return np.random.default_rng(0)


@pytest.fixture
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def toy_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model's files, to read only."""
    from tests.toy import write_toy_model

    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def model(toy_directory: Path) -> BrainLDM:
    """A toy model on the CPU in float32."""
    from brainldm import BrainLDM

    return BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="float32")


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
            timeout=900,
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


@pytest.fixture
def typed(said: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run `brainldm ...` or `python -m MODULE ...` in this process, as `said` does."""

    def typed(*words: str) -> tuple[int, str]:
        if Path(words[0]).name == "brainldm":
            return said(*words[1:])
        assert words[:2] == ("python", "-m"), words
        monkeypatch.setattr(sys, "argv", [*words[2:]])
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # imported before
            runpy.run_module(words[2], run_name="__main__")
        captured = capsys.readouterr()
        return 0, captured.out + captured.err

    return typed
