"""Cohorts from a plan to a data set, whatever happens on the way."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm import BrainLDM
from brainldm.cohort.finish import merge_cohort
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.gate import Checking
from brainldm.cohort.parts import Part
from brainldm.cohort.run import Cohort
from brainldm.dataset.bids import t1w
from brainldm.errors import BrainLDMError
from tests.cohorts import SAMPLING, choice, contents, images, started, toy_cohort, write_plan
from tests.conftest import Run
from tests.toy import SHAPE, write_toy_model

ROWS = 30
KILLS = 50


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def cohort(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A cohort of toy volumes, to be made somewhere."""
    table = write_plan(tmp_path_factory.mktemp("plan") / "people.tsv", ROWS)
    return toy_cohort(table, Path("nowhere"), model)


@pytest.fixture(scope="module")
def undisturbed(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "out"
    summary = replace(cohort, out=out).run()
    assert (summary.made, summary.finished) == (ROWS, True)
    return out


def test_the_data_set_is_bids(undisturbed: Path, run: Run) -> None:
    result = run("bids-validator-deno", str(undisturbed), "--json")
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert result.returncode == 0
    described = json.loads((undisturbed / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "brainldm"
    assert described["brainldm"]["synthetic"] is True


def test_volumes_are_those_of_the_pipeline(undisturbed: Path, model: Path) -> None:
    pipeline = BrainLDM.from_pretrained(model, "cpu", "float32")
    table = (undisturbed / "participants.tsv").read_text().splitlines()
    assert len(table) == 1 + ROWS
    row = dict(zip(table[0].split("\t"), table[6].split("\t"), strict=True))
    assert row["participant_id"] == "sub-005"
    image, sidecar = t1w(undisturbed, "005")
    said = json.loads(sidecar.read_text())
    assert said["synthetic"] is True
    assert said["brainldm"]["drawn"] == ["brain_volume_ml"]
    drawn = said["brainldm"]["conditions"]["brain_volume_ml"]["value"]
    assert float(row["brain_volume_ml"]) == pytest.approx(drawn, rel=1e-5)

    people = [pipeline.ranges.complete(pipeline.ranges.denormalise([0, 0, 0, 0]), 0)[0]]
    people[0] = replace(
        people[0], sex=row["sex"], age=50, ventricular_volume_ml=15, brain_volume_ml=drawn
    )
    [expected] = pipeline.generate(people, [105], steps=2, sampler="ddim")
    found = nib.load(image)
    assert found.shape == SHAPE
    np.testing.assert_allclose(found.affine, expected.affine)
    assert int(found.header["sform_code"]) == 4
    np.testing.assert_allclose(found.get_fdata(), expected.array, atol=1e-5)


def test_the_page_and_the_sheet_are_there(undisturbed: Path) -> None:
    page = (undisturbed / "report.html").read_text()
    assert f"<b>{ROWS} volumes</b>" in page
    assert "15 F, 15 M" in page
    assert "data:image/png" in page
    assert (undisturbed / "contact-sheet.png").stat().st_size > 1000
    assert json.loads((undisturbed / "summary.json").read_text()) == {
        "state": "finished",
        "volumes": ROWS,
        "redraws": 0,
        "flagged": 0,
    }
    assert not (undisturbed / ".brainldm").exists()


def test_fifty_kills_lose_nothing(cohort: Cohort, undisturbed: Path, tmp_path: Path) -> None:
    """At random times, and once some more volumes are there, on a machine however quick or busy."""
    out, randomly = tmp_path / "out", random.Random(0)
    for trial in (tmp_path / "slow", tmp_path / "quick"):  # the first one imports everything
        start = time.monotonic()
        kill(started(replace(cohort, out=trial)), partial(has, trial, 1))
        pace = time.monotonic() - start
    made, kills = [], 0
    while kills < KILLS:
        process = started(replace(cohort, out=out))
        there = len(images(out))
        wanted = there + randomly.randrange(4)
        end = time.monotonic() + randomly.uniform(0.1, 1) * pace
        ready = partial(has, out, wanted) if there < wanted <= ROWS else partial(is_past, end)
        kill(process, ready)
        assert process.exitcode in (0, -signal.SIGKILL)
        kills += process.exitcode != 0
        made.append(len(images(out)))
    assert len(set(made)) > 5  # they met the cohort at different points
    replace(cohort, out=out).run()
    assert contents(out) == contents(undisturbed)


def has(out: Path, count: int) -> bool:
    return len(images(out)) >= count


def is_past(end: float) -> bool:
    return time.monotonic() > end


def kill(process: BaseProcess, ready: Callable[[], bool]) -> None:
    """Once something is so, unless the process ends before."""
    while process.is_alive() and not ready():
        time.sleep(0.01)
    process.kill()
    process.join()


def test_a_full_disk(
    cohort: Cohort, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, left = tmp_path / "out", [25]

    def fsync(descriptor: int, real: Callable[[int], None] = os.fsync) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(BrainLDMError, match="No space left on device"):
            replace(cohort, out=out).run()
    assert not list(out.rglob("*.partial"))
    assert replace(cohort, out=out).run().made < ROWS
    assert contents(out) == contents(undisturbed)


def test_what_is_damaged_is_made_again(cohort: Cohort, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    image, sidecar = t1w(out, "003")
    image.write_bytes(image.read_bytes()[:-1])
    sidecar.unlink()
    shutil.rmtree(out / "sub-017")
    (image.parent / ".x.1.partial").write_text("")
    summary = replace(cohort, out=out).run()
    assert (summary.made, summary.done) == (2, ROWS)
    assert contents(out) == contents(undisturbed)


def test_what_was_edited_is_made_again(cohort: Cohort, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    manifest = out / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    assert b'"age": 48' in lines[3]
    lines[3] = lines[3].replace(b'"age": 48', b'"age": 84')
    manifest.write_bytes(b"".join(lines[:-1]))
    for name in ("participants.tsv", "report.html", "dataset_description.json"):
        (out / name).write_text("edited")
    with pytest.raises(BrainLDMError, match=r"lacks 2 of 30 volumes.*rows 4, 30"):
        merge_cohort(out)
    assert replace(cohort, out=out).run().made == 2
    assert contents(out) == contents(undisturbed)


def test_shards_are_merged(cohort: Cohort, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for k in (2, 3):
        summary = replace(cohort, out=out, part=Part(k, 3)).run()
        assert not summary.finished
    with pytest.raises(BrainLDMError, match=r"lacks \d+ of 30 volumes.*rows 1, 2, 3, 4, 13"):
        merge_cohort(out)
    first = replace(cohort, out=out, part=Part(1, 3))
    first.run()
    assert first.run().made == 0
    journal = CohortFolder(out).journal("shard-000001-of-000003")
    for what in (lambda: merge_cohort(out), first.run):
        with pytest.raises(BrainLDMError, match="Another process is making this part"):
            what()
    journal.close()
    for _ in range(2):  # a finished one may be merged again
        assert merge_cohort(out) == ROWS
        assert contents(out) == contents(undisturbed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sampling": replace(SAMPLING, steps=3)}, "sampling steps: 2 there, 3 now"),
        ({"batch": 2}, "batch: 4 there, 2 now"),
        ({"checking": Checking(on_failure="flag")}, "gate on_failure: off there, flag now"),
    ],
)
def test_another_cohort_is_refused(
    cohort: Cohort, undisturbed: Path, change: dict[str, object], says: str
) -> None:
    with pytest.raises(BrainLDMError, match=re.escape(says)):
        replace(cohort, out=undisturbed, **change).run()  # type: ignore[arg-type]


def test_another_plan_model_or_version_is_refused(
    cohort: Cohort, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_plan(tmp_path / "people.tsv", ROWS + 1)
    with pytest.raises(BrainLDMError, match=r"(?s)plan rows: 30 there, 31 now.*plan sha256"):
        replace(cohort, out=undisturbed, table=table).run()
    plan = tmp_path / "demo.tsv"
    plan.write_text("participant_id\tseed\nsub-1\t1\n")
    demo = replace(cohort, out=undisturbed, table=plan, model=choice(Path("demo")))
    with pytest.raises(BrainLDMError, match=r"(?s)model hash.*model name: toy there, demo now"):
        demo.run()
    described = undisturbed.parent / "older"
    shutil.copytree(undisturbed / "code", described / "code")
    file = described / "code" / "cohort.json"
    file.write_text(file.read_text().replace('"version": "', '"version": "0.0.'))
    with pytest.raises(BrainLDMError, match=r"version: 0\.0\."):
        replace(cohort, out=described).run()
