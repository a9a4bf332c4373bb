"""`brainldm unires` and `brainldm prepare --unires` on simulated heads in thick slices."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from brainldm.image.grid import Grid
from brainldm.simulate.tissues import NUMBERS
from brainldm.unires import registration
from tests.commands import Cli, names, refused
from tests.phantoms import tissues_at

# Of air, scalp, fat, bone, fluid, grey and white matter, ventricles.
NUMBERS_OF = ((0,), (511,), (507,), (515,), (24,), (3, 42), (2, 41), (4, 43))
BRIGHT = {
    "T1w": (0, 0.5, 0.8, 0.05, 0.2, 0.55, 0.75, 0.2),
    "T2w": (0, 0.3, 0.4, 0.05, 0.9, 0.45, 0.3, 0.9),
}
SIZES = {"T1w": (3.0, 3.0, 6.0), "T2w": (6.0, 3.0, 3.0)}


def scan(path: Path, contrast: str, shift: float = 0.0, size: float = 1.0) -> Path:
    """A phantom head in slices of 6 mm, as a scanner gives it."""
    sizes = np.array(SIZES[contrast])
    shape = np.ceil(np.array([180, 220, 200]) / sizes).astype(int)
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = np.array([0, -18, 12]) - sizes * (shape - 1) / 2
    fine = Grid.of(shape * (sizes // 3).astype(int), np.diag([3.0, 3, 3, 1]))
    matrix = fine.matrix
    matrix[:3, 3] = affine[:3, 3] - (sizes - 3) / 2
    places = Grid.of(fine.shape, matrix).points().copy()
    places[2] -= shift
    numbers = NUMBERS[tissues_at((places - CENTRE) / size + CENTRE)]
    image = np.zeros(fine.shape)
    for each, value in zip(NUMBERS_OF, BRIGHT[contrast], strict=True):
        image[np.isin(numbers, each)] = value
    image = ndimage.gaussian_filter(image, 0.4)
    blocks = (sizes // 3).astype(int)
    image = image.reshape(*np.stack([shape, blocks], axis=1).ravel()).mean(axis=(1, 3, 5))
    noise = 0.02 * np.random.default_rng(len(path.name)).standard_normal((2, *shape))
    nib.save(nib.Nifti1Image(np.hypot(image + noise[0], noise[1]).astype(np.float32), affine), path)
    return path


CENTRE = np.array([0.0, -18, 12])[:, None, None, None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "LEVELS_MM", (8.0, 5.0))
    monkeypatch.setattr(registration, "KEPT", (2, 1))
    monkeypatch.setattr(registration, "MOST_POINTS", 15_000)


def test_two_contrasts_become_two_volumes_on_one_grid(tmp_path: Path, cli: Cli) -> None:
    scan(tmp_path / "T1w.nii.gz", "T1w")
    scan(tmp_path / "T2w.nii.gz", "T2w", shift=4.0)
    (tmp_path / "T2w.json").write_text(json.dumps({"SliceThickness": 6.0}))
    result = cli("unires", "T1w.nii.gz", "T2w.nii.gz", "--voxel-size", "4", "--out", "sharp")
    assert result.code == 0, result.err
    assert "Super-resolution of T1w, T2w" in result.err
    assert "GB of memory" in result.err
    assert "Traceback" not in result.err
    folder = tmp_path / "sharp"
    assert names(folder) == ["T1w.json", "T1w.nii.gz", "T2w.json", "T2w.nii.gz", "unires.html"]
    first, second = (nib.load(folder / f"{name}.nii.gz") for name in ("T1w", "T2w"))
    assert first.shape == second.shape
    assert np.abs(nib.affines.voxel_sizes(first.affine) - 4).max() < 1e-4
    assert int(first.header["sform_code"]) == 1
    said = json.loads((folder / "T2w.json").read_text())["brainldm"]["unires"]
    moved = said["scans"][1]["registration"]
    assert moved["millimetres"] == pytest.approx(4, abs=1)
    assert said["objective"][-1] < said["objective"][0]
    assert said["scans"][0]["noise_sd"] == pytest.approx(0.02, rel=0.5)
    assert (folder / "unires.html").read_text().count("data:image/jpeg") == 4
    again = cli("unires", "T1w.nii.gz", "T2w.nii.gz", "--voxel-size", "4", "--out", "sharp")
    refused(again, "Would overwrite")
    before = (folder / "T1w.nii.gz").read_bytes()
    again = cli(
        *("unires", "T1w.nii.gz", "T2w.nii.gz", "--voxel-size", "4", "--out", "sharp"),
        "--overwrite",
    )
    assert again.code == 0
    assert (folder / "T1w.nii.gz").read_bytes() == before, "the same scans, the same volume"


def test_one_scan_says_what_is_done_with_it(tmp_path: Path, cli: Cli) -> None:
    scan(tmp_path / "T1w.nii.gz", "T1w")
    result = cli("unires", "T1w.nii.gz", "--voxel-size", "4", "--out", "sharp")
    assert result.code == 0, result.err
    assert "One scan, T1w: super-resolution of it alone" in result.err


def test_two_people_are_refused_with_their_score(tmp_path: Path, cli: Cli) -> None:
    scan(tmp_path / "T1w.nii.gz", "T1w")
    rng = np.random.default_rng(0)
    other = ndimage.gaussian_filter(rng.random((40, 40, 30)), 2) + 0.01 * rng.random((40, 40, 30))
    nib.save(
        nib.Nifti1Image(other.astype(np.float32), np.diag([5, 5, 6, 1.0])), tmp_path / "T2w.nii"
    )
    result = cli("unires", "T1w.nii.gz", "T2w.nii", "--voxel-size", "4", "--out", "sharp")
    refused(result, "normalised mutual information is 1.0", "--lowest-score")
    assert not (tmp_path / "sharp").exists()


def test_bad_options_and_files_are_refused(tmp_path: Path, cli: Cli) -> None:
    scan(tmp_path / "T1w.nii.gz", "T1w")
    refused(
        cli("unires", "T1w.nii.gz", "--slice-thickness", "thin", "--out", "o"), "is no list of mm"
    )
    refused(cli("unires", "T1w.nii.gz", "--slice-thickness", "30", "--out", "o"), "30 mm thick")
    refused(cli("unires", "nobody.nii.gz", "--out", "o"), "nobody.nii.gz")
