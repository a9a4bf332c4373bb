"""The covariates that `brainldm prepare` measures, against the truth of simulated subjects.

    python benchmarks/covariates.py                       # 30 subjects at 1 mm
    python benchmarks/covariates.py --segmentation ants   # an hour on one core
    python benchmarks/covariates.py --subjects 4 --jobs 2

Each subject is scanned with an orientation, spacing, rotation, shift and intensities of its own,
prepared as a user's scans are, and compared with the volumes of its tissue maps. The heads derive
from the template that ANTs deforms onto them: real ones differ from it in more ways.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

FIRST_SEED = 51_000  # no subject that anything here was trained or tuned on
VENTRICLES = (0.10, 2.0)  # relative, or mL
BRAIN = 0.03


def main() -> None:
    """Simulate, prepare and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--segmentation", default="network")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep scans and the data set here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        seeds = range(arguments.first, arguments.first + arguments.subjects)
        truth = simulated_scans(folder, seeds, arguments.jobs)
        listing = folder / "scans.txt"
        listing.write_text("".join(f"scans/sub-{seed}_T1w.nii.gz\n" for seed in truth))
        report(truth, measured(folder, listing, arguments.segmentation, arguments.jobs))


def simulated_scans(folder: Path, seeds: range, jobs: int) -> dict[int, tuple[float, float]]:
    """Write the scans that are not there yet; the true volumes of each, mL."""
    (folder / "scans").mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return dict(zip(seeds, pool.map(simulated_scan, [folder] * len(seeds), seeds), strict=True))


def simulated_scan(folder: Path, seed: int) -> tuple[float, float]:
    """Simulate a subject at 1 mm, from the neck to the crown, and scan it."""
    from brainldm.image.grid import Grid
    from brainldm.register.kept import load_template
    from brainldm.simulate.scanner import as_scanned
    from brainldm.simulate.template_head import simulate

    path, truth = (folder / "scans" / f"sub-{seed}_T1w{end}" for end in (".nii.gz", ".json"))
    if not truth.exists():
        corner = (-87.5, -129.5, -91.5)
        affine = (
            *((*(float(i == j) for j in range(3)), corner[i]) for i in range(3)),
            (0, 0, 0, 1),
        )
        grid = Grid((176, 232, 192), affine)
        head = simulate(seed, load_template(), grid)
        path.write_bytes(as_scanned(head, grid, seed).to_nifti())
        of = head.conditions
        truth.write_text(json.dumps([of.ventricular_volume_ml, of.brain_volume_ml]))
    ventricles, brain = json.loads(truth.read_text())
    return ventricles, brain


def measured(
    folder: Path, listing: Path, segmentation: str, jobs: int
) -> dict[int, tuple[float, float]]:
    """Prepare the scans; what was measured on each, mL."""
    from brainldm.prepare import prepare

    start = time.perf_counter()
    out = folder / f"prepared-{Path(segmentation).name}"
    summary = prepare(listing, out, segmentation=segmentation, jobs=jobs)
    seconds = time.perf_counter() - start
    print(f"prepared {summary.prepared} in {seconds:.0f} s with {jobs} processes")
    for failure in summary.failures:
        print(f"failed: {failure.subject}: {failure.reason}")
    for note in summary.notes:
        print(f"note: {note}")
    with (out / "participants.tsv").open() as file:
        return {
            int(row["participant_id"].removeprefix("sub-")): (
                float(row["ventricular_volume_ml"]),
                float(row["brain_volume_ml"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
            if row["brain_volume_ml"] != "n/a"
        }


def report(truth: dict[int, tuple[float, float]], found: dict[int, tuple[float, float]]) -> None:
    """Print a Markdown table, and the share within the limits; a scan that failed is outside."""
    print("| seed | ventricles, true (mL) | measured | brain, true (mL) | measured | difference |")
    print("|---" * 6 + "|")
    within = [0, 0]
    for seed, (ventricles, brain) in truth.items():
        if seed not in found:
            continue
        v, b = found[seed]
        within[0] += abs(v - ventricles) <= max(VENTRICLES[0] * ventricles, VENTRICLES[1])
        within[1] += abs(b - brain) <= BRAIN * brain
        print(
            f"| {seed} | {ventricles:.1f} | {v:.1f} ({v - ventricles:+.1f}) | {brain:.0f} | "
            f"{b:.0f} | {b / brain - 1:+.1%} |"
        )
    n = len(truth)
    print(f"ventricles within 10 % or 2 mL: {within[0]} of {n} ({within[0] / n:.0%})")
    print(f"brain within 3 %: {within[1]} of {n} ({within[1] / n:.0%})")


if __name__ == "__main__":
    main()
