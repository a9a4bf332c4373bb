"""`brainldm segment`, and labels beside generated heads, with a tiny network of a few steps."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.cohort.gate import Checking
from brainldm.errors import UsageError
from brainldm.image.labels import LabelImage
from brainldm.image.volume import Volume
from brainldm.models.segmenter import SegmentationNetwork
from brainldm.segment import quality
from brainldm.segment.labelled import Labelled
from brainldm.segment.network import Network
from brainldm.segment.quality import Quality
from brainldm.segment.structures import STRUCTURES
from tests.cohorts import toy_cohort, write_plan
from tests.conftest import Cli, Run
from tests.segmenters import TINY, cache_with_phantom

ANY = (0, 1e9)
LENIENT = {
    **{"LEAST": 0, "INTRACRANIAL_ML": ANY, "BRAIN_SHARE": ANY},
    **{"CUT_MM2": 1e9, "SECOND_HEAD": 1e9},
}
"""Limits of quality that anything keeps."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter that a run left."""
    return tmp_path_factory.mktemp("run") / "segmenter"


@pytest.fixture
def trained(folder: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, trained through the command line when first asked for."""
    if not folder.exists():
        monkeypatch.setenv("BRAINLDM_CACHE", str(cache_with_phantom(tmp_path / "cache")))
        changes = [f"--set={change}" for change in (*TINY, "training.steps=2", "subjects=1")]
        result = cli("train", "segmenter", "--out", str(folder), *changes)
        assert result.code == 0, result.err
        assert "The segmenter is in" in result.out
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Noise, on 2 mm voxels, axes to the left, the feet and the front."""
    rng = np.random.default_rng(0)
    affine = np.array([[-2.0, 0, 0, 40], [0, 0, 2, -50], [0, -2, 0, 30], [0, 0, 0, 1]])
    path = tmp_path / "sub-1_T1w.nii.gz"
    nib.save(nib.Nifti1Image(rng.random((40, 34, 38), np.float32) * 900, affine), path)
    return path


def test_labels_lie_on_the_image(
    trained: Path, image: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels"
    result = cli("segment", str(image), "--segmenter", str(trained), "--out", str(out))
    assert result.code == 0, result.err
    assert "sub-1_T1w.nii.gz: no volumes are given: not segmented with certainty" in result.out
    names = {path.name for path in out.iterdir()}
    ends = ("nii.gz", "tsv", "json", "png")
    assert names == {*(f"sub-1_dseg.{end}" for end in ends), "volumes.tsv"}
    labels, scan = nib.load(out / "sub-1_dseg.nii.gz"), nib.load(image)
    assert labels.shape == scan.shape
    assert np.allclose(labels.affine, scan.affine, atol=1e-5)
    assert labels.get_data_dtype() == np.int16
    assert labels.header["sform_code"] == 1
    with (out / "sub-1_dseg.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert list(table[0]) == ["index", "name", "abbreviation", "color"]
    assert {*np.unique(labels.dataobj).tolist()} <= {int(row["index"]) for row in table}
    assert len(table) == len({row["name"] for row in table}) > len(STRUCTURES)
    said = json.loads((out / "sub-1_dseg.json").read_text())
    assert said["Sources"] == [image.name]
    assert said["brainldm"]["volumes_ml"] == {}
    with (out / "volumes.tsv").open() as file:
        [row] = csv.DictReader(file, delimiter="\t")
    assert row["image"] == image.name
    assert row["ventricular_volume_ml"] == "n/a"

    again = cli("segment", str(image), "--segmenter", str(trained), "--out", str(out))
    assert again.code == 2
    assert "Would overwrite" in again.err
    for limit, value in LENIENT.items():
        monkeypatch.setattr(quality, limit, value)
    options = ("--segmenter", str(trained), "--out", str(out), "--overwrite")
    found = cli("segment", str(image), *options)
    assert "brain normalised for head size" in found.out
    with (out / "volumes.tsv").open() as file:
        [row] = csv.DictReader(file, delimiter="\t")
    parts = [float(row[f"{side}_thalamus_ml"]) for side in ("left", "right")]
    assert min(parts) >= 0
    assert float(row["intracranial_volume_ml"]) > 0


def test_one_bad_image_does_not_stop_the_rest(
    trained: Path, image: Path, cli: Cli, tmp_path: Path
) -> None:
    series = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 20, 3), np.float32), np.diag([4, 4, 4, 1])), series)
    out = str(tmp_path / "labels")
    result = cli("segment", str(series), str(image), "--segmenter", str(trained), "--out", out)
    assert result.code == 1
    assert "series.nii.gz: not segmented:" in result.out
    assert "Labels of 1 images" in result.out
    alone = cli("segment", str(series), "--segmenter", str(trained), "--out", out)
    assert alone.code == 2
    assert "None of the images could be segmented" in alone.err


