"""Thick and partial scans made fine, against the fine head: PSNR beside linear interpolation.

    python benchmarks/superresolve.py --label-maps maps --only NAME,NAME    # minutes a head

A scanner's view of simulated heads that the model has not seen: slices of several voxels, or such
slices of the upper part alone. Printed as means over heads, in dB against the head without noise:
the scan interpolated linearly, the nearest image to that which agrees with the scan, the whole
head through the autoencoder alone, `brainldm edit --super-resolve` with one seed, and the mean of
all seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.heads import FIRST_HEAD, add_options, heads_of
from brainldm import BrainLDM, Volume
from brainldm.edit.inverted import STEPS
from brainldm.edit.known import Known
from brainldm.edit.original import Original
from brainldm.edit.superresolve import Measurement, super_resolve
from brainldm.image.grid import Grid
from brainldm.metrics.similarity import psnr
from brainldm.unires.projection import Projection

PART = 0.7
"""Of the slices, from the crown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    add_options(parser)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--thick", type=int, nargs="+", default=[2, 3], help="slices, in voxels")
    asked = parser.parse_args()
    model = BrainLDM.from_pretrained(asked.model)
    heads = heads_of(asked)
    kinds = [(thick, part) for thick in asked.thick for part in (1.0, PART)]
    found: dict[tuple[int, float], list[list[float]]] = {kind: [] for kind in kinds}
    for seed in range(FIRST_HEAD, FIRST_HEAD + asked.heads):
        head = heads.head(seed, model.grid)
        clean = head.clean.numpy()
        whole = model.reconstruct(Volume(head.image.numpy(), model.affine, scaled=True)).array
        for thick, part in kinds:
            original = Original.of(scanned(head.image, model.grid, thick, part))
            start = time.perf_counter()
            linear, _, results = super_resolve(
                model,
                original,
                Known(head.conditions),
                range(asked.seeds),
                steps=asked.steps,
                extrapolate=True,
            )
            made = [volume.array for volume in results]
            seconds = (time.perf_counter() - start) / asked.seeds
            agreeing = Measurement.of(original, linear).agreeing(torch.from_numpy(linear.array))
            images = [linear.array, agreeing.numpy(), whole, made[0], np.mean(made, axis=0)]
            found[thick, part].append([*(psnr(image, clean) for image in images), seconds])
            print(
                seed, thick, part, [round(each, 2) for each in found[thick, part][-1]], flush=True
            )
    print("| slices | seen | linear | agreeing | autoencoder alone | one seed | mean | s a seed |")
    print("|---" * 8 + "|")
    for (thick, part), rows in found.items():
        millimetres = thick * model.grid.spacing[2]
        cells = " | ".join(f"{value:.2f}" for value in np.mean(rows, axis=0))
        print(f"| {millimetres:g} mm | {part:.0%} | {cells} |")


def scanned(image: torch.Tensor, grid: Grid, thick: int, part: float) -> Volume:
    """What a scanner sees of a head in axial slices that touch, from the crown down."""
    count = grid.shape[2] // thick
    first = round((1 - part) * count)
    affine = grid.matrix @ np.diag([1.0, 1, thick, 1])
    affine[:3, 3] = (grid.matrix @ [0, 0, first * thick + (thick - 1) / 2, 1])[:3]
    slices = Grid.of((*grid.shape[:2], count - first), affine)
    seen = Projection.of(slices, grid)(image).clamp(0, 1)
    return Volume(seen.numpy(), affine, scaled=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
