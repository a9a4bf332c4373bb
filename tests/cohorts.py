"""Cohorts of toy volumes, made in processes that can be killed."""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path

from brainldm.cohort.plan import Plan
from brainldm.cohort.run import Cohort
from brainldm.cohort.settings import Checks, MadeBy, Planned, Settings
from brainldm.pipeline.choice import Model, Sampling

HEADER = "participant_id\tseed\tsex\tage\tventricular_volume_ml\tbrain_volume_ml"
SAMPLING, SLOW = Sampling(sampler="ddim", steps=2), Sampling(sampler="ddim", steps=25)


def write_plan(file: Path, count: int) -> Path:
    """People of all kinds; some leave their brain volume to the seed."""
    rows = [
        f"sub-{i:03d}\t{100 + i}\t{'FM'[i % 2]}\t{45 + i % 35}\t{10 + i % 90}"
        f"\t{'n/a' if i % 5 == 0 else 1200 + 5 * (i % 100)}"
        for i in range(count)
    ]
    file.write_text("\n".join((HEADER, *rows)) + "\n")
    return file


def choice(model: Path) -> Model:
    """A toy model on the CPU."""
    return Model(source=str(model), device="cpu", dtype="float32")


def images(out: Path) -> list[Path]:
    """Of a cohort; not by a search of all folders: those that are written aside come and go."""
    return list(out.glob("sub-*/anat/*_T1w.nii.gz"))


def settings_of(plan: Plan) -> Settings:
    """What a cohort of toy volumes is begun with."""
    return Settings(
        model=MadeBy(name="toy", hash="0"),
        plan=Planned(sha256=plan.sha256, rows=len(plan)),
        sampling={"sampler": "ddim", "steps": 2, "guidance": 1.0},
        extrapolate=False,
        dtype="float32",
        batch=4,
        gate=Checks(on_failure="off"),
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def toy_cohort(table: Path, out: Path, model: Path) -> Cohort:
    """A cohort of toy volumes."""
    return Cohort(table=table, out=out, model=choice(model), sampling=SAMPLING)


def started(cohort: Cohort) -> BaseProcess:
    """A process that makes a cohort; it starts at once, forked from one that has all imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.cohorts"])
    process = context.Process(target=_make, args=(cohort,))
    process.start()
    return process


def _make(cohort: Cohort) -> None:
    cohort.run()
