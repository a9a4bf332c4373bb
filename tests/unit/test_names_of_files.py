"""Names that no file system takes are refused as others are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from brainldm.checkpoint import convert, load_config, load_model, read_state_dict
from brainldm.cohort.folder import CohortFolder
from brainldm.dataset.participants import read_people
from brainldm.dataset.prepared import read_prepared
from brainldm.dataset.scans import find_scans
from brainldm.errors import BrainLDMError
from brainldm.evaluate.comparison import compare_reports
from brainldm.evaluate.sets import find_heads
from brainldm.image.volume import Volume
from brainldm.segment.tables import read_volumes
from brainldm.train.first_stage import describe_first_stage
from brainldm.train.folder import RunFolder

READERS: dict[str, Callable[[Path], object]] = {
    "model": load_model,
    "configuration": load_config,
    "weights": read_state_dict,
    "people": read_people,
    "prepared": read_prepared,
    "scans": find_scans,
    "cohort": lambda path: CohortFolder(path).settings,
    "heads": lambda path: find_heads(path, "real"),
    "reports": lambda path: compare_reports(path, path),
    "image": Volume.load,
    "volumes": lambda path: read_volumes(path, 1.0),
    "autoencoder": describe_first_stage,
    "run": lambda path: RunFolder(path).alone().__enter__(),
    "written": lambda path: convert("demo", path),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("bad", ["x" * 300, "y/" * 3000], ids=["long name", "long path"])
def test_a_name_that_is_too_long(name: str, bad: str) -> None:
    with pytest.raises(BrainLDMError):
        READERS[name](Path(bad))


@pytest.mark.parametrize("name", ["model", "weights", "people", "prepared", "scans", "heads"])
def test_a_name_with_a_zero_byte(name: str) -> None:
    with pytest.raises(BrainLDMError):
        READERS[name](Path("a\0b"))
