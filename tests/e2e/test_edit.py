"""`brainldm edit` with the demo model, and what it refuses before it loads one."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import load_mni152_template

from brainldm import BrainLDM, Volume
from brainldm.dataset.sidecar import MNI152
from brainldm.edit import demons
from tests.commands import Cli, names, refused
from tests.tame import head as ball
from tests.tame import write_tame_model

PERSON = {"sex": "F", "age": 60, "ventricular_volume_ml": 25, "brain_volume_ml": 1500}
KNOWN = tuple(part for name, value in PERSON.items() for part in ("--known", f"{name}={value}"))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of the demo model, with its sidecar."""
    model = BrainLDM.from_pretrained("demo")
    [volume] = model.generate(PERSON, seed=3, steps=5, progress=False)
    return volume.save(tmp_path_factory.mktemp("heads") / "head_T1w.nii.gz")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demons, "LEVELS", ((4, 30), (2, 15), (1, 1)))


def test_a_series_of_larger_ventricles(head: Path, tmp_path: Path, cli: Cli) -> None:
    asked = ("edit", str(head), "--ventricular-volume-ml", "+15,+40", "--steps", "4")
    result = cli(*asked, "--out", "edited")
    assert result.code == 0, result.err
    stems = [f"head_T1w_ventricular-volume-{ml}" for ml in (40, 65)]
    ends = ("json", "nii.gz", "png")
    folder = tmp_path / "edited"
    assert names(folder) == sorted(
        ["head_T1w_edit.html", *(f"{stem}.{end}" for stem in stems for end in ends)]
    )
    scan = Volume.load(head).array
    first, second = (Volume.load(folder / f"{stem}.nii.gz").array for stem in stems)
    middle = (slice(28, 52), slice(45, 80), slice(30, 50))
    dark = [int((image[middle] < 0.35).sum()) for image in (scan, first, second)]
    assert dark[0] < dark[1] < dark[2]
    said = json.loads((folder / f"{stems[0]}.json").read_text())
    assert said["synthetic"] is True
    record = said["brainldm"]
    assert record["derived_from"][0]["name"] == head.name
    assert record["edit"]["origins"]["age"] == "sidecar"
    assert record["edit"]["kept"] == pytest.approx(np.mean(first == scan), abs=0.02)
    assert record["edit"]["trip_psnr"] > record["edit"]["floor_psnr"] - 1
    assert record["edit"]["doubts"] == []
    volumes = [
        json.loads((folder / f"{stem}.json").read_text())["brainldm"]["measured"] for stem in stems
    ]
    assert volumes[0]["ventricular_volume_ml"] < volumes[1]["ventricular_volume_ml"]
    page = (folder / "head_T1w_edit.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert f"ventricular volume measured {volumes[1]['ventricular_volume_ml']:.4g} mL" in page
    assert f"{stems[1]}.nii.gz" in result.out
    assert "dB" in result.out
    refused(cli(*asked, "--out", "edited"), "Would overwrite", stems[0])


def test_a_lesion_is_filled(head: Path, tmp_path: Path, cli: Cli) -> None:
    scan = Volume.load(head)
    mask = np.zeros(scan.array.shape, np.float32)
    mask[48:54, 60:66, 45:50] = 1  # in the white matter of one side
    broken = Volume(np.where(mask > 0, 0, scan.array).astype(np.float32), scan.affine, scaled=True)
    broken.save(tmp_path / "scan.nii.gz")
    Volume(mask, scan.affine).save(tmp_path / "lesion.nii.gz")
    fill = ("edit", "scan.nii.gz", "--registered", "--scaled", *KNOWN, "--mask", "lesion.nii.gz")
    result = cli(*fill, "--seed", "1", "--steps", "3", "--out", "filled")
    assert result.code == 0, result.err
    filled = Volume.load(tmp_path / "filled" / "scan_inpainted_seed-1.nii.gz").array
    far = np.ones(mask.shape, bool)
    far[46:56, 58:68, 43:52] = False
    assert np.array_equal(filled[far], broken.array[far])
    inside = mask > 0
    error = [np.abs(image - scan.array)[inside].mean() for image in (broken.array, filled)]
    assert error[1] < 0.2 * error[0]
    Volume(mask[1:], scan.affine).save(tmp_path / "other.nii.gz")
    refused(cli(*fill[:-1], "other.nii.gz"), "another grid than the scan")
    refused(cli(*fill, "--age", "+5"), "Got a change of conditions and --mask")
    refused(cli(*fill, "--number", "0"), "--number is 0")


def test_heads_on_the_way_to_another(tmp_path: Path, cli: Cli) -> None:
    model = write_tame_model(tmp_path)
    ball(BrainLDM.from_pretrained(model)).save(tmp_path / "ball.nii.gz")
    said = {name: {"value": value} for name, value in PERSON.items()}
    made = {"space": MNI152, "conditions": said, "intensity": {"scale": [0, 1]}}
    (tmp_path / "ball.json").write_text(json.dumps({"brainldm": made}))
    edit = ("edit", "ball.nii.gz", "--model", str(model), "--steps", "3")
    other = ("--with", "ball.nii.gz", "--known-of-other", "age=80")
    result = cli(*edit, *other, "--number", "2", "--out", "way")
    assert result.code == 0, result.err
    stems = [f"ball_interpolated-{place}" for place in (1, 2)]
    said = [json.loads((tmp_path / "way" / f"{stem}.json").read_text()) for stem in stems]
    ages = [each["brainldm"]["conditions"]["age"]["value"] for each in said]
    assert ages == pytest.approx([60, 80])
    refused(cli(*edit, *other, "--number", "1"), "expected 2 or more")
    refused(cli(*edit, "--age", "70", "--number", "3"), "--number is for --mask")
    refused(cli(*edit, "--age", "70", "--seed", "3"), "--seed is for --mask and")


def test_thick_slices_are_made_fine(tmp_path: Path, cli: Cli) -> None:
    model = write_tame_model(tmp_path)
    whole = ball(BrainLDM.from_pretrained(model))
    seen = (whole.array[:, :, ::2] + whole.array[:, :, 1::2]) / 2
    affine = whole.affine @ np.diag([1, 1, 2, 1.0])
    affine[:3, 3] = (whole.affine @ [0, 0, 0.5, 1])[:3]
    Volume(seen, affine).save(tmp_path / "thick.nii.gz")
    Volume(whole.array, whole.affine).save(tmp_path / "fine.nii.gz")
    made = {"space": MNI152, "intensity": {"scale": [0, 1]}}
    for name in ("thick", "fine"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"brainldm": made}))
    finer = ("--super-resolve", "--model", str(model), *KNOWN, "--steps", "3")
    result = cli("edit", "thick.nii.gz", *finer, "--seed", "5", "--number", "2", "--out", "fine")
    assert result.code == 0, result.err
    for seed in (5, 6):
        found = Volume.load(tmp_path / "fine" / f"thick_super-resolved_seed-{seed}.nii.gz")
        assert found.grid.equals(whole.grid)
    refused(cli("edit", "fine.nii.gz", *finer), "as fine as the model's grid")
    refused(cli("edit", "thick.nii.gz", *finer, "--age", "+5"), "and --super-resolve: expected one")


