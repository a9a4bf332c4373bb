from __future__ import annotations

import errno
import io
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from brainldm.errors import DataError, StorageError, UsageError
from brainldm.image.grid import Grid
from brainldm.image.slices import GAP, PIXELS_PER_MM, preview_png
from brainldm.image.volume import Volume

# x runs to the left, as in the published model's space
AFFINE = np.array([[-2, 0, 0, 9.0], [0, 2, 0, -11.0], [0, 0, 2, -9.0], [0, 0, 0, 1]])
SHAPE = (10, 12, 10)


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let writes beyond a size fail in the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_saved_nifti_is_3d_in_mni_space(tmp_path: Path) -> None:
    path = Volume(noise(), AFFINE).save(tmp_path / "head.nii.gz")
    image = nib.load(path)
    assert image.shape == SHAPE
    assert image.get_data_dtype() == np.float32
    assert image.header["sform_code"] == image.header["qform_code"] == 4
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.get_sform(), AFFINE)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-6)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), noise())


@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz"])
def test_there_and_back(tmp_path: Path, name: str) -> None:
    volume = Volume.load(Volume(noise(), AFFINE).save(tmp_path / name))
    np.testing.assert_array_equal(volume.array, noise())
    np.testing.assert_array_equal(volume.affine, AFFINE)


def test_same_image_same_bytes(tmp_path: Path) -> None:
    first, second = (Volume(noise(), AFFINE).save(tmp_path / f"{i}.nii.gz") for i in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_sidecar_and_preview_lie_beside(tmp_path: Path) -> None:
    Volume(noise(), AFFINE, {"synthetic": True}).save(tmp_path / "a" / "x.nii.gz", preview=True)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "x.json",
        "x.nii.gz",
        "x.png",
    ]
    assert json.loads((tmp_path / "a" / "x.json").read_text()) == {"synthetic": True}


def test_existing_files_are_kept_unless_told(tmp_path: Path) -> None:
    path = Volume(noise(), AFFINE, {"seed": 1}).save(tmp_path / "x.nii.gz", preview=True)
    before = path.read_bytes()
    other = Volume(1 - noise(), AFFINE, {"seed": 2})
    with pytest.raises(UsageError, match=r"Would overwrite .*x\.nii\.gz.*--overwrite"):
        other.save(path)
    assert path.read_bytes() == before
    other.save(path, overwrite=True)
    assert path.read_bytes() != before
    assert json.loads((tmp_path / "x.json").read_text()) == {"seed": 2}
    # the preview showed the head that is gone
    assert not (tmp_path / "x.png").exists()


def test_an_old_sidecar_alone_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UsageError, match=r"Would overwrite .*x\.json"):
        Volume(noise(), AFFINE, {"seed": 1}).save(tmp_path / "x.nii.gz")
    assert not (tmp_path / "x.nii.gz").exists()


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    volume = Volume(noise((30, 30, 30)), AFFINE, {"seed": 1})
    with (
        files_of_at_most(5000),
        pytest.raises(StorageError, match=r"Cannot write .*x\.nii\.gz: File too large.*Free some"),
    ):
        volume.save(tmp_path / "x.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_no_space_left_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Volume(noise(), AFFINE, {"seed": 1}).save(tmp_path / "x.nii.gz")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        Volume(1 - noise(), AFFINE, {"seed": 2}).save(path, overwrite=True)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Volume(noise(), AFFINE, {"seed": 1}).save(tmp_path / "x.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Cannot make the folder .*choose another"):
        Volume(noise(), AFFINE).save(tmp_path / "file" / "x.nii.gz")


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may write anywhere, so the system's answer is put in its mouth
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match=r"Cannot write into the folder .*permission denied"):
        Volume(noise(), AFFINE).save(tmp_path / "x.nii.gz")


