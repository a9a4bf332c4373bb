"""Scans are found through links, and each person has a name of their own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainldm.dataset.bids import LONGEST_LABEL, label_of
from brainldm.dataset.participants import read_people
from brainldm.dataset.scans import find_scans, image_files, names_of
from brainldm.errors import BrainLDMError, DataError, StorageError
from brainldm.evaluate.sets import find_heads


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def subjects(source: Path) -> list[str]:
    return [scan.subject for scan in find_scans(source).scans]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    touch(tmp_path / "store/ses-1/anat/sub-02_ses-1_T1w.nii.gz")
    (tmp_path / "bids/sub-02").mkdir()
    (tmp_path / "bids/sub-02/ses-1").symlink_to(tmp_path / "store/ses-1")
    assert subjects(tmp_path / "bids") == ["01", "02"]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/mine").symlink_to(tmp_path / "store")
    assert subjects(tmp_path / "plain") == ["02"]
    touch(tmp_path / "plain/b.nii")
    assert len(find_heads(tmp_path / "plain", "real")) == 2


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path / "a/b/x.nii")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/again").symlink_to(tmp_path / "a/b")
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    assert [path.name for path in image_files(tmp_path)] == ["x.nii"]


def test_a_store_of_datalad_is_not_looked_into(tmp_path: Path) -> None:
    key = touch(tmp_path / ".git/annex/objects/Xx/MD5E-s1--0.nii.gz")
    (tmp_path / "x.nii.gz").symlink_to(key)
    (tmp_path / "y.nii.gz").symlink_to(tmp_path / ".git/annex/objects/not-here")
    assert subjects(tmp_path) == ["x", "y"]  # that the second is not there is told when it is read


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path / "a/x.nii").parent.chmod(0)
    with pytest.raises(StorageError, match=r"Cannot look into .*a: Permission denied"):
        image_files(tmp_path)


def test_names_without_a_letter_of_ascii_are_failures_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path / "患者甲.nii.gz")
    touch(tmp_path / "患者乙.nii.gz")
    touch(tmp_path / f"{'x' * (LONGEST_LABEL + 1)}.nii")
    touch(tmp_path / "a.nii")
    found = find_scans(tmp_path)
    assert [scan.subject for scan in found.scans] == ["a"]
    assert {each.subject for each in found.failures} == {"患者甲", "患者乙", "x" * 151}
    for failure in found.failures:
        assert failure.path in failure.reason
        assert "cannot name a participant: expected a letter or digit of ASCII" in failure.reason


def test_people_whose_names_differ_in_an_umlaut_are_two(tmp_path: Path) -> None:
    for name in ("müller", "möller", "sub-jörg_T1w", "sub-jürg_T1w"):
        touch(tmp_path / f"{name}.nii.gz")
    assert subjects(tmp_path) == ["jU00F6rg", "jU00FCrg", "mU00F6ller", "mU00FCller"]
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tage\nmu\u0308ller\t60\nsub-jörg\t61\n", encoding="utf-8")
    people = read_people(table)
    ages = [
        person and person.known["age"]
        for person in (people.find(scan.names) for scan in find_scans(tmp_path).scans)
    ]
    assert ages == [61, None, None, 60]


@given(st.text(min_size=1), st.text(min_size=1))
def test_labels_are_letters_and_digits(first: str, second: str) -> None:
    label, other = label_of(f"a{first}"), label_of(f"a{second}")
    assert label.isascii()
    assert label.isalnum()
    if first.isalpha() and second.isalpha() and len(first) == len(second) == 1:
        same = first == second or label_of(first) == label_of(second) != ""
        assert (label == other) == same or not (first.isascii() or second.isascii())


def test_a_name_of_composed_and_of_single_marks_is_one() -> None:
    assert label_of("mu\u0308ller") == label_of("m\u00fcller") == "mU00FCller"
    assert names_of(Path("sub-mu\u0308ller_T1w.nii"))[0] == "sub-mU00FCller"
    assert names_of(Path("a-b_c.nii"))[0] == "sub-abc"
    assert names_of(Path("sub-01-x_T1w.nii"))[0] == "sub-01"


def test_what_is_no_list(tmp_path: Path) -> None:
    file = tmp_path / "brain.xyz"
    file.write_bytes(b"\x1f\x8b\x08" + bytes(range(128, 250)))
    with pytest.raises(DataError, match=r"brain\.xyz is no text: .*Expected an image.*\.nii"):
        find_scans(file)
    for line in ("a\0b.nii", "x" * 5000 + ".nii"):
        file.write_text(f"good.nii\n{line}\n")
        with pytest.raises(DataError, match="line 2, is no path of a scan"):
            find_scans(file)
    with pytest.raises(DataError, match="does not exist"):
        find_scans(tmp_path / ("x" * 300))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_list_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list.txt"
        file.write_bytes(content)
        try:
            found = find_scans(file)
        except BrainLDMError:
            return
        assert found.layout == "list"