def test_what_stands_nowhere_is_asked_for(head: Path, tmp_path: Path, cli: Cli) -> None:
    bare = tmp_path / "scan.nii.gz"
    nib.save(nib.load(head), bare)
    edit = ("edit", "scan.nii.gz", "--registered", "--age", "+5")
    refused(cli(*edit), "not given: sex, age", "--known sex=F|M --known age=63")
    refused(cli(*edit, "--known", "sex=F"), "not given: age", "--known age=63")
    refused(cli(*edit, *KNOWN[:-1], "brain_volume_ml=9"), "brain_volume_ml is 9 mL")
    refused(cli(*edit, "--known", "weight=3"), "--known weight: expected a condition of the model")
    refused(cli(*edit, "--known", "sex"), "--known is 'sex': expected NAME=VALUE")


def test_changes_that_cannot_be_made_are_refused(head: Path, cli: Cli) -> None:
    edit = ("edit", str(head))
    refused(cli(*edit), "Nothing is to change", "--age +10")
    refused(cli(*edit, "--age", "+50"), "age is 110 years", "--extrapolate")
    refused(cli(*edit, "--age", "+5", "--steps", "0"), "steps is 0")
    refused(cli(*edit, "--age", "old"), "age is 'old': expected a number")
    refused(cli(*edit, "--age", "50,60", "--sex", "M,F,M"), "age has 2")
    refused(cli(*edit, "--age", "70,+10"), "Two results would be age-70")
    refused(cli(*edit, "--condition", "height=+3"), "no condition height")
    refused(cli(*edit, "--condition", "age=3"), "give it as --age 3")
    refused(cli(*edit, "--age", "70", "--segmenter", "nowhere", "--like", "model"), "nowhere")


def test_scans_that_are_no_whole_heads_are_refused(tmp_path: Path, cli: Cli) -> None:
    load_mni152_template(resolution=2).to_filename(tmp_path / "brain.nii.gz")
    edit = ("edit", "brain.nii.gz", "--age", "+5", *KNOWN)
    refused(cli(*edit, "--registered"), "is skull-stripped: expected a whole head")
    empty = nib.Nifti1Image(np.zeros((80, 90, 80), np.float32), np.diag([2, 2, 2, 1]))
    nib.save(empty, tmp_path / "empty.nii.gz")
    refused(cli("edit", "empty.nii.gz", "--age", "+5", *KNOWN), "is empty")
    refused(cli("edit", "nobody.nii.gz", "--age", "+5"), "nobody.nii.gz")
