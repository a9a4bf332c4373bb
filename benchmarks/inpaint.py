"""Lesions filled against what was there: PSNR in the mask, beside a membrane across it.

    python benchmarks/inpaint.py --label-maps DIR --only NAME,NAME --heads 4    # some minutes

Balls in simulated heads that the demo model has not seen are set to the intensity of fluid, and
filled. Printed as means over heads and places: PSNR in dB within the enlarged mask against the head
without a lesion and without noise, for the lesion, for the smoothest surface across it (a membrane:
what linear interpolation is in three dimensions), and for `brainldm edit --mask`; and how far each
is in texture, the deviation within the mask over that of the truth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.heads import FIRST_HEAD, add_options, heads_of
from brainldm import BrainLDM, Volume
from brainldm.edit.inpaint import enlarged, inpaint
from brainldm.edit.inverted import STEPS
from brainldm.edit.known import Known
from brainldm.edit.membrane import membrane
from brainldm.edit.original import Original
from brainldm.metrics.similarity import psnr

PLACES = ((-34.0, 0.0, 30.0), (30.0, -40.0, 24.0), (26.0, 22.0, 12.0))
"""In mm of MNI152 space."""
RADII = (6.0, 12.0)
FLUID = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    model, heads = BrainLDM.from_pretrained("demo"), heads_of(asked)
    found: dict[tuple[float, str], list[tuple[float, float]]] = {}
    for seed in range(FIRST_HEAD, FIRST_HEAD + asked.heads):
        head = heads.head(seed, model.grid)
        truth, clean = head.image.numpy(), head.clean.numpy()
        place = np.array(PLACES[seed % len(PLACES)])[:, None, None, None]
        far = np.sqrt(((model.grid.points() - place) ** 2).sum(axis=0))
        for radius in RADII:
            mask = (far < radius).astype(np.float32)
            scan = Volume(np.where(mask > 0, FLUID, truth), model.affine, scaled=True)
            hole = enlarged(Volume(mask, model.affine), scan)
            _, volumes = inpaint(
                model,
                Original.of(scan),
                Known(head.conditions),
                hole,
                [seed],
                steps=asked.steps,
                extrapolate=True,
            )
            ways = {
                "lesion": scan.array,
                "membrane": membrane(scan.array, hole),
                "filled": next(volumes).array,
            }
            for name, image in ways.items():
                texture = float(image[hole].std() / clean[hole].std())
                row = psnr(image[hole], clean[hole]), texture
                found.setdefault((radius, name), []).append(row)
            print(
                seed,
                radius,
                {name: values[-1] for (r, name), values in found.items() if r == radius},
                flush=True,
            )
    print("| radius, mm | way | in the mask, dB | texture |")
    print("|---|---|---|---|")
    for (radius, name), rows in found.items():
        decibels, texture = np.mean(rows, axis=0)
        print(f"| {radius:g} | {name} | {decibels:.2f} | {texture:.2f} |")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
