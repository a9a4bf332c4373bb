"""`brainldm prepare`, from simulated scans in any orientation to a data set to train on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.checkpoint import load_config
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.images import moved
from brainldm.register.kept import load_template
from brainldm.simulate.scanner import as_scanned, draw_pose
from tests.conftest import Cli
from tests.template_head import SimulatedHead, simulate

CONFIG = load_config("demo")
GRID = Grid.of(CONFIG.shape, CONFIG.affine)
SEEDS = (70001, 70002)
SIZES = {70001: 1.0, 70002: 0.88}
"""Of the template's size: most people's heads are smaller."""
STEM = "space-MNI152NLin2009aSym_T1w"


def resized(seed: int) -> np.ndarray:
    return np.diag([*[SIZES[seed]] * 3, 1.0])


@pytest.fixture(scope="module")
def heads() -> dict[int, SimulatedHead]:
    return {seed: simulate(seed, load_template(), GRID) for seed in SEEDS}


@pytest.fixture(scope="module")
def scans(heads: dict[int, SimulatedHead], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS data set of two good scans, and a bad one of each kind."""
    folder = tmp_path_factory.mktemp("scans")

    def path(subject: object) -> Path:
        made = folder / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"
        made.parent.mkdir(parents=True)
        return made

    for seed, head in heads.items():
        scan = moved(as_scanned(head, GRID, seed), resized(seed))
        path(seed).write_bytes(scan.to_nifti())
    good = folder / f"sub-{SEEDS[0]}/anat/sub-{SEEDS[0]}_T1w.nii.gz"
    shutil.copy(good, path("copy"))
    path("damaged").write_bytes(good.read_bytes()[:5000])
    array = np.random.default_rng(0).random((60, 60, 60), dtype=np.float32)
    series = np.stack([array, array], axis=-1)
    nib.save(nib.Nifti1Image(series, np.diag([4.0, 4, 4, 1])), path("series"))
    (folder / "participants.tsv").write_text(
        "participant_id\tsex\tage\tventricular_volume_ml\tbrain_volume_ml\tsite\n"
        f"sub-{SEEDS[0]}\tF\t63\t25\t1390\tA\nsub-{SEEDS[1]}\tmale\t70.5\t33.3\t1444\tB\n"
    )
    return folder


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "participants.tsv").open() as file:
        return {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}


