"""Fixtures shared by the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainldm.pipeline.brain import BrainLDM
from tests.toy import write_toy_model


@pytest.fixture(scope="session")
def toy_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model's files, to read only."""
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def model(toy_directory: Path) -> BrainLDM:
    """A toy model on the CPU in float32."""
    return BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="float32")
