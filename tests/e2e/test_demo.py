"""The demo model that ships with the package, from the command line and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm import BrainLDM, Conditions, Volume
from tests.conftest import Run
from tests.toy import PUBLISHED


@pytest.fixture(scope="module")
def demo() -> BrainLDM:
    return BrainLDM.from_pretrained("demo", device="cpu")


def test_one_command_makes_a_head(run: Run, tmp_path: Path) -> None:
    done = run(
        *("brainldm", "generate", "--sex", "F", "--age", "65"),
        *("--ventricular-volume-ml", "30", "--brain-volume-ml", "1450"),
        *("--seed", "7", "--preview", "--out", "heads"),
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]  # names every file, and how to look at one
    assert f"brain_seed-7_T1w (.nii.gz, .json and .png) in {tmp_path / 'heads'};" in last
    assert last.endswith("look at brain_seed-7_T1w.png")
    image = nib.load(tmp_path / "heads" / "brain_seed-7_T1w.nii.gz")
    assert image.ndim == 3
    sidecar = json.loads((tmp_path / "heads" / "brain_seed-7_T1w.json").read_text())
    assert sidecar["synthetic"] is True


def test_it_covers_the_published_field_of_view(demo: BrainLDM) -> None:
    def box(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        edges = np.array([[-0.5, -0.5, -0.5, 1], [*(np.array(shape) - 0.5), 1]])
        return np.sort(edges @ affine[:3].T, axis=0)

    ours = box(demo.affine, demo.config.shape)
    published = box(np.array(PUBLISHED.affine), PUBLISHED.shape)
    np.testing.assert_allclose(ours, published, atol=1)


def test_ordinary_people_lie_inside_its_ranges(demo: BrainLDM) -> None:
    person = Conditions(sex="F", age=65, ventricular_volume_ml=30, brain_volume_ml=1450)
    context = demo.ranges.normalise([person])
    assert ((context >= 0) & (context <= 1)).all()


def test_it_says_that_it_is_for_trying_the_software(run: Run) -> None:
    done = run("brainldm", "info")
    assert done.returncode == 0, done.stderr
    assert "simulated" in done.stdout
    assert "not for research" in done.stdout


def test_the_template_survives_the_autoencoder(run: Run, tmp_path: Path, demo: BrainLDM) -> None:
    from nilearn.datasets import load_mni152_template

    load_mni152_template(resolution=1).to_filename(tmp_path / "template.nii.gz")
    done = run("brainldm", "reconstruct", "template.nii.gz", "--out", "out")
    assert done.returncode == 0, done.stderr
    template = demo.prepare(Volume.load(tmp_path / "template.nii.gz")).array
    result = Volume.load(tmp_path / "out" / "template_reconstruction.nii.gz").array
    assert np.corrcoef(template.ravel(), result.ravel())[0, 1] > 0.9
