"""Planted copies: how many are found at 5 % false alarms, on simulated heads.

    python benchmarks/copies.py --label-maps DIR    # 200 training scans, 400 held out, 60 copied

Copies of training scans, exact, shifted by up to 6 mm, and with new noise (a deviation of 0.05,
more than twice the scans' own), stand for generated heads. Held-out scans, none of which is a
copy, set the threshold on one half, and false alarms are counted on the other half.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.heads import FIRST_HEAD, add_options, heads_of
from brainldm.checkpoint import load_config
from brainldm.evaluate.copies import ALARMS, nearest
from brainldm.evaluate.measures import embedding
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume

SHIFT_MM, NOISE = 6.0, 0.05


def main() -> None:
    """Plant, look, and print the shares found."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--training", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--copied", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/copies.json"))
    arguments = parser.parse_args()
    demo = load_config("demo")
    grid = Grid.of(demo.shape, demo.affine)
    affine = np.array(grid.affine)
    rng = np.random.default_rng(0)
    heads = heads_of(arguments)

    def head(seed: int) -> np.ndarray:
        return heads.head(seed, grid).image.numpy()

    def look(image: np.ndarray) -> np.ndarray:
        return embedding(Volume(image, affine))

    def shifted(image: np.ndarray) -> np.ndarray:
        offset = affine.copy()
        offset[:3, 3] += rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
        return Volume(image, offset).resample(Grid.of(image.shape, affine)).array

    def noisy(image: np.ndarray) -> np.ndarray:
        return np.clip(image + rng.normal(0, NOISE, image.shape), 0, 1).astype(np.float32)

    plants = {"exact": lambda image: image, "shifted": shifted, "with new noise": noisy}
    training, copies = [], {name: [] for name in plants}
    for seed in range(arguments.training):
        image = head(seed)
        training.append(look(image))
        if seed < arguments.copied:
            for name, plant in plants.items():
                copies[name].append(look(plant(image)))
    end = FIRST_HEAD + arguments.held_out
    held_out = np.stack([look(head(seed)) for seed in range(FIRST_HEAD, end)])

    block = np.stack(training)
    others = nearest([held_out], lambda: [block])[0]
    threshold = float(np.quantile(others[::2], ALARMS))
    report = {"false alarms": float((others[1::2] < threshold).mean())}
    for name, found in copies.items():
        distance, index = nearest([np.stack(found)], lambda: [block])
        report[f"{name}: found"] = float((distance < threshold).mean())
        report[f"{name}: the right scan named"] = float((index == np.arange(len(index))).mean())
        report[f"{name}: largest distance over the threshold"] = float(distance.max() / threshold)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
