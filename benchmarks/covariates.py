"""The covariates that `brainldm prepare` measures, against the truth of simulated subjects.

    python benchmarks/covariates.py --label-maps DIR --only NAME,NAME     # 30 subjects at 1 mm
    python benchmarks/covariates.py --label-maps DIR --only NAME,NAME --segmentation ants

Each subject is scanned with an orientation, spacing, rotation, shift and intensities of its own,
prepared as a user's scans are, and compared with the volumes of its labels.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.heads import add_options, write_heads
from brainldm.prepare import prepare

VENTRICLES = (0.10, 2.0)  # relative, or mL
BRAIN = 0.03


def main() -> None:
    """Simulate, prepare and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--segmentation", default="network")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep scans and the data set here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        how = {"voxel_size": 1, "scanned": True, "jobs": arguments.jobs}
        write_heads(folder / "scans", arguments.subjects, arguments, **how)
        listing = folder / "scans.txt"  # without the table of the true volumes
        scans = sorted(folder.glob("scans/**/*_T1w.nii.gz"))
        listing.write_text("".join(f"{scan.relative_to(folder)}\n" for scan in scans))
        found = measured(folder, listing, arguments.segmentation, arguments.jobs)
        report(volumes(folder / "scans"), found)


def measured(
    folder: Path, listing: Path, segmentation: str, jobs: int
) -> dict[str, tuple[float, float]]:
    """Prepare the scans; what was measured on each, mL."""
    start = time.perf_counter()
    out = folder / f"prepared-{Path(segmentation).name}"
    summary = prepare(listing, out, segmentation=segmentation, jobs=jobs)
    seconds = time.perf_counter() - start
    print(f"prepared {summary.prepared} in {seconds:.0f} s with {jobs} processes")
    for failure in summary.failures:
        print(f"failed: {failure.subject}: {failure.reason}")
    for note in summary.notes:
        print(f"note: {note}")
    return volumes(out)


def volumes(data: Path) -> dict[str, tuple[float, float]]:
    """Of each subject of a data set, mL."""
    with (data / "participants.tsv").open() as file:
        return {
            row["participant_id"]: (
                float(row["ventricular_volume_ml"]),
                float(row["brain_volume_ml"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
            if row["brain_volume_ml"] != "n/a"
        }


def report(truth: dict[str, tuple[float, float]], found: dict[str, tuple[float, float]]) -> None:
    """Print a Markdown table, and the share within the limits; a scan that failed is outside."""
    print("| head | ventricles, true (mL) | measured | brain, true (mL) | measured | difference |")
    print("|---" * 6 + "|")
    within = [0, 0]
    for subject, (ventricles, brain) in truth.items():
        if subject not in found:
            continue
        v, b = found[subject]
        within[0] += abs(v - ventricles) <= max(VENTRICLES[0] * ventricles, VENTRICLES[1])
        within[1] += abs(b - brain) <= BRAIN * brain
        print(
            f"| {subject} | {ventricles:.1f} | {v:.1f} ({v - ventricles:+.1f}) | {brain:.0f} | "
            f"{b:.0f} | {b / brain - 1:+.1%} |"
        )
    n = len(truth)
    print(f"ventricles within 10 % or 2 mL: {within[0]} of {n} ({within[0] / n:.0%})")
    print(f"brain within 3 %: {within[1]} of {n} ({within[1] / n:.0%})")


if __name__ == "__main__":
    main()
