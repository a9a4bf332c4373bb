"""A simulated cohort on disk: one small file a head, made where it is missing.

Every subject comes twice, as itself and as its twin (`simulate`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from brainldm.conditions import Conditions
from brainldm.data.simulation import Grid, simulate
from brainldm.data.template import load_template
from brainldm.files import write_together


def make_cohort(
    folder: Path, seeds: Iterable[int], grid: Grid, on_head: Callable[[int], None]
) -> None:
    """Simulate the heads of these seeds that the folder does not have yet.

    Each is `head-SEED.npz` or `head-SEED-twin.npz`: `image`, (X, Y, Z) in 0 to 255 for intensities
    in [0, 1], and `conditions`, a JSON text.

    Args:
        folder: made with the first head.
        seeds: a subject each.
        grid: where the voxels are.
        on_head: called with the number of heads that are there after each new one.
    """
    for done, (seed, twin) in enumerate(product(seeds, (False, True)), 1):
        path = _path(folder, seed, twin)
        if path.exists():
            continue
        head = simulate(seed, load_template(), grid, twin)
        content = io.BytesIO()
        np.savez_compressed(
            content,
            image=(head.image * 255).round().to(torch.uint8).numpy(),
            conditions=json.dumps(asdict(head.conditions)),
        )
        write_together({path: content.getvalue()})
        on_head(done)


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
