"""4-G-R-SSIM of pairs: ours in batches against the definition one pair at a time.

    python benchmarks/ssim.py                  1 mm, two pairs
    python benchmarks/ssim.py --size reduced   2 mm

Both run in this process, in turn, on the same simulated heads, with the same threads; the ratio is
that of the medians. Ours includes what it computes once an image.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import plain_ssim
from benchmarks.heads import add_options, heads_of
from brainldm.image.grid import Grid
from brainldm.metrics.similarity import four_g_r_ssim, pyramid, scales_that_fit

SIZES = {"reduced": ((80, 112, 80), 2.0), "full": ((160, 224, 160), 1.0)}


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    """Print seconds per pair, the ratio and the largest difference, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/ssim.json"))
    arguments = parser.parse_args()
    shape, mm = SIZES[arguments.size]
    offset = [-mm * (side - 1) / 2 for side in shape]
    affine = tuple(
        (*(mm if i == j else 0.0 for j in range(3)), offset[i] - (18.0 if i == 1 else 0.0))
        for i in range(3)
    )
    grid = Grid(shape, (*affine, (0.0, 0.0, 0.0, 1.0)))
    simulated = heads_of(arguments)
    heads = torch.stack([simulated.head(seed, grid).image for seed in range(2 * arguments.pairs)])
    a, b = heads[::2], heads[1::2]
    scales = scales_that_fit(shape)

    results: dict[str, list[float]] = {}

    def ours() -> None:
        results["ours"] = four_g_r_ssim(pyramid(a), pyramid(b)).tolist()

    def plain() -> None:
        results["plain"] = [
            plain_ssim.four_g_r_ssim(x, y, scales) for x, y in zip(a, b, strict=True)
        ]

    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(arguments.repeats):
        times["plain"].append(timed(plain) / arguments.pairs)
        times["ours"].append(timed(ours) / arguments.pairs)
    median = {name: statistics.median(values) for name, values in times.items()}
    difference = max(abs(x - y) for x, y in zip(results["ours"], results["plain"], strict=True))
    report = {
        "size": arguments.size,
        "threads": torch.get_num_threads(),
        "seconds_a_pair": median,
        "ratio": median["plain"] / median["ours"],
        "largest_difference": difference,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
