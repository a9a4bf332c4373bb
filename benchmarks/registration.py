"""Whether a head is brought to the same place in MNI152 space, however it lay in the scanner.

    python benchmarks/registration.py scan.nii.gz sub-01_T1w.nii.gz --poses 4

Each scan is registered as it is and moved by random motions. Printed of each: how like the template
it is then, how far the corners of its brain are from their mean place at most, and the processor
time of a registration.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from brainldm.image.volume import Volume
from brainldm.register.images import moved
from brainldm.register.kept import load_reference
from brainldm.register.rigid import register
from brainldm.simulate.scanner import draw_pose

CORNERS = np.array([[x, y, z, 1.0] for x in (-60, 60) for y in (-90, 60) for z in (-50, 70)])
"""About those of a brain in MNI152 space, mm."""


def main() -> None:
    """Print a row for each scan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="+", type=Path, metavar="SCAN")
    parser.add_argument("--poses", type=int, default=3)
    arguments = parser.parse_args()
    reference = load_reference()
    print("| scan | similarity | farthest from the mean place, mm | processor time, s |")
    print("|---|---|---|---|")
    for path in arguments.scans:
        scan = Volume.load(path)
        motions, alike, begun = [], [], time.process_time()
        for seed in range(arguments.poses):
            pose = draw_pose(np.random.default_rng(seed)) if seed else np.eye(4)
            motion, similarity = register(moved(scan, pose), reference)
            motions.append(motion @ pose)
            alike.append(similarity)
        seconds = (time.process_time() - begun) / arguments.poses
        # Where the brain's corners come from in the scan, for each pose.
        places = np.stack([CORNERS @ np.linalg.inv(each).T for each in motions])[..., :3]
        spread = np.linalg.norm(places - places.mean(0), axis=-1).max()
        between = f"{min(alike):.2f} to {max(alike):.2f}"
        print(f"| {path.name} | {between} | {spread:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
