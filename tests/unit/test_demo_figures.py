"""The arithmetic of the demo model's figures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainldm import BrainLDM
from brainldm.checkpoint import load_config
from brainldm.conditions import Conditions
from brainldm.demo.figure import Figure
from brainldm.demo.figures import agreements, evaluate, side_by_side, table
from brainldm.errors import DataError, UsageError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.segment.network import Network
from brainldm.simulate.heads import Heads
from tests.toy import PUBLISHED, write_toy_model

DEMO = load_config("demo")
GRID = Grid.of(DEMO.shape, DEMO.affine)


def test_a_figure_says_whether_it_is_where_it_should_be() -> None:
    assert Figure("r", 0.96, 0.95).verdict == "reached"
    assert Figure("r", 0.94, 0.95).verdict == "MISSED"
    assert Figure("slope", 1.2, 0.85, 1.15).verdict == "MISSED"
    assert Figure("slope", float("nan"), 0.85, 1.15).verdict == "MISSED"
    assert Figure("error", 3.0).verdict == ""
    assert "at least 0.85, at most 1.15" in str(Figure("slope", 1.2, 0.85, 1.15))


def test_heads_without_a_measure_are_counted_and_left_out() -> None:
    true = np.array([(10.0, 1300.0), (20, 1400), (30, 1500), (40, 1600), (50, 1350)])
    measured = true * (1.1, 0.9) + (2, 0)
    measured[2] = np.nan
    found = {figure.name: figure for figure in agreements("Heads", true, measured)}
    assert (found["Heads: without a measure"].value, found["Heads: without a measure"].verdict) == (
        1,
        "MISSED",
    )
    assert found["  ventricles: r"].value == pytest.approx(1)
    slopes = [figure.value for figure in agreements("", true, measured) if "slope" in figure.name]
    assert slopes == pytest.approx([1.1, 0.9])
    measured[1:] = np.nan
    with pytest.raises(DataError, match=r"Heads: the segmenter measures 1 of 5.*--segmenter"):
        agreements("Heads", true, measured)


def test_the_table_has_what_was_asked_for_beside_what_was_measured() -> None:
    person = Conditions(sex="F", age=60, ventricular_volume_ml=30, brain_volume_ml=1450)
    measured = np.array([(31.0, 1440.0), (np.nan, np.nan)])
    rows = table([person, person], measured).decode().splitlines()
    assert rows[0].split(",")[3:] == [
        *("ventricles_asked_ml", "ventricles_measured_ml"),
        *("brain_asked_ml", "brain_measured_ml"),
    ]
    assert rows[1].endswith(",60.00,30.00,31.00,1450.00,1440.00")
    assert rows[2].endswith(",60.00,30.00,n/a,1450.00,n/a")


def test_a_model_of_other_conditions_is_refused(tmp_path: Path) -> None:
    model = BrainLDM.from_pretrained(write_toy_model(tmp_path / "model", PUBLISHED.conditions[:2]))
    heads, network = Heads((), None), Network(tmp_path, "")
    with pytest.raises(UsageError, match=r"no condition brain_volume_ml, ventricular_volume_ml"):
        evaluate(model, heads, network, tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_the_contact_sheet_has_both_kinds_side_by_side() -> None:
    white = Volume(np.ones(GRID.shape, np.float32), np.array(GRID.affine))
    grey = np.full(GRID.shape, 0.2, np.float32)
    sheet = np.asarray(Image.open(io.BytesIO(side_by_side([white], [grey]))))
    middle = sheet.shape[1] // 2
    assert sheet[:, :middle].mean() > 150
    assert 10 < sheet[:, middle:].mean() < 100
