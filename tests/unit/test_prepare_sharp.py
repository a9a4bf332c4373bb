"""Which scans `brainldm prepare --unires` takes to be of one person and visit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainldm.errors import UsageError
from brainldm.image.grid import Grid
from brainldm.prepare.sharp import companions, sharpen, sources


def test_companions_lie_beside_and_are_named_alike(tmp_path: Path) -> None:
    for name in (
        *("sub-1_ses-a_T1w.nii.gz", "sub-1_ses-a_acq-sag_T1w.nii.gz", "sub-1_ses-a_FLAIR.nii"),
        *("sub-1_ses-b_T2w.nii.gz", "sub-10_ses-a_T2w.nii.gz", "sub-1_ses-a_bold.nii.gz"),
        *("sub-1_ses-a_T2w.json", "head.nii.gz"),
    ):
        (tmp_path / name).write_bytes(name.encode())
    scan = tmp_path / "sub-1_ses-a_T1w.nii.gz"
    found = ["sub-1_ses-a_FLAIR.nii", "sub-1_ses-a_acq-sag_T1w.nii.gz"]
    assert [each.name for each in companions(scan)] == found
    assert [each.name for each in sources(scan)] == found
    before = sources(scan)
    (tmp_path / found[0]).write_bytes(b"another")
    assert sources(scan) != before
    assert companions(tmp_path / "head.nii.gz") == ()


def test_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an archive"):
        sharpen(tmp_path / "1_20252_2_0.zip", np.eye(4), Grid.of((4, 4, 4), np.eye(4)))
