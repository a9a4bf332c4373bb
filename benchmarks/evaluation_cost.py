"""What `brainldm evaluate` takes for scans of 1 mm, and so for 1000 against 1000.

    python benchmarks/evaluation_cost.py --work build/evaluation-cost      # a quarter of an hour

Simulated heads on the published model's grid are measured and compared as the command does it, in
as many processes as there are cores, with an empty cache. Seconds are those of the clock for one
more head or pair, all processes together: the first round, which starts them, does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from brainldm.evaluate.extractors import Extractor
from brainldm.evaluate.measures import Measuring, measure
from brainldm.evaluate.pairs import compare_pairs
from brainldm.evaluate.sets import common_grid, find_heads
from brainldm.segment.segmenter import segmenter
from brainldm.simulate.run import simulate_data_set
from brainldm.workers import spread

SCANS, PAIRS = 1000, 1000


def main() -> None:
    """Measure, print the table and the projection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path("build/evaluation-cost"))
    arguments = parser.parse_args()
    work, n, jobs = arguments.work, arguments.heads, arguments.jobs
    simulate_data_set(work / "heads", n, voxel_size=1, jobs=jobs)
    heads = find_heads(work / "heads", "real", scaled=True)
    grid = common_grid({"real": heads}, False)
    pairs = [(a, b) for i, a in enumerate(heads) for b in heads[i + 1 :]]
    seconds = {}
    for name in ("none", "network", "ants"):
        shutil.rmtree(work / "cache", ignore_errors=True)
        folder = work / "cache" / name
        folder.mkdir(parents=True)
        measures = segmenter(name)
        how = Measuring(grid, Extractor(), folder, measures, "cpu")
        seconds[f"a scan, volumes: {name}"] = _pace(
            n,
            jobs,
            lambda tell, how=how: spread(measure, [(head, how) for head in heads], jobs, tell),
        )
        if name == "none":
            seconds["a pair"] = _pace(
                len(pairs), jobs, lambda tell, how=how: compare_pairs(pairs, how, jobs, tell)
            )
    hours = {
        f"1000 against 1000, volumes: {name}": (
            2 * SCANS * seconds[f"a scan, volumes: {name}"] + 2 * PAIRS * seconds["a pair"]
        )
        / 3600
        for name in ("none", "network", "ants")
    }
    report = {"processes": jobs, "seconds": seconds, "projected_hours": hours}
    (work / "cost.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


def _pace(count: int, jobs: int, work: Callable[[Callable[[int], None]], object]) -> float:
    """Seconds for each after the first round."""
    times: list[float] = []
    work(lambda done: times.append(time.perf_counter()))
    return (times[-1] - times[jobs - 1]) / (count - jobs)


if __name__ == "__main__":
    main()
