"""A folder that a command fills is its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brainldm.errors import StorageError, UsageError
from brainldm.files.filling import LOCK, filling, refuse_others


def test_one_process_fills_a_folder(tmp_path: Path) -> None:
    out, mark = tmp_path / "out", tmp_path / "out" / "run.json"
    with filling(out, mark, "a run"):
        with (
            pytest.raises(StorageError, match=r"Another process fills .*out\. Wait for it, or"),
            filling(out, mark, "a run"),
        ):
            pass
        mark.touch()
    with filling(out, mark, "a run"):  # again, once the other has ended
        assert {path.name for path in out.iterdir()} == {LOCK, "run.json"}


@pytest.mark.parametrize("left", [LOCK, ".run.json.12-ab.partial"])
def test_what_a_killed_process_left_is_no_other_file(left: str, tmp_path: Path) -> None:
    (tmp_path / left).touch()
    with filling(tmp_path, tmp_path / "run.json", "a run"):
        pass


def test_other_files_and_files_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    expected = "holds other files. Expected a new or an empty folder, or a run"
    with pytest.raises(UsageError, match=expected), filling(tmp_path, tmp_path / "x", "a run"):
        pass
    with (
        pytest.raises(UsageError, match="mine is a file: expected a folder"),
        filling(tmp_path / "mine", tmp_path / "mine" / "x", "a run"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_another_process_begins_meanwhile_is_not_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, listing = tmp_path / "run.json", Path.iterdir

    def begun_before_listing(folder: Path) -> Iterator[Path]:
        mark.touch()
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", begun_before_listing)
    refuse_others(tmp_path, mark, "a run")
