"""Simulated data sets: whole, the same whoever makes them, and fit for training and evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.checkpoint import load_config
from brainldm.dataset.prepared import read_prepared
from brainldm.errors import DataError, UsageError
from brainldm.evaluate.sets import find_heads
from brainldm.image.grid import Grid
from brainldm.simulate import download as downloads
from brainldm.simulate.run import grid_of, simulate_data_set
from brainldm.simulate.sources import Source, find_sources
from brainldm.simulate.subject import Ranges, own_volumes
from tests.conftest import Cli
from tests.host import serve
from tests.phantoms import phantom, write_label_map

OWN = own_volumes(phantom())
RANGES = Ranges((OWN[0] * 0.6, OWN[0] * 2), (OWN[1] * 0.95, OWN[1] * 1.05))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that has a phantom in the place of the template."""
    folder = tmp_path_factory.mktemp("cache")
    phantom().save(Source("template", None).file(folder / "anatomies"))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Three heads and their twins at 4 mm."""
    folder = tmp_path_factory.mktemp("data") / "heads"
    simulate_data_set(folder, 3, voxel_size=4, twins=True, ranges=RANGES, cache=cache, jobs=2)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "participants.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_data_set_can_be_trained_on(data: Path) -> None:
    prepared = read_prepared(data)
    prepared.check_images()
    assert prepared.grid.equals(grid_of(4))
    assert len(prepared) == 6
    assert 0 <= prepared.image(0).min() < prepared.image(0).max() <= 1
    heads = find_heads(data, "real")
    assert len(heads) == 6
    assert {head.known["sex"] for head in heads} <= {"F", "M"}


def test_the_table_tells_the_truth(data: Path) -> None:
    for row in rows(data):
        anat = data / row["participant_id"] / "anat"
        [file] = anat.glob("*_dseg.nii.gz")
        labels = nib.load(file)
        assert labels.get_data_dtype() == np.int16
        counted = np.isin(np.asarray(labels.dataobj), (4, 5, 43, 44)).sum() * 0.064
        assert float(row["ventricular_volume_ml"]) == pytest.approx(counted, rel=1e-4)
        assert row["anatomy"] == "template"
        with next(anat.glob("*_dseg.tsv")).open() as table:
            names = {
                int(each["index"]): each["name"] for each in csv.DictReader(table, delimiter="\t")
            }
        assert set(np.unique(labels.dataobj)) <= set(names)
        sidecar = json.loads(next(anat.glob("*_T1w.json")).read_text())
        assert sidecar["synthetic"] is True
        assert sidecar["brainldm"]["seed"] == int(row["seed"])


def test_a_twin_differs_in_its_volumes_alone(data: Path) -> None:
    for one, other in zip(*[iter(rows(data))] * 2, strict=True):
        assert other["participant_id"] == one["participant_id"] + "twin"
        for same in ("sex", "age", "anatomy", "mirrored", "seed", "person"):
            assert one[same] == other[same]
        assert one["ventricular_volume_ml"] != other["ventricular_volume_ml"]


def test_a_head_is_the_same_whoever_makes_it_and_is_not_made_again(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    settings = {"voxel_size": 4, "ranges": RANGES, "cache": cache}
    simulate_data_set(tmp_path, 1, seed=2, **settings)
    [image] = tmp_path.glob("sub-000002/anat/*_T1w.nii.gz")
    assert image.read_bytes() == (data / image.relative_to(tmp_path)).read_bytes()
    before = image.stat().st_mtime_ns
    image.with_name("x.partial").touch()
    summary = simulate_data_set(tmp_path, 2, seed=1, **settings)
    assert (summary.made, summary.heads) == (1, 2)
    assert image.stat().st_mtime_ns == before
    assert [row["participant_id"] for row in rows(tmp_path)] == ["sub-000001", "sub-000002"]
    next(tmp_path.glob("sub-000001/anat/*_T1w.json")).unlink()  # as a kill leaves it
    assert simulate_data_set(tmp_path, 2, seed=1, **settings).made == 1
    with pytest.raises(UsageError, match="another data set: it differs in ranges"):
        simulate_data_set(tmp_path, 1, seed=2, **{**settings, "ranges": Ranges()})


def test_heads_as_a_scanner_gives_them(cache: Path, tmp_path: Path) -> None:
    simulate_data_set(tmp_path, 1, voxel_size=4, ranges=RANGES, cache=cache, scanned=True)
    image = nib.load(tmp_path / "sub-000000/anat/sub-000000_T1w.nii.gz")
    assert not Grid.of(image.shape, image.affine).equals(grid_of(4))
    assert not (tmp_path / "prepare.json").exists()
    assert not list(tmp_path.rglob("*_dseg*"))


def test_other_contrasts_have_names_of_their_own(cache: Path, tmp_path: Path) -> None:
    simulate_data_set(tmp_path, 1, contrast="flair", voxel_size=8, ranges=RANGES, cache=cache)
    assert list(tmp_path.glob("sub-*/anat/*_FLAIR.nii.gz"))
    assert not (tmp_path / "prepare.json").exists()


def test_the_grids_are_the_models() -> None:
    for model, size in (("published", 1), ("demo", 2)):
        config = load_config(model)
        assert grid_of(size).equals(Grid.of(config.shape, config.affine))
    for size in (3, 0.25, 16):
        with pytest.raises(UsageError, match="do not fit the field of view of 160 x 224 x 160 mm"):
            grid_of(size)


def test_anatomies_are_chosen_by_name(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_label_map(tmp_path / f"{name}.nii.gz")
    assert [source.name for source in find_sources(tmp_path, leave_out=("b",))] == ["a", "c"]
    assert [source.name for source in find_sources(tmp_path, only=("b",))] == ["b"]
    with pytest.raises(UsageError, match="no anatomy d: expected names among a, b, c"):
        find_sources(tmp_path, only=("d",))
    with pytest.raises(UsageError, match="No anatomy is left"):
        find_sources(tmp_path, only=("a",), leave_out=("a",))
    assert [source.name for source in find_sources(None)] == ["template"]


def test_a_bad_label_map_stops_before_any_head(tmp_path: Path) -> None:
    maps, out = tmp_path / "maps", tmp_path / "out"
    maps.mkdir()
    write_label_map(maps / "a.nii.gz", _4=24)
    with pytest.raises(DataError, match="expected a left and a right lateral ventricle"):
        simulate_data_set(out, 1, label_maps=maps, cache=tmp_path)
    assert not list(out.rglob("*.nii.gz"))


def test_the_command(
    said: Cli, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINLDM_CACHE", str(cache))
    out = tmp_path / "out"
    code, output = said("simulate", "--number", 1, "--voxel-size", 8, "--out", out)
    assert code == 0, output
    assert "Simulated 1 heads; 1 are in" in output
    code, output = said("simulate", "--voxel-size", 3, "--out", tmp_path / "other")
    assert code == 2
    assert "do not fit the field of view" in output
    assert not (tmp_path / "other").exists()
    (tmp_path / "empty").mkdir()
    code, output = said("simulate", "--label-maps", tmp_path / "empty", "--out", tmp_path / "other")
    assert code == 2
    assert "has no label maps" in output


def test_label_maps_are_downloaded_when_asked_for(
    said: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path))
    with serve(monkeypatch) as host:
        host.cuts = [1_000_000]
        files = (host.file(name="a.nii.gz"), host.file(name="prior_means_t1.npy"))
        monkeypatch.setattr(downloads, "LABEL_MAPS", files)
        code, output = said("download", "label-maps")
    assert code == 0, output
    assert host.asked[:2] == [None, "bytes=1000000-"]  # resumed
    folder = tmp_path / "label-maps"
    assert sorted(path.name for path in folder.iterdir()) == ["a.nii.gz", "prior_means_t1.npy"]
    assert f"--label-maps {folder}" in output.replace("\n", "")
    assert "Apache-2.0" in output


def test_twenty_label_maps_and_their_priors_can_be_had() -> None:
    names = [file.name for file in downloads.LABEL_MAPS]
    assert names[:2] == ["training_seg_01.nii.gz", "training_seg_02.nii.gz"]
    assert len(names) == len(set(names)) == 23
    assert len({file.hash for file in downloads.LABEL_MAPS}) == 23
    assert all(file.hash.startswith("sha256:") for file in downloads.LABEL_MAPS)
    assert all(file.urls[0].endswith(file.name) for file in downloads.LABEL_MAPS)
