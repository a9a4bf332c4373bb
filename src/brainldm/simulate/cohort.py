"""A simulated cohort on disk, each head made where it is missing.

`write_data_set` (--train) writes what `brainldm train` learns from, as `brainldm prepare` would
have written it, every subject twice, as itself and as its twin. `write_heads` writes NIfTI
files with a participants.tsv, as a real set for evaluation. Both are on the demo model's grid.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import as_completed
from itertools import product
from pathlib import Path

import numpy as np

from brainldm.checkpoint import load_config
from brainldm.conditions import STANDARD, Conditions
from brainldm.dataset.bids import t1w
from brainldm.dataset.tsv import write_row
from brainldm.files import to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.template import load_template
from brainldm.simulate.template_head import simulate
from brainldm.workers import pool_of

COLUMNS = {
    "sex": {"Description": "Sex, drawn", "Levels": {"F": "female", "M": "male"}},
    "age": {"Description": "Age, drawn", "Units": "year"},
    "ventricular_volume_ml": {"Description": "True volume of the ventricles", "Units": "mL"},
    "brain_volume_ml": {"Description": "True volume, scaled to the template's head", "Units": "mL"},
    "person": {"Description": "Equal for a subject and its twin"},
}


def write_data_set(folder: Path, seeds: Iterable[int], grid: Grid, jobs: int) -> None:
    """Simulate the heads of these seeds, and their twins, that a data set does not have yet.

    Args:
        folder: made if missing.
        seeds: a subject each.
        grid: where the voxels are.
        jobs: processes that share the work.
    """
    heads = {_label(*which): which for which in product(seeds, (False, True))}
    place = {"shape": list(grid.shape), "affine": [list(row) for row in grid.affine]}
    write_together({folder / "prepare.json": to_json({"grid": place, "settings": place})})
    with pool_of(jobs) as pool:
        made = [
            pool.submit(_write_subject, folder, label, *which, grid)
            for label, which in heads.items()
            if not _row(folder, label).exists()
        ]
        for head in as_completed(made):
            head.result()
    header = write_row(("participant_id", *COLUMNS))
    write_together(
        {
            folder / "participants.json": to_json(COLUMNS),
            folder / "participants.tsv": header
            + b"".join(_row(folder, label).read_bytes() for label in heads),
        }
    )


def _write_subject(folder: Path, label: str, seed: int, twin: bool, grid: Grid) -> None:
    """Write the image, and then its row, which tells that both are there."""
    head = simulate(seed, load_template(), grid, twin)
    volume = Volume(head.image.clamp(0, 1).numpy(), np.array(grid.affine))
    volume.save(t1w(folder, label)[0], overwrite=True)
    row = (f"sub-{label}", *_standard(head.conditions), _label(seed, False))
    write_together({_row(folder, label): write_row(row)})


def _label(seed: int, twin: bool) -> str:
    return f"{seed:06d}{'twin' if twin else ''}"


def _row(folder: Path, label: str) -> Path:
    return folder / f"sub-{label}" / ".row.tsv"


def write_heads(folder: Path, seeds: Iterable[int], grid: Grid, twins: bool = False) -> None:
    """Write simulated heads as sub-SEED_T1w.nii.gz, with noise, and their participants.tsv.

    Args:
        folder: made if missing; a head that is there already is not made again.
        seeds: a subject each.
        grid: where the voxels are.
        twins: each subject's twin as well, as sub-SEEDtwin.
    """
    rows = ["\t".join(("participant_id", *STANDARD))]
    for seed, twin in product(seeds, (False, True) if twins else (False,)):
        name = f"sub-{seed:06d}{'twin' if twin else ''}"
        path, row = folder / f"{name}_T1w.nii.gz", folder / f".{name}.tsv"
        if not (path.exists() and row.exists()):
            head = simulate(seed, load_template(), grid, twin)
            known = (f"{v:.6g}" if isinstance(v, float) else v for v in _standard(head.conditions))
            write_together({row: "\t".join((name, *known)).encode()})
            Volume(head.image.numpy(), np.array(grid.affine)).save(path, overwrite=True)
        rows.append(row.read_text())
    write_together({folder / "participants.tsv": ("\n".join(rows) + "\n").encode()})


def _standard(conditions: Conditions) -> list[str | float]:
    return [conditions.given[name] for name in STANDARD]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", required=True, metavar="FIRST:END")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", action="store_true", help="write a data set to train on")
    arguments = parser.parse_args()
    first, end = map(int, arguments.seeds.split(":"))
    demo = load_config("demo")
    place = Grid.of(demo.shape, demo.affine)
    if arguments.train:
        write_data_set(arguments.out, range(first, end), place, os.cpu_count() or 1)
    else:
        write_heads(arguments.out, range(first, end), place)