def test_what_cannot_be_done_is_refused(
    trained: Path, image: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainldm.segment.network.SHIPPED", tmp_path / "none")
    result = cli("segment", str(image), "--out", "labels")
    assert result.code == 2
    assert "There is no segmenter in" in result.err
    result = cli("segment", str(image), "--segmenter", str(tmp_path), "--out", "labels")
    assert "There is no segmenter in" in result.err
    twice = cli("segment", str(image), str(image), "--segmenter", str(trained), "--out", "labels")
    assert "labels of one name" in twice.err
    assert not (tmp_path / "labels").exists()


def test_labels_of_generated_heads(trained: Path, toy: str, cli: Cli, tmp_path: Path) -> None:
    arguments = ("generate", "--model", toy, "--seed", "5", "--steps", "2", "--out", "heads")
    result = cli(*arguments, "--labels", "--segmenter", str(trained))
    assert result.code == 0, result.err
    head, labels = (
        nib.load(tmp_path / "heads" / f"brain_seed-5_{end}.nii.gz") for end in ("T1w", "dseg")
    )
    assert head.shape == labels.shape
    assert np.allclose(head.affine, labels.affine)
    assert labels.header["sform_code"] == 4
    assert "brain_seed-5_T1w.nii.gz: no volumes" in result.out


def bright(volume: Volume, network: SegmentationNetwork) -> Labelled:
    """In the place of the network, which takes seconds: what is bright is white matter."""
    labels = LabelImage(np.where(volume.array > 0.5, 2, 0).astype(np.int16), volume.affine)
    return Labelled(labels, {2: 700.0, 41: 700.0, 4: 20.0, 43: 20.0}, Quality(0.9, ()))


def test_labels_of_a_cohort(
    trained: Path, toy: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainldm.segment.network.label", bright)
    network = Network.of(trained)
    cohort = replace(
        toy_cohort(write_plan(tmp_path / "people.tsv", 1), tmp_path / "out", Path(toy)),
        network=network,
        checking=Checking(measure=str(trained)),
    )
    assert cohort.run().made == 1
    [file] = (tmp_path / "out").glob("sub-*/anat/*_dseg.nii.gz")
    head = Volume.load(file.with_name(file.name.replace("_dseg", "_T1w")))
    assert np.array_equal(nib.load(file).dataobj, network.label(head).image.array)
    with (tmp_path / "out" / "participants.tsv").open() as table:
        [row] = csv.DictReader(table, delimiter="\t")
    assert row["ventricular_volume_ml_measured"] == "40"
    assert float(row["brain_volume_ml_measured"]) == pytest.approx(1400 / 1440 * 2074.4, rel=1e-4)
    result = run("bids-validator-deno", str(tmp_path / "out"), "--json")
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []

    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    assert cohort.run().made == 1
    assert file.read_bytes() == whole
    with pytest.raises(UsageError, match="labels"):
        replace(cohort, network=None).run()


def test_a_volume_knows_its_labels(
    trained: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainldm.segment.network.SHIPPED", trained)
    volume = Volume.load(image)
    labels = volume.labels
    assert labels is volume.labels
    assert labels.grid.equals(volume.grid)
    assert np.asarray(labels).dtype == np.int16
    assert labels.to_nibabel().shape == volume.array.shape
    direct = Network.of(trained)
    assert direct.identity.startswith("network ")
    assert np.array_equal(direct.label(volume).image.array, labels.array)


def test_the_run_is_described(cli: Cli) -> None:
    result = cli("train", "segmenter", "--out", "nowhere", "--dry-run")
    assert result.code == 0, result.err
    assert "432 subjects of 1 anatomies" in result.out
    assert not Path("nowhere").exists()
