"""A simulated cohort on disk, each head made where it is missing.

`make_cohort` writes small files for training the demo model, every subject twice, as itself and
as its twin (`simulate`). `write_heads`, or `python -m brainldm.simulate.cohort --seeds 0:30 --out
DIR`, writes NIfTI files on the demo model's grid with a participants.tsv, as a real set for
evaluation.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from brainldm.checkpoint import load_config
from brainldm.conditions import STANDARD, Conditions
from brainldm.files import write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.template import load_template
from brainldm.simulate.head import simulate
from brainldm.workers import pool_of


def make_cohort(
    folder: Path, seeds: Iterable[int], grid: Grid, on_head: Callable[[int], None], jobs: int
) -> None:
    """Simulate the heads of these seeds that the folder does not have yet.

    Each is `head-SEED.npz` or `head-SEED-twin.npz`: `image`, (X, Y, Z) in 0 to 255 for intensities
    in [0, 1], and `conditions`, a JSON text.

    Args:
        folder: made with the first head.
        seeds: a subject each.
        grid: where the voxels are.
        on_head: called with the number of heads that are there after each new one.
        jobs: processes that share the work.
    """
    heads = [(_path(folder, *which), *which) for which in product(seeds, (False, True))]
    missing = [head for head in heads if not head[0].exists()]
    if not missing:
        return
    with pool_of(jobs) as pool:
        made = [pool.submit(_make_head, *head, grid) for head in missing]
        for done, head in enumerate(as_completed(made), len(heads) - len(missing) + 1):
            head.result()
            on_head(done)


def _make_head(path: Path, seed: int, twin: bool, grid: Grid) -> None:
    head = simulate(seed, load_template(), grid, twin)
    content = io.BytesIO()
    np.savez_compressed(
        content,
        image=(head.image * 255).round().to(torch.uint8).numpy(),
        conditions=json.dumps(asdict(head.conditions)),
    )
    write_together({path: content.getvalue()})


def load_cohort(folder: Path, seeds: Iterable[int]) -> tuple[Tensor, list[Conditions]]:
    """Read heads that `make_cohort` wrote.

    Returns:
        Images (2N, 1, X, Y, Z), 0 to 255 as bytes, and the conditions of each: a subject, its
        twin, the next subject, ...
    """
    images, conditions = [], []
    for seed, twin in product(seeds, (False, True)):
        with np.load(_path(folder, seed, twin)) as file:
            images.append(torch.from_numpy(file["image"]))
            conditions.append(Conditions(**json.loads(str(file["conditions"]))))
    return torch.stack(images)[:, None], conditions


def _path(folder: Path, seed: int, twin: bool) -> Path:
    return folder / f"head-{seed:06d}{'-twin' if twin else ''}.npz"


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
    parser.add_argument("--twins", action="store_true")
    arguments = parser.parse_args()
    first, end = map(int, arguments.seeds.split(":"))
    demo = load_config("demo")
    write_heads(arguments.out, range(first, end), Grid.of(demo.shape, demo.affine), arguments.twins)
