"""`brainldm prepare --unires`: thick scans of a person to one head on the model's grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainldm.checkpoint import load_config
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.kept import load_template
from brainldm.simulate.scanner import as_scanned
from tests.conftest import Cli
from tests.template_head import simulate

CONFIG = load_config("demo")
GRID = Grid.of(CONFIG.shape, CONFIG.affine)
SEED = 70001


def thick(volume: Volume, axis: int) -> Volume:
    """Two slices averaged to one."""
    pairs = volume.array.shape[axis] // 2
    even, odd = (np.take(volume.array, range(k, 2 * pairs, 2), axis) for k in (0, 1))
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, axis] / 2
    affine[:3, axis] *= 2
    return Volume((even + odd) / 2, affine)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    scan = as_scanned(simulate(SEED, load_template(), GRID), GRID, SEED)
    inverse = Volume(scan.array.max() - scan.array * (scan.array > 0.1), scan.affine)
    anat = tmp_path / "bids" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    (anat / "sub-01_T1w.nii.gz").write_bytes(thick(scan, 0).to_nifti())
    (anat / "sub-01_T2w.nii.gz").write_bytes(thick(inverse, 1).to_nifti())
    (tmp_path / "bids/participants.tsv").write_text(
        "participant_id\tsex\tage\tventricular_volume_ml\tbrain_volume_ml\nsub-01\tF\t63\t30\t1500\n"
    )
    return tmp_path / "bids"


def test_a_persons_scans_become_one_head(said: Cli, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    command = ("prepare", scans, "--unires", "--model", "demo", "--out", out)
    code, told = said(*command)
    assert code == 0, told
    image = out / "sub-01/anat/sub-01_space-MNI152NLin2009aSym_T1w.nii.gz"
    said_of_it = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    ours = said_of_it["brainldm"]
    assert [each["name"] for each in ours["companions"]] == ["sub-01_T2w.nii.gz"]
    assert ours["settings"]["unires"] is True
    assert ours["intensity"]["resampled"] is False
    assert Volume.load(image).grid.equals(GRID)
    before = image.stat().st_mtime_ns
    assert said(*command)[0] == 0
    assert image.stat().st_mtime_ns == before, "it is not made again"
    code, told = said("prepare", scans, "--model", "demo", "--out", out)
    assert (code, "differs in unires" in told) == (2, True)
    code, told = said("prepare", scans, "--unires", "--scaled", "--out", tmp_path / "other")
    assert (code, "Leave out --scaled or --unires" in told) == (2, True)