def test_other_suffix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'x\.mgz': expected a name ending in \.nii\.gz"):
        Volume(noise(), AFFINE).save(tmp_path / "x.mgz")


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2), (0, 4, 4)])
def test_array_that_is_not_3d(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected three dimensions \(X, Y, Z\)"):
        Volume(np.zeros(shape), AFFINE)


def test_array_with_nan() -> None:
    array = noise()
    array[0, 0, :2] = np.nan, np.inf
    with pytest.raises(DataError, match="2 of the image's 1200 values are NaN or infinite"):
        Volume(array, AFFINE)


@pytest.mark.parametrize("affine", [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_affine_that_is_none(affine: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected an invertible 4 x 4 matrix"):
        Volume(noise(), affine)


def test_load_4d(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(noise((4, 4, 4, 2)), AFFINE), tmp_path / "series.nii.gz")
    with pytest.raises(DataError, match=r"series\.nii\.gz: .*\(4, 4, 4, 2\).*Take one volume"):
        Volume.load(tmp_path / "series.nii.gz")


def test_load_without_a_place_in_space(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), None)
    assert not image.header["sform_code"]
    assert not image.header["qform_code"]
    nib.save(image, tmp_path / "x.nii")
    with pytest.raises(DataError, match="does not say where in space it lies"):
        Volume.load(tmp_path / "x.nii")


def test_load_what_is_not_a_nifti(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_text("a picture")
    (tmp_path / "x.txt").write_text("a letter")
    for name, kind, message in (
        ("x.nii.gz", DataError, "Expected a whole NIfTI"),
        ("x.txt", DataError, "Expected a whole NIfTI"),
        ("missing.nii", StorageError, "Cannot read"),
    ):
        with pytest.raises(kind, match=message):
            Volume.load(tmp_path / name)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_load_truncated(tmp_path: Path, name: str) -> None:
    path = Volume(noise(), AFFINE).save(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="Expected a whole NIfTI"):
        Volume.load(path)


def test_load_complex(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(noise().astype(np.complex64), AFFINE), tmp_path / "x.nii")
    with pytest.raises(DataError, match=r"values of type complex64.*: expected real numbers"):
        Volume.load(tmp_path / "x.nii")


def test_resampling_follows_the_headers() -> None:
    # An image that holds its own world coordinates still holds them on any other grid.
    i, j, k = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    world = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ AFFINE.T
    other = np.array([[0, 1.5, 0, -6], [0, 0, 1.5, -6], [1.5, 0, 0, -6], [0, 0, 0, 1.0]])
    shape = (8, 7, 6)
    i, j, k = np.meshgrid(*map(np.arange, shape), indexing="ij")
    expected = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ other.T
    for axis in range(3):
        moved = Volume(world[..., axis], AFFINE).resample(Grid.of(shape, other))
        assert moved.array.shape == shape
        np.testing.assert_allclose(moved.array, expected[..., axis], atol=1e-4)


@pytest.mark.parametrize("degrees", [0, 35])
@pytest.mark.parametrize("frequency", [0.1, 0.3])
def test_wider_voxels_are_averages(frequency: float, degrees: float) -> None:
    # Waves along the world's x, in cycles/mm, of a scan that lies askew in voxels of 0.5 mm. Above
    # 0.25, what voxels of 2 mm cannot hold fades and does not fold back.
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [degrees] * 3, degrees=True).as_matrix() / 2
    affine[:3, 3] = -affine[:3, :3] @ [59.5, 59.5, 59.5]
    x, _, _ = Grid.of((120, 120, 120), affine).points()
    coarse = np.diag([2.0, 2, 2, 1])
    coarse[:3, 3] = -9
    grid = Grid.of((10, 10, 10), coarse)
    seen = Volume(np.cos(2 * np.pi * frequency * x), affine).resample(grid).array
    kept = np.exp(-2 * (np.pi * frequency) ** 2 * (2**2 - 0.5**2) / (8 * np.log(2)))
    expected = kept * np.cos(2 * np.pi * frequency * grid.points()[0])
    assert np.abs(seen - expected).max() < 0.04  # interpolation takes a little, too


def test_resampling_onto_itself_changes_nothing() -> None:
    np.testing.assert_array_equal(
        Volume(noise(), AFFINE).resample(Grid.of(SHAPE, AFFINE)).array, noise()
    )


def test_resampling_far_away() -> None:
    far = AFFINE.copy()
    far[2, 3] += 500
    with pytest.raises(DataError, match=r"centred on \[0\.0, 0\.0, 500\.0\] mm, does not touch"):
        Volume(noise(), far).resample(Grid.of(SHAPE, AFFINE))


def test_preview_shows_each_side_where_its_label_says() -> None:
    # Bright to the subject's right and top, in an array whose x runs to the left.
    array = np.zeros((20, 20, 20), np.float32)
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = 19, -19, -19
    array[:10, :, 10:] = 1
    picture = np.asarray(Image.open(io.BytesIO(preview_png(array, affine))))
    side = 20 * 2 * PIXELS_PER_MM
    assert picture.shape == (side, 3 * side + 2 * GAP)
    quarter = side // 4
    coronal = picture[:, side + GAP : 2 * side + GAP]
    assert coronal[quarter, 3 * quarter] == 255  # top right
    assert coronal[quarter, quarter] == 0  # top left
    assert coronal[3 * quarter, 3 * quarter] == 0  # bottom right
    axial = picture[:, 2 * (side + GAP) :]
    assert axial[quarter, 3 * quarter] == 255
    assert axial[quarter, quarter] == 0


def test_preview_without_the_origin_in_view() -> None:
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = 100
    picture = Image.open(io.BytesIO(preview_png(noise(), affine)))
    assert picture.size == ((12 + 10 + 10) * PIXELS_PER_MM + 2 * GAP, 12 * PIXELS_PER_MM)
