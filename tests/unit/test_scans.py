"""Scans are found in every layout, and bad ones are named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.dataset.scans import ARCHIVED_SCAN, Scan, find_scans
from brainldm.errors import DataError, UsageError
from brainldm.prepare.reading import read_scan

SHAPE = (40, 50, 40)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def image(
    array: np.ndarray | None = None, affine: np.ndarray = AFFINE, **codes: int
) -> nib.Nifti1Image:
    if array is None:
        array = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    made = nib.Nifti1Image(array, affine)
    made.set_sform(affine, code=codes.get("sform", 1))
    made.set_qform(affine, code=codes.get("qform", 1))
    made.header.set_xyzt_units("mm")
    return made


def scan(path: Path) -> Scan:
    return Scan("a", path, ("a",))


def test_bids(tmp_path: Path) -> None:
    first = touch(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    second = touch(tmp_path / "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii")
    touch(tmp_path / "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii")
    touch(tmp_path / "derivatives/x/sub-03/anat/sub-03_T1w.nii.gz")
    table = touch(tmp_path / "participants.tsv")
    found = find_scans(tmp_path)
    assert found.layout == "BIDS"
    assert [(s.subject, s.path) for s in found.scans] == [("01", first), ("02", second)]
    assert found.scans[0].names[:2] == ("sub-01", "01")
    assert found.table == table
    assert found.failures == ()


def test_folder(tmp_path: Path) -> None:
    touch(tmp_path / "a_1.nii")
    touch(tmp_path / "deep/b.nii.gz")
    touch(tmp_path / "deep/.c.nii.gz")
    touch(tmp_path / "deep/c_2_T1w.nii.gz")
    touch(tmp_path / "notes.txt")
    touch(tmp_path / "deep/d.mgz")
    for end in ("hdr", "img"):
        touch(tmp_path / f"deep/e.{end}")
    found = find_scans(tmp_path)
    assert found.layout == "folder"
    assert [s.subject for s in found.scans] == ["a1", "b", "c2", "d", "e"]
    assert "a_1" in found.scans[0].names
    assert {"c2", "sub-c2", "c_2", "c_2_T1w"} <= set(found.scans[2].names)


def test_list_with_comments_and_relative_paths(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("# mine\nx/sub-7_T1w.nii.gz\n\n/elsewhere/b.nii  # good\n")
    found = find_scans(listing)
    assert found.layout == "list"
    assert {s.subject: (s.path, s.line) for s in found.scans} == {
        "7": (tmp_path / "x/sub-7_T1w.nii.gz", 2),
        "b": (Path("/elsewhere/b.nii"), 4),
    }


def test_uk_biobank(tmp_path: Path) -> None:
    path = tmp_path / "bulk/1000012_20252_3_0.zip"
    path.parent.mkdir()
    nib.save(image(), tmp_path / "T1.nii.gz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "T1.nii.gz", ARCHIVED_SCAN)
    (tmp_path / "T1.nii.gz").unlink()
    found = find_scans(tmp_path)
    assert found.layout == "UK Biobank"
    assert [(s.subject, s.instance) for s in found.scans] == [("1000012", "3")]
    assert read_scan(found.scans[0]).array.shape == SHAPE


def test_an_archive_without_the_scan_is_named(tmp_path: Path) -> None:
    path = tmp_path / "1000012_20252_2_0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(DataError, match=r"1000012_20252_2_0\.zip.*fetch it again"):
        read_scan(find_scans(tmp_path).scans[0])


def test_an_archive_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "1000012_20252_2_0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(ARCHIVED_SCAN, image().to_bytes(), zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(content)
        damaged[int(rng.integers(200, len(content) - 200))] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"1000012_20252_2_0\.zip.*fetch it again"):
            read_scan(find_scans(tmp_path).scans[0])


def test_several_scans_of_a_person_are_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    for run in ("1", "2"):
        touch(tmp_path / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz")
    touch(tmp_path / "sub-02/anat/sub-02_T1w.nii.gz")
    found = find_scans(tmp_path)
    assert [s.subject for s in found.scans] == ["02"]
    [failure] = found.failures
    assert failure.subject == "01"
    assert "sub-01_run-1_T1w.nii.gz" in failure.reason
    assert "one a person" in failure.reason


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_scans(tmp_path / "no")
    with pytest.raises(DataError, match="No scan is in"):
        find_scans(tmp_path)


def test_a_data_set_is_not_written_where_scans_are_looked_for(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    with pytest.raises(UsageError, match="Choose a folder outside"):
        find_scans(tmp_path, tmp_path / "data")
    touch(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    assert find_scans(tmp_path, tmp_path / "data").layout == "BIDS"
    with pytest.raises(UsageError):
        find_scans(tmp_path, tmp_path / "sub-data")


def mirrored() -> nib.Nifti1Image:
    made = image()
    made.set_qform(AFFINE @ np.diag([-1, 1, 1, 1]), code=1)
    return made


def in_metres() -> nib.Nifti1Image:
    made = image()
    made.header.set_xyzt_units("meter")
    return made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (image(np.zeros((*SHAPE, 2), np.float32)), "three dimensions"),
        (image(np.full(SHAPE, 7, np.float32)), "every voxel is 7"),
        (image(np.full(SHAPE, np.nan, np.float32)), "NaN"),
        (image(np.resize(np.float32([-1000, -1000, 40, 900]), SHAPE)), "looks like a CT: 50%"),
        (image(sform=0, qform=0), "does not say where in space"),
        (image(affine=np.diag([0.004, 0.004, 0.004, 1])), "expected a head in millimetres"),
        (in_metres(), "'meter': expected"),
        (mirrored(), "mirror images"),
    ],
    ids=["4-D", "constant", "NaN", "CT", "no codes", "tiny", "metres", "mirrored"],
)
def test_a_bad_scan_is_named_with_its_remedy(
    tmp_path: Path, made: nib.Nifti1Image, message: str
) -> None:
    path = tmp_path / "bad.nii.gz"
    nib.save(made, path)
    with pytest.raises(DataError, match=message) as error:
        read_scan(scan(path))
    assert str(path) in str(error.value)
