"""What scans say of themselves, and what is refused before minutes are spent."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.errors import BrainLDMError, DataError, UsageError
from brainldm.unires.memory import check_memory, estimate_bytes
from brainldm.unires.reading import contrast_of, read_scans
from brainldm.unires.run import make_volumes
from brainldm.unires.scan import Scan
from brainldm.unires.space import mean_grid


def write(
    path: Path, array: np.ndarray | None = None, sizes: tuple[float, ...] = (4, 4, 6)
) -> Path:
    if array is None:
        array = np.abs(np.random.default_rng(0).normal(100, 30, (40, 40, 25)))
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), np.diag([*sizes, 1.0])), path)
    return path


def test_a_name_says_the_contrast() -> None:
    for name, contrast in (
        ("T1.nii.gz", "T1"),
        ("sub-01_acq-ax_T2w.nii.gz", "T2w"),
        ("FLAIR.mgz", "FLAIR"),
        ("scan_.nii", "scan_"),
    ):
        assert contrast_of(Path(name)) == contrast


def test_the_sidecar_says_the_thickness(tmp_path: Path) -> None:
    scan = write(tmp_path / "a_T1w.nii.gz")
    assert read_scans([scan])[0].thickness is None
    sidecar = tmp_path / "a_T1w.json"
    sidecar.write_text(json.dumps({"SliceThickness": 5, "SpacingBetweenSlices": 6.0}))
    assert read_scans([scan])[0].thickness == 5
    assert read_scans([scan], thicknesses=[4.5])[0].thickness == 4.5
    for said, message in (
        ({"SpacingBetweenSlices": 3}, "SpacingBetweenSlices 3 mm, and the slices of"),
        ({"SliceThickness": 13}, "13 mm thick, and lie 6 mm apart"),
        ({"SliceThickness": "thin"}, "SliceThickness 'thin': expected a number"),
        ({"SliceThickness": -1}, "SliceThickness -1: expected a number"),
        ({"SliceThickness": 10**400}, "expected a number of mm"),
    ):
        sidecar.write_text(json.dumps(said))
        with pytest.raises(DataError, match=message):
            read_scans([scan])


def test_padding_is_no_data(tmp_path: Path) -> None:
    array = np.abs(np.random.default_rng(0).normal(100, 30, (40, 40, 25)))
    array[:4] = array[:, 37:] = 0
    array[10, 10, 10] = np.nan
    [scan] = read_scans([write(tmp_path / "T1.nii", array)])
    assert not scan.observed[:4].any()
    assert not scan.observed[:, 37:].any()
    assert scan.observed.sum() == 36 * 37 * 25 - 1


def test_what_is_no_scan_of_a_head_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hounsfield = np.where(rng.random((40, 40, 25)) < 0.5, -1000, rng.normal(40, 30, (40, 40, 25)))
    for name, array, message in (
        ("series", rng.random((40, 40, 25, 3)), "volume"),
        ("localiser", rng.random((40, 40, 3)), "looks like a localiser"),
        ("ct", hounsfield, "looks like a CT"),
        ("constant", np.full((40, 40, 25), 7.0), "is constant"),
        ("infinite", np.full((40, 40, 25), np.inf), "infinite"),
        ("small", rng.random((10, 10, 10)), "expected a head in millimetres"),
    ):
        path = write(tmp_path / f"{name}.nii", array)
        with pytest.raises(BrainLDMError, match=message):
            read_scans([path])
    [labels] = read_scans([write(tmp_path / "labels.nii", rng.integers(0, 4, (40, 40, 25)))])
    with pytest.raises(BrainLDMError, match="label map or mask"):
        labels.noise  # noqa: B018


def test_numbers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "T1.nii"), write(tmp_path / "T2.nii")
    with pytest.raises(UsageError, match="2 scans and 1 contrasts"):
        read_scans([a, b], contrasts=["T1w"])
    with pytest.raises(UsageError, match="2 scans and 3 slice thicknesses"):
        read_scans([a, b], thicknesses=[1, 2, 3])
    with pytest.raises(UsageError, match="given twice"):
        read_scans([a, a])
    with pytest.raises(UsageError, match="Voxels of 90 mm"):
        make_volumes([a], tmp_path / "out", voxel_size=90)
    with pytest.raises(UsageError, match="regularisation is 0"):
        make_volumes([a], tmp_path / "out", regularisation=0)
    with pytest.raises(DataError, match="None of the contrasts T2 is called T1w"):
        make_volumes([b], tmp_path / "out", model="published")
    (tmp_path / "T1.json").write_text("{}")
    with pytest.raises(UsageError, match="Would overwrite"):
        make_volumes([a], tmp_path)
    assert not (tmp_path / "out").exists()


def test_fine_voxels_are_averaged_in_pairs(tmp_path: Path) -> None:
    [scan] = read_scans([write(tmp_path / "T1.nii", sizes=(2.5, 2.5, 6))], thicknesses=[4.0])
    paired = scan.paired(5.0)
    assert paired.grid.spacing == (5.0, 5.0, 6.0)
    assert paired.thickness == 4.0
    assert np.abs(paired.array[3, 4, 5] - scan.array[6:8, 8:10, 5].mean()) < 1e-3
    assert np.abs(paired.grid.corners.mean(axis=0) - scan.grid.corners.mean(axis=0)).max() < 1e-9
    assert scan.paired(1.0) is scan


def test_memory_is_told_and_refused() -> None:
    array = np.random.default_rng(0).random((160, 160, 32)).astype(np.float32)
    grid = mean_grid([scan.placed for scan in [thick(array)]], 1.0)
    one, three = (estimate_bytes([thick(array, str(i)) for i in range(n)], grid) for n in (1, 3))
    assert 1e9 < one < three < 5e9
    with pytest.raises(UsageError, match="GB are available"):
        check_memory(1e15)


def thick(array: np.ndarray, contrast: str = "T1w") -> Scan:
    from brainldm.image.grid import Grid

    return Scan(array, Grid.of(array.shape, np.diag([1, 1, 5, 1.0])), contrast)
