"""A prepared data set: every fault is named by file and row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from brainldm.dataset.prepared import read_prepared
from brainldm.errors import BrainLDMError
from brainldm.image.volume import Volume
from tests.prepared import AFFINE, SHAPE, write_prepared

Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data"), subjects=3)


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def image(folder: Path, subject: str = "01") -> Path:
    return next((folder / f"sub-{subject}").rglob("*.nii.gz"))


def replace(file: str, old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return edit


def content(file: str, text: str) -> Edit:
    return lambda folder: (folder / file).write_text(text) and None


def test_what_is_read(data: Path) -> None:
    heads = read_prepared(data)
    assert heads.subjects == ("00", "01", "02")
    assert heads.grid.shape == SHAPE
    assert np.array_equal(heads.grid.affine, AFFINE)
    assert heads.columns["sex"] == ("F", "M", "F")
    heads.check_images()
    head = heads.image(1)
    assert head.shape == (1, *SHAPE)
    assert head.dtype == torch.float32
    assert (head[0].numpy() == Volume.load(image(data)).array).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: shutil.rmtree(d), "There is no data set .*data: expected a folder"),
        (lambda d: (d / "participants.tsv").unlink(), "Cannot read .*participants.tsv"),
        (lambda d: (d / "prepare.json").unlink(), "Cannot read .*prepare.json"),
        (content("prepare.json", "{"), "prepare.json is no JSON object"),
        (content("prepare.json", "[]"), "prepare.json is no JSON object: a list"),
        (content("prepare.json", "{}"), "prepare.json does not say where the images lie"),
        (replace("prepare.json", "16, 16, 16", "16, 16"), "expected a shape"),
        (replace("prepare.json", "-10.0", "0.0"), "invertible"),
        (replace("prepare.json", "-10.0", str(10**400)), "int too large"),
        (content("participants.tsv", ""), "row 1: expected column names.*nothing"),
        (content("participants.tsv", "participant_id\tage\n"), "no participants"),
        (replace("participants.tsv", "participant_id", "id"), "row 1: .*got id, sex"),
        (replace("participants.tsv", "score", "age"), "row 1: expected column names, each once"),
        (replace("participants.tsv", "sub-02", "sub-01"), "row 4: sub-01 is there twice, in row 3"),
        (replace("participants.tsv", "sub-02", "sub-0 2"), "row 4: 'sub-0 2' is no participant"),
        (replace("participants.tsv", "\tM\t", "\tM"), "row 3: expected 6 cells .*, got 5"),
        (content("participants.json", '{"age": 3}'), "participants.json: age is 3: expected"),
    ],
)
def test_tables_that_are_wrong(edit: Edit, message: str, data: Path) -> None:
    edit(data)
    with pytest.raises(BrainLDMError, match=message):
        read_prepared(data)


def save(array: np.ndarray, affine: np.ndarray = AFFINE) -> Edit:
    def edit(folder: Path) -> None:
        path = image(folder)
        path.unlink()
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)

    return edit


def cut(keep: int) -> Edit:
    def edit(folder: Path) -> None:
        path = image(folder)
        path.write_bytes(path.read_bytes()[:keep])

    return edit


RAMP = np.linspace(0, 1, np.prod(SHAPE)).reshape(SHAPE)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: image(d).unlink(), "participants.tsv, row 3: there is no image .*sub-01_"),
        (save(RAMP[:8]), "sub-01_.* lies elsewhere .*expected 16 x 16 x 16 .*got 8 x 16 x 16 "),
        (
            save(RAMP, AFFINE + np.eye(4)[[3, 1, 2, 0]] * 0.5),
            "sub-01_.* lies elsewhere than the images of this data set",
        ),
        (cut(0), "Cannot read .*sub-01_.*whole NIfTI"),
        (cut(5), "Cannot read .*sub-01_.*whole NIfTI"),
        (cut(40), "Cannot read .*sub-01_.*whole NIfTI"),
        (lambda d: image(d).write_bytes(b"no image at all" * 99), "Cannot read .*sub-01_"),
    ],
)
def test_headers_that_are_wrong(edit: Edit, message: str, data: Path) -> None:
    edit(data)
    heads = read_prepared(data)
    with pytest.raises(BrainLDMError, match=message):
        heads.check_images()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (save(np.where(RAMP > 0.5, np.nan, RAMP)), "sub-01_.* NaN or infinite"),
        (save(RAMP * 2), "sub-01_.* has intensities from 0 to 2: expected a head within"),
        (save(RAMP - 0.1), "sub-01_.* has intensities from -0.1 to 0.9"),
        (save(np.full(SHAPE, 0.5)), "sub-01_.* has intensities from 0.5 to 0.5: .*not empty"),
        (save(np.zeros(SHAPE)), "sub-01_.* has intensities from 0 to 0"),
        (cut(1000), "Cannot read .*sub-01_"),
        (save(RAMP[:8]), "sub-01_.* lies elsewhere .*got 8 x 16 x 16 "),
    ],
)
def test_images_that_are_wrong(edit: Edit, message: str, data: Path) -> None:
    edit(data)
    with pytest.raises(BrainLDMError, match=message):
        read_prepared(data).image(1)


def test_the_digest_is_of_subjects_and_images(data: Path) -> None:
    heads = read_prepared(data)
    before = heads.digest()
    assert read_prepared(data).digest() == before
    replace("participants.tsv", "1300", "1301")(data)  # conditions are compared by themselves
    assert read_prepared(data).digest() == before
    changed = heads.image(1)[0].numpy().copy()
    changed[0, 0, 0] += 0.25
    save(changed)(data)
    assert read_prepared(data).digest() != before
