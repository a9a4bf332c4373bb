"""Label maps: read as their header says, cleaned, and refused where no head can be made of them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.errors import DataError, UsageError
from brainldm.simulate.contrast import MATERIALS
from brainldm.simulate.labelmap import NECK_MM, find_label_maps, read_label_map
from brainldm.simulate.layers import split_layers
from brainldm.simulate.priors import read_priors
from brainldm.simulate.tissues import MIRROR, NUMBERS, TISSUES, of_kind, place
from tests.phantoms import write_label_map


def test_the_table_of_tissues_holds_together() -> None:
    assert len({(t.number, t.material) for t in TISSUES}) == len(TISSUES)
    assert {t.material for t in TISSUES} == set(MATERIALS)
    assert (MIRROR[MIRROR] == np.arange(len(TISSUES))).all()
    kinds = [TISSUES[i].kind for i in MIRROR]
    assert kinds == [t.kind for t in TISSUES]
    sided = [t for t in TISSUES if t.name.startswith(("left", "right"))]
    assert all(TISSUES[MIRROR[TISSUES.index(t)]].number != t.number for t in sided)


def test_a_label_map_is_read_as_its_header_says(tmp_path: Path) -> None:
    image = write_label_map(tmp_path / "a.nii.gz")
    first = read_label_map(tmp_path / "a.nii.gz", "a")
    for axes, flips in product(((1, 0, 2), (2, 1, 0)), ((1, 1, -1), (-1, 1, 1))):
        turned = image.as_reoriented(np.stack([axes, flips], axis=1))
        nib.save(turned, tmp_path / "b.nii")
        other = read_label_map(tmp_path / "b.nii", "b")
        assert (other.tissues == first.tissues).all()
        assert np.abs(other.affine - first.affine).max() < 1e-4
    left = nib.affines.apply_affine(first.affine, np.argwhere(first.tissues == place(2)))
    assert left[:, 0].max() < 0


def test_what_hangs_apart_is_left_out_and_a_cut_neck_goes_on(tmp_path: Path) -> None:
    image = write_label_map(tmp_path / "a.nii.gz", size=0.6)
    whole = read_label_map(tmp_path / "a.nii.gz", "a").tissues
    numbers = np.array(nib.as_closest_canonical(image).dataobj)
    low = int(np.argwhere(numbers > 0)[:, 2].min())
    cut = low + 6
    numbers[:, :, :cut] = 0
    numbers[0, 0, -1] = 24
    nib.save(nib.Nifti1Image(numbers, nib.as_closest_canonical(image).affine), tmp_path / "b.nii")
    other = read_label_map(tmp_path / "b.nii", "b")
    slices = (other.tissues > 0).any(axis=(0, 1))
    assert slices[0]  # down to the edge of the map
    assert (other.tissues[:, :, 0] == other.tissues[:, :, NECK_MM]).all()
    assert np.count_nonzero(slices) == np.count_nonzero(numbers.any(axis=(0, 1))) + NECK_MM - 2
    kept = of_kind("brain")
    assert np.count_nonzero(kept[other.tissues]) == np.count_nonzero(kept[whole])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_511": 9999}, "does not know: 9999"),
        ({"_4": 24}, "expected a left and a right lateral ventricle"),
        ({"_24": 0}, "expected fluid around the brain"),
        ({"_515": 0, "_511": 0, "_507": 0}, "expected skin or soft tissue"),
    ],
)
def test_a_map_that_lacks_something_is_refused(
    tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    write_label_map(tmp_path / "a.nii.gz", **changes)
    with pytest.raises(DataError, match=message):
        read_label_map(tmp_path / "a.nii.gz", "a")


def test_a_map_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    image = nib.as_closest_canonical(write_label_map(path))
    numbers, affine = np.array(image.dataobj), image.affine

    def refused(array: np.ndarray, matrix: np.ndarray, message: str) -> None:
        nib.save(nib.Nifti1Image(array, matrix), path)
        with pytest.raises(DataError, match=message):
            read_label_map(path, "a")

    refused(np.stack([numbers] * 2, -1), affine, "expected three dimensions")
    refused(numbers, affine * [[2], [2], [2], [1]], "voxels of 2 x 2 x 2 mm: expected about 1 mm")
    refused(numbers, affine @ np.diag([-1.0, 1, 1, 1]), "mistake the sides")
    big = np.repeat(np.repeat(numbers, 2, 0), 2, 1)  # wide enough for its crown to count
    refused(big[:, :, : numbers.shape[2] // 2], affine, "cut at the crown")
    path.write_bytes(b"not an image")
    with pytest.raises(DataError, match="Cannot read"):
        read_label_map(path, "a")


def test_a_folder_is_searched_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        find_label_maps(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no label maps"):
        find_label_maps(tmp_path)
    write_label_map(tmp_path / "b.nii.gz")
    write_label_map(tmp_path / "a.nii")
    assert list(find_label_maps(tmp_path)) == ["a", "b"]
    write_label_map(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="two label maps of one name"):
        find_label_maps(tmp_path)


def test_layers_keep_their_numbers(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.nii.gz")
    labels = read_label_map(tmp_path / "a.nii.gz", "a")
    split = split_layers(labels)
    assert (NUMBERS[split] == NUMBERS[labels.tissues]).all()
    assert (split == place(507, "fat")).any()
    assert (split == split_layers(labels)).all()


def test_priors_are_read_where_they_are(tmp_path: Path) -> None:
    assert read_priors(tmp_path) is None
    np.save(tmp_path / "generation_labels.npy", np.array([0, 2, 41, 3]))
    np.save(tmp_path / "generation_classes_contrast_specific.npy", np.array([0, 1, 1, 2]))
    np.save(tmp_path / "prior_means_t1.npy", np.array([[5.0, 160, 96], [1, 20, 12]]))
    priors = read_priors(tmp_path)
    assert priors is not None
    assert priors.rows[41] == (160.0, 20.0)
    np.save(tmp_path / "prior_means_t1.npy", np.array([[5.0, 160], [1, 20]]))
    with pytest.raises(DataError, match="Cannot read the priors"):
        read_priors(tmp_path)
