"""A cohort on Ray gives what one process gives, whatever happens to its workers."""

from __future__ import annotations

import json
import sys

import nibabel as nib
import numpy as np
import pytest

from brainldm.cohort.run import Cohort
from tests.cohorts import SLOW, choice, contents, write_plan
from tests.conftest import ROOT, Run
from tests.toy import write_toy_model

ROWS = 20


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    model = write_toy_model(folder / "toy")
    table = write_plan(folder / "people.tsv", ROWS)
    return Cohort(table=table, out=folder / "one", model=choice(model), sampling=SLOW)


def test_workers_may_be_lost(cohort: Cohort, run: Run) -> None:
    out = cohort.out.with_name("many")
    result = run(
        *(sys.executable, "-m", "tests.cohort_on_ray", cohort.model.source),
        *(str(cohort.table), str(out)),
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["killed"] == ["worker 0", "worker 1", "node"]
    assert (said["made"], said["finished"]) == (ROWS, True)
    cohort.run()
    many, one = contents(out), contents(cohort.out)
    assert many.keys() == one.keys()
    images = [name for name in one if name.endswith(".nii.gz")]
    assert len(images) == ROWS
    for name in images:  # one core rounds otherwise than two
        arrays = [nib.load(folder / name).get_fdata() for folder in (out, cohort.out)]
        assert np.abs(arrays[0] - arrays[1]).max() < 1e-5
    for name in ("participants.tsv", "summary.json", "dataset_description.json"):
        assert many[name] == one[name]


def test_a_cluster_that_is_not_there(cohort: Cohort, run: Run) -> None:
    command = ("brainldm", "cohort", "run", str(cohort.table), "--model", cohort.model.source)
    result = run(*command, "--out", "none", "--ray", "127.0.0.1:1")
    assert result.returncode == 2
    assert "Cannot reach a Ray cluster at '127.0.0.1:1'" in result.stderr
    assert "Traceback" not in result.stderr
    result = run(*command, "--out", "none", "--ray", "local", "--cores-per-worker", "999")
    assert result.returncode == 2
    assert "no room for a worker of 999 cores" in result.stderr
    assert not cohort.out.with_name("none").exists()
