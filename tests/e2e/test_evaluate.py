"""`brainldm evaluate` on small simulated heads, from the command line to the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.checkpoint import load_config
from brainldm.conditions import STANDARD
from brainldm.dataset.tsv import write_row
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.kept import load_template
from tests.conftest import Cli
from tests.template_head import simulate

HEADS = 12


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of heads at 4 mm: simulated `real` ones, and other versions of them."""
    folder = tmp_path_factory.mktemp("heads")
    demo = load_config("demo")
    write_heads(folder / "real", Grid.of(demo.shape, demo.affine).coarser(2))
    for name, power in (("generated", 1.1), ("training", 0.9)):
        shutil.copytree(folder / "real", folder / name)
        for file in (folder / name).glob("*.nii.gz"):
            overwrite(file, lambda array, power=power: array[::-1] ** power)  # type: ignore[misc]
            file.rename(file.with_name(file.name.replace("sub-", f"sub-{name}")))
        table = folder / name / "participants.tsv"
        table.write_text(table.read_text().replace("sub-", f"sub-{name}"))
    return folder


def write_heads(folder: Path, grid: Grid) -> None:
    """Simulated heads, flat in a folder, with their table."""
    folder.mkdir()
    rows = [write_row(("participant_id", *STANDARD))]
    for seed in range(HEADS):
        head = simulate(seed, load_template(), grid)
        name = f"sub-{seed:06d}"
        Volume(head.image.numpy(), grid.matrix).save(folder / f"{name}_T1w.nii.gz")
        known = (head.conditions.given[each] for each in STANDARD)
        rows.append(write_row((name, *known)))
    (folder / "participants.tsv").write_bytes(b"".join(rows))


@pytest.fixture
def cli(said: Cli) -> Cli:
    """`brainldm evaluate`."""
    return partial(said, "evaluate")


def report(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "report.json").read_text())
    return content


def test_the_whole_report(heads: Path, tmp_path: Path, cli: Cli) -> None:
    sets = ("--generated", heads / "generated", "--real", heads / "real")
    table = tmp_path / "volumes.tsv"
    header, *rows = (heads / "generated" / "participants.tsv").read_text().splitlines()
    others = (heads / "real" / "participants.tsv").read_text().splitlines()[1:]
    table.write_text("\n".join((header, *rows, *others)) + "\n")
    most = (*sets, "--training", heads / "training", "--volumes", table, "--pairs", 4)

    code, said = cli(*most, "--shrinkage", 0.1, "--jobs", 2, "--out", tmp_path / "two")
    assert code == 0, said
    page = (tmp_path / "two" / "report.html").read_text()
    assert "image/svg+xml" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    for title in ("Random samples", "Best samples", "Worst samples", "Closest pairs"):
        assert title in page
    found = {(f["section"], f["name"]): f for f in report(tmp_path / "two")["figures"]}  # type: ignore
    assert {key[0] for key in found} == {
        "realism",
        "diversity",
        "conditioning",
        "copies",
        "anatomy",
    }
    assert any(name.startswith("FID of the training scans") for _, name in found)
    # The table gives as measured what was asked for.
    assert found["conditioning", "ventricular_volume_ml: r"]["value"] == pytest.approx(1)
    assert found["conditioning", "brain_volume_ml: slope"]["value"] == pytest.approx(1)

    # Again, from the cache, in one process, and with new pairs: the same figures.
    shutil.copytree(tmp_path / "two" / "cache", tmp_path / "one" / "cache")
    for pair in (tmp_path / "one" / "cache").glob("pair-*"):
        pair.unlink()
    code, said = cli(*most, "--shrinkage", 0.1, "--jobs", 1, "--out", tmp_path / "one")
    assert code == 0, said
    ours, theirs = report(tmp_path / "one"), report(tmp_path / "two")
    for a, b in zip(ours.pop("figures"), theirs.pop("figures"), strict=True):  # type: ignore
        for key in ("value", "interval", "real"):
            one, two = a.pop(key), b.pop(key)
            assert (one is None) == (two is None)
            if one is not None:  # threads round otherwise
                assert one == pytest.approx(two, rel=1e-5)
        assert a == b
    assert ours == theirs

    one, two = tmp_path / "one" / "report.json", tmp_path / "two" / "report.json"
    code, said = cli("--compare", one, two, "--out", tmp_path / "both")
    assert code == 0, said
    assert "intervals overlap" in (tmp_path / "both" / "comparison.html").read_text()
    other = report(tmp_path / "one")
    other["protocol"]["pairs"] = 5  # type: ignore[index]
    one.write_text(json.dumps(other))
    code, said = cli("--compare", one, two)
    assert code != 0
    assert "do not compare" in said


def spoiled(heads: Path, to: Path) -> Path:
    """A generated set of three heads, to spoil."""
    to.mkdir()
    for file in sorted((heads / "generated").glob("*.nii.gz"))[:3]:
        shutil.copy(file, to)
    return to


def overwrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nib.load(path)
    array = change(np.asarray(image.dataobj, np.float32))  # type: ignore[attr-defined]
    nib.save(nib.Nifti1Image(array, image.affine), path)  # type: ignore[attr-defined]


def nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[5, 5, 5] = np.nan
    return array


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("one scan", "at least two"),
        ("nan", "NaN"),
        ("empty", "empty"),
        ("shape", "another grid"),
        ("twice", "same image twice"),
        ("extractor", "expected"),
        ("shrinkage", "from 0 to below 1"),
        ("segmentation", "expected"),
        ("table", "no table of volumes"),
    ],
)
def test_bad_input(how: str, says: str, heads: Path, tmp_path: Path, cli: Cli) -> None:
    folder = spoiled(heads, tmp_path / "generated")
    first, second, third = sorted(folder.glob("*.nii.gz"))
    more: tuple[object, ...] = ()
    if how == "one scan":
        second.unlink()
        third.unlink()
    elif how == "nan":
        overwrite(first, nan)
    elif how == "empty":
        overwrite(first, np.zeros_like)
    elif how == "shape":
        overwrite(first, lambda array: array[:-2])
    elif how == "twice":
        shutil.copy(first, folder / "sub-copy_T1w.nii.gz")
    elif how == "extractor":
        more = ("--extractor", "resnet")
    elif how == "shrinkage":
        more = ("--shrinkage", 1)
    elif how == "segmentation":
        more = ("--segmentation", "atlas")
    elif how == "table":
        more = ("--volumes", tmp_path / "volumes.tsv")
    quick = () if how == "table" else ("--quick",)
    code, said = cli(
        *("--generated", folder, "--real", heads / "real", "--out", tmp_path / "report"),
        *("--pairs", 1, *quick, *more),
    )
    assert code != 0
    assert "Traceback" not in said
    assert not (tmp_path / "report" / "report.json").exists()
    assert (tmp_path / "report").exists() == (how not in ("extractor", "shrinkage"))
    assert says.lower() in said.lower()


def test_leakage_is_warned_of(heads: Path, tmp_path: Path, cli: Cli) -> None:
    folder = spoiled(heads, tmp_path / "generated")
    shutil.copy(next((heads / "real").glob("*.nii.gz")), folder)
    code, said = cli(
        *("--generated", folder, "--real", heads / "real", "--out", tmp_path / "report"),
        *("--pairs", 1, "--quick"),
    )
    assert code == 0, said
    assert "Leakage: 1 images" in said
    assert "Leakage" in (tmp_path / "report" / "report.html").read_text()
