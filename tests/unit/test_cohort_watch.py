"""What can be seen of a cohort while it is made."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainldm.cohort import watch
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.maker import Made
from brainldm.cohort.records import Record
from brainldm.cohort.sheet import Sheet, shown_rows, tile
from brainldm.image.volume import Volume


def made(row: int, flags: tuple[str, ...] = ()) -> Made:
    grey = np.full((20, 20, 20), row / 10, np.float32)
    picture = tile(Volume(grey, np.diag([4.0, 4.0, 4.0, 1.0])))
    return Made(Record(row, f"{row}", row, 2, flags, {}, (), {}, "", ""), picture)


def test_the_summary_is_alive_and_the_sheet_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SUMMARY_EVERY", 0.0)
    monkeypatch.setattr(watch, "SHEET_EVERY", 0.0)
    told: list[tuple[int, int]] = []
    seen = watch.Watch(
        tmp_path / "summary.json",
        10,
        3,
        Sheet(CohortFolder(tmp_path), 10),
        lambda *done: told.append(done),
    )
    sizes = []
    for row in (7, 4, 9, 5):
        seen.add(made(row, ("fault",) if row == 4 else ()))
        sizes.append(Image.open(io.BytesIO((tmp_path / "contact-sheet.png").read_bytes())).size)
    said = json.loads((tmp_path / "summary.json").read_text())
    assert (said["state"], said["done"], said["made_now"]) == ("running", 7, 4)
    assert (said["redraws_now"], said["flagged_now"]) == (8, 1)
    assert said["volumes_a_minute"] > 0
    assert said["seconds_left"] >= 0
    assert (told[0], told[-1]) == ((3, 10), (7, 10))
    assert sizes[0] == sizes[2]
    assert sizes[3][1] == 2 * sizes[2][1]  # a second line


def test_a_sheet_is_the_same_in_whatever_order_it_grew(tmp_path: Path) -> None:
    sheets = []
    for rows in ((0, 5, 9), (9, 0, 5)):
        sheet = Sheet(CohortFolder(tmp_path), 10)
        for row in rows:
            picture = made(row).tile
            assert picture is not None
            sheet.add(row, f"{row}", picture)
        sheets.append(sheet.write())
    assert sheets[0] == sheets[1]
    brightness = np.asarray(Image.open(io.BytesIO(sheets[0]))).mean(0)
    assert brightness[:400].mean() < brightness[400:800].mean() < brightness[800:].mean()


def test_rows_that_are_shown_spread_over_the_plan() -> None:
    assert shown_rows(3) == (0, 1, 2)
    many = shown_rows(1000)
    assert (len(many), many[0], many[-1]) == (24, 0, 999)
    assert max(np.diff(many)) - min(np.diff(many)) <= 1
