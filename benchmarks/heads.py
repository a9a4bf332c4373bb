"""Simulated heads as the demo model that ships learned them, as a set for evaluation.

    python benchmarks/heads.py --seeds 100000:100100 --out build/real

Every one is the MNI152 template, deformed; each is made where it is missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np

from brainldm.checkpoint import load_config
from brainldm.conditions import STANDARD
from brainldm.dataset.tsv import write_row
from brainldm.files import write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.kept import load_template
from brainldm.simulate.template_head import simulate


def write_heads(folder: Path, seeds: Iterable[int], grid: Grid, twins: bool = False) -> None:
    """Write simulated heads as sub-SEED_T1w.nii.gz, with noise, and their participants.tsv.

    Args:
        folder: made if missing; a head that is there already is not made again.
        seeds: a subject each.
        grid: where the voxels are.
        twins: each subject's twin as well, as sub-SEEDtwin.
    """
    rows = [write_row(("participant_id", *STANDARD))]
    for seed, twin in product(seeds, (False, True) if twins else (False,)):
        name = f"sub-{seed:06d}{'twin' if twin else ''}"
        path, row = folder / f"{name}_T1w.nii.gz", folder / f".{name}.tsv"
        if not (path.exists() and row.exists()):
            head = simulate(seed, load_template(), grid, twin)
            known = (head.conditions.given[each] for each in STANDARD)
            write_together({row: write_row((name, *known))})
            Volume(head.image.numpy(), np.array(grid.affine)).save(path, overwrite=True)
        rows.append(row.read_bytes())
    write_together({folder / "participants.tsv": b"".join(rows)})


def main() -> None:
    """Write heads on the demo model's grid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", required=True, metavar="FIRST:END")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    first, end = map(int, arguments.seeds.split(":"))
    demo = load_config("demo")
    write_heads(arguments.out, range(first, end), Grid.of(demo.shape, demo.affine))


if __name__ == "__main__":
    main()
