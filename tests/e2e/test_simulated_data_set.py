"""A data set of simulated heads, written by processes and read as training reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainldm.checkpoint import load_config
from brainldm.dataset.prepared import read_prepared
from brainldm.image.grid import Grid
from brainldm.register.template import load_template
from brainldm.simulate.cohort import write_data_set
from brainldm.simulate.template_head import simulate

DEMO = load_config("demo")
COARSE = Grid.of(DEMO.shape, DEMO.affine).coarser(2)


def test_a_data_set_on_disk_is_what_was_simulated(tmp_path: Path) -> None:
    write_data_set(tmp_path, [1000], COARSE, jobs=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}
    write_data_set(tmp_path, [1000, 1001], COARSE, jobs=2)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not made again
    heads = read_prepared(tmp_path)
    heads.check_images()
    assert heads.subjects == ("001000", "001000twin", "001001", "001001twin")
    assert heads.columns["person"] == ("001000", "001000", "001001", "001001")
    for i, twin in enumerate((False, True), 2):
        head = simulate(1001, load_template(), COARSE, twin)
        volume = float(heads.columns["brain_volume_ml"][i] or "nan")
        assert volume == pytest.approx(head.conditions.brain_volume_ml, rel=1e-5)
        assert (heads.image(i)[0] - head.image).abs().max() < 1e-3