def test_from_scans_to_a_data_set(
    said: Cli, scans: Path, heads: dict[int, SimulatedHead], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    command = ("prepare", scans, "--out", out, "--model", "demo")
    code, told = said(*command, "--jobs", "2")
    assert code == 1, told
    assert "Prepared 2 scans (read as: BIDS), 3 failed." in told
    for words in ("sub-damaged_T1w.nii.gz", "three dimensions", "is the same file as"):
        assert words in told

    table = rows(out)
    assert list(table) == [f"sub-{seed}" for seed in SEEDS]
    first, second = table.values()
    assert (first["sex"], first["age"], first["site"]) == ("F", "63", "A")
    assert (second["sex"], second["age"], second["brain_volume_ml"]) == ("M", "70.5", "1444")
    for seed, head in heads.items():
        path = out / f"sub-{seed}/anat/sub-{seed}_{STEM}.nii.gz"
        image = nib.load(path)
        assert image.shape == CONFIG.shape
        assert np.allclose(image.affine, CONFIG.affine)
        assert (image.header["sform_code"], image.header["qform_code"]) == (4, 4)
        array = image.get_fdata()
        assert array.min() == 0
        assert array.max() == 1
        # The head lies where the sidecar says, turned by matrix and pose, and keeps its size.
        sidecar = json.loads((path.parent / f"sub-{seed}_{STEM}.json").read_text())["brainldm"]
        matrix = np.array(sidecar["registration"]["matrix"])
        assert np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max() < 1e-6
        motion = matrix @ resized(seed) @ draw_pose(np.random.default_rng(seed))
        clean = Volume(head.clean.numpy(), motion @ GRID.affine).resample(GRID)
        assert np.corrcoef(array.ravel(), clean.array.ravel())[0, 1] > 0.97
        # Which is about where it was: a head's place against the template's is its own affair.
        rotation = motion[:3, :3] / SIZES[seed]
        assert np.abs(np.arccos((np.trace(rotation) - 1) / 2)) < np.deg2rad(5)
        assert np.linalg.norm(motion[:3, 3]) < 12
    assert (first["ventricular_volume_ml"], first["brain_volume_ml"]) == ("25", "1390")
    assert (second["ventricular_volume_ml"], second["brain_volume_ml"]) == ("33.3", "1444")
    report = json.loads((out / "prepare.json").read_text())
    assert report["grid"]["shape"] == list(CONFIG.shape)
    assert report["covariates"]["brain_volume_ml"]["measured"] == 0
    assert set(report["failures"]) == {"copy", "damaged", "series"}
    page = (out / "quality.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert "sub-damaged" in page

    # The same command goes on where it was; what is done stays as it is.
    before = path.stat().st_mtime_ns
    assert said(*command)[0] == 1
    assert path.stat().st_mtime_ns == before
    code, told = said(*command, "--bias-field")
    assert code == 2
    assert "it differs in bias_field" in told
    code, told = said(*command, "--segmentation", "antz")
    assert code == 2
    assert "'antz': expected network, ants, or the folder" in told

    # Registered images are taken as they are, and turned ones are found.
    again = tmp_path / "again"
    turned = tmp_path / "turned" / "sub-turned_T1w.nii.gz"
    turned.parent.mkdir()
    image = nib.load(path)
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = 24
    upside_down = nib.Nifti1Image(image.get_fdata(dtype=np.float32), flip @ image.affine)
    upside_down.set_sform(flip @ image.affine, code="mni")
    nib.save(upside_down, turned)
    listing = tmp_path / "list.txt"
    listing.write_text(f"{path}\n{turned}\n")
    table_file = tmp_path / "given.tsv"
    table_file.write_text(
        "participant_id\tventricular_volume_ml\tbrain_volume_ml\n"
        f"sub-{seed}\t20\t1400\nsub-turned\t20\t1400\n"
    )
    as_they_are = ("--registered", "--table", table_file)
    code, told = said("prepare", listing, "--out", again, "--model", "demo", *as_they_are)
    assert code == 1, told
    assert "Lies upside down" in told
    same = nib.load(again / f"sub-{seed}/anat/sub-{seed}_{STEM}.nii.gz")
    assert np.array_equal(same.get_fdata(), image.get_fdata())


@pytest.mark.slow  # minutes of ANTs
# The network counts the fluid of the template's clefts, which are too narrow for it, as cortex.
@pytest.mark.parametrize(("segmentation", "within"), [("ants", 0.06), ("network", 0.12)])
def test_what_is_missing_is_measured(
    segmentation: str,
    within: float,
    said: Cli,
    scans: Path,
    heads: dict[int, SimulatedHead],
    tmp_path: Path,
) -> None:
    seed = SEEDS[0]
    listing = tmp_path / "list.txt"
    listing.write_text(f"{scans}/sub-{seed}/anat/sub-{seed}_T1w.nii.gz\n")
    measured = ("--segmentation", segmentation)
    code, told = said("prepare", listing, "--out", tmp_path / "data", "--model", "demo", *measured)
    assert code == 0, told
    row = rows(tmp_path / "data")[f"sub-{seed}"]
    truth = heads[seed].conditions
    # Voxels of 2 mm cost accuracy.
    assert float(row["ventricular_volume_ml"]) == pytest.approx(
        truth.ventricular_volume_ml, rel=0.2, abs=4
    )
    assert float(row["brain_volume_ml"]) == pytest.approx(truth.brain_volume_ml, rel=within)
    report = json.loads((tmp_path / "data" / "prepare.json").read_text())
    assert report["covariates"]["brain_volume_ml"]["measured"] == 1
