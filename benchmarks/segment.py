"""What a segmenter reaches: Dice and volumes on anatomies that it never saw, a real scan, its cost.

    python benchmarks/segment.py --segmenter run --label-maps maps --leave-out NAME,NAME \
        --scan scan.nii.gz                        # about half an hour on two cores
    python benchmarks/segment.py --segmenter run --heads 2 --subjects 4  # of the template, quicker

Heads are those of `brainldm simulate`, T1-weighted, of the anatomies left out in training, mirrored
or not. Sides count: the Dice of a structure is the mean over its two sides.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainldm.cli.options import names
from brainldm.errors import DataError
from brainldm.image.volume import Volume
from brainldm.segment.labelled import Labelled
from brainldm.segment.network import Network
from brainldm.segment.overlap import overlaps
from brainldm.segment.structures import GROUPS, NUMBERS, STRUCTURES
from brainldm.simulate.head import SimulatedHead
from brainldm.simulate.heads import Heads
from brainldm.simulate.render import NOISE
from brainldm.simulate.run import grid_of
from brainldm.simulate.tissues import TISSUES

FIRST_SEED = 300_000  # no subject that anything was trained on
WANTED = dict(zip(GROUPS, (0.93, 0.92, 0.88, 0.85, 0.93, 0.90), strict=True))
REAL = {"lateral ventricles": 19.4, "white matter": 479, "cortex": 585, "brain": 1297}
"""The real scan's, in mL, as a published network trained on real scans measures them: the choroid
plexus counts as ventricle there, as its label maps have it."""
PLEXUS = (31, 63)
INSIDE = {each.number for each in TISSUES if each.kind in ("brain", "ventricle", "fluid")}

Seen = tuple[Volume, NDArray[np.int16]]


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenter", type=Path, help="folder of the weights; those that ship")
    parser.add_argument("--label-maps", type=Path)
    parser.add_argument("--leave-out", default="")
    parser.add_argument("--scan", type=Path, help="the real scan")
    parser.add_argument("--heads", type=int, default=4, help="for Dice")
    parser.add_argument("--subjects", type=int, default=30, help="for volumes")
    parser.add_argument("--size", type=float, default=1.0, help="voxels for volumes, in mm")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    network = Network.of(arguments.segmenter)
    held_out = names(arguments.leave_out)
    print(f"{network.identity}; held out: {', '.join(held_out) or 'nothing'}\n")
    if arguments.scan:
        real(network, arguments.scan)
    if arguments.heads or arguments.subjects:
        heads = Heads.of(arguments.label_maps, held_out, arguments.jobs)
        if arguments.heads:
            dice(network, heads, arguments.heads)
        if arguments.subjects:
            volumes(network, heads, arguments.subjects, arguments.size)
    cost(arguments.segmenter)


def dice(network: Network, heads: Heads, count: int) -> None:
    """Dice by group, for each kind of image."""
    print(f"| Dice, {count} heads | " + " | ".join((*GROUPS, "quality", "refused")) + " |")
    print("|---" * (len(GROUPS) + 3) + "|")
    print("| wanted | " + " | ".join(f"{value:.2f}" for value in WANTED.values()) + " | | |")
    for name, kind in KINDS.items():
        rows, scores, refused = [], [], 0
        for number in range(count):
            volume, truth = kind(heads, number)
            found = network.label(volume)
            rows.append(both_sides(found.image.array, truth))
            scores.append(found.quality.score)
            refused += not found.quality.trusted
        cells = [f"{np.mean([row.get(group, np.nan) for row in rows]):.3f}" for group in GROUPS]
        print(f"| {name} | {' | '.join(cells)} | {np.mean(scores):.2f} | {refused} |", flush=True)
    print()


def both_sides(found: NDArray[np.int16], truth: NDArray[np.int16]) -> dict[str, float]:
    """The mean over sides of each group's Dice."""
    sides = []
    for side in (0, 1):
        place = np.zeros(int(max(truth.max(), found.max(), NUMBERS.max())) + 1, np.uint8)
        for i, each in enumerate(STRUCTURES):
            place[NUMBERS[i, side]] = i
            for tissue in TISSUES:
                if tissue.number in each.tissues and tissue.name.startswith(
                    ("left", "right")[side]
                ):
                    place[tissue.number] = i
        place[0] = 0
        sides.append(overlaps(place[found], place[truth]))
    return {name: (sides[0][name] + sides[1][name]) / 2 for name in sides[0].keys() & sides[1]}


def head_of(heads: Heads, number: int, size: float = 1.0) -> SimulatedHead:
    """One that nothing was trained on."""
    return heads.head(FIRST_SEED + number, grid_of(size))


def plain(heads: Heads, number: int, size: float = 1.0) -> Seen:
    """As `brainldm simulate` makes it."""
    head = head_of(heads, number, size)
    return Volume(head.image.numpy(), grid_of(size).matrix), head.labels


def thick(heads: Heads, number: int) -> Seen:
    """Slices of 5 mm."""
    head, grid = head_of(heads, number), grid_of(1)
    depth = head.clean.shape[2] // 5
    clean = head.clean.numpy()[:, :, : 5 * depth].reshape(*grid.shape[:2], depth, 5).mean(-1)
    affine = grid.matrix @ np.diag([1, 1, 5, 1.0])
    affine[:3, 3] = (grid.matrix @ [0, 0, 2, 1])[:3]
    return Volume(noisy(clean, NOISE, number), affine), head.labels[:, :, 2 : 5 * depth : 5]


def thrice(heads: Heads, number: int) -> Seen:
    """Three times the noise."""
    head = head_of(heads, number)
    return Volume(noisy(head.clean.numpy(), 3 * NOISE, number), grid_of(1).matrix), head.labels


def turned(heads: Heads, number: int) -> Seen:
    """Turned by 30 degrees about an axis between the three."""
    head, grid = head_of(heads, number), grid_of(1)
    turn = Rotation.from_rotvec(np.radians(30) * np.ones(3) / np.sqrt(3)).as_matrix()
    middle = (np.array(grid.shape) - 1) / 2
    shift = middle - turn @ middle
    clean = ndimage.affine_transform(head.clean.numpy(), turn, shift, order=1)
    labels = ndimage.affine_transform(head.labels, turn, shift, order=0)
    return Volume(noisy(clean, NOISE, number), grid.matrix), labels


def stripped(heads: Heads, number: int) -> Seen:
    """Without what is outside the skull's inside."""
    head = head_of(heads, number)
    inside = np.isin(head.labels, list(INSIDE - {0}))
    return Volume(np.where(inside, head.image.numpy(), 0), grid_of(1).matrix), head.labels


KINDS: dict[str, Callable[[Heads, int], Seen]] = {
    "1 mm": plain,
    "2 mm": lambda heads, number: plain(heads, number, 2.0),
    "5 mm slices": thick,
    "three times the noise": thrice,
    "turned by 30 degrees": turned,
    "skull-stripped": stripped,
}


def noisy(clean: NDArray[np.float32], noise: float, seed: int) -> NDArray[np.float32]:
    """With the noise of a magnitude image."""
    rng = np.random.default_rng(seed)
    first, second = noise * rng.standard_normal((2, *clean.shape), np.float32)
    return np.hypot(clean + first, second)


def volumes(network: Network, heads: Heads, count: int, size: float) -> None:
    """Ventricles and brain, measured against what is true."""
    errors = list(measured(network, heads, count, size))
    given = np.array([each for each in errors if each is not None]).reshape(-1, 4)
    true, found = given[:, :2], given[:, 2:]
    off = np.abs(found - true)
    close = (off[:, 0] <= np.maximum(0.05 * true[:, 0], 1.5), off[:, 1] <= 0.02 * true[:, 1])
    print(f"Volumes of {count} subjects at {size:g} mm, {count - len(given)} of them refused:")
    for i, (name, limit) in enumerate((("ventricles", "5 % or 1.5 mL"), ("brain", "2 %"))):
        print(f"- {name}: {close[i].sum()} of {count} within {limit} (wanted: 90 %)", end="")
        if len(given):
            bias = (found[:, i] - true[:, i]).mean()
            print(f"; mean difference {bias:+.1f} mL, absolute {off[:, i].mean():.1f} mL", end="")
        print()
    print(flush=True)


def measured(
    network: Network, heads: Heads, count: int, size: float
) -> Iterator[tuple[float, ...] | None]:
    """True and measured ventricles and brain; None where the measure is refused."""
    for number in range(count):
        head = head_of(heads, number, size)
        volume = Volume(head.image.numpy(), grid_of(size).matrix)
        try:
            found = network.measure(volume).volumes
        except DataError:
            yield None
            continue
        given = head.conditions.given
        true = (given["ventricular_volume_ml"], given["brain_volume_ml"])
        yield (float(true[0]), float(true[1]), *found)


def real(network: Network, scan: Path) -> None:
    """The real scan, beside what a published network measures."""
    found = network.label(Volume.load(scan))
    own = {
        "lateral ventricles": found.total("ventricle") + sum(found.volumes[n] for n in PLEXUS),
        "white matter": found.volumes[2] + found.volumes[41],
        "cortex": found.volumes[3] + found.volumes[42],
        "brain": found.total("brain"),
    }
    print(f"Real scan: quality {found.quality.score:.2f} {'; '.join(found.quality.faults)}")
    for name, value in own.items():
        print(f"- {name}: {value:.1f} mL, expected {REAL[name]:g} ({value / REAL[name] - 1:+.0%})")
    print(f"- within the skull: {whole(found):.0f} mL\n", flush=True)


def whole(found: Labelled) -> float:
    """All that is within the skull, mL."""
    return found.total("brain", "ventricle", "fluid")


COST = """
import resource, sys, time
from pathlib import Path
import numpy as np
from brainldm.image.volume import Volume
from brainldm.segment.network import Network
size = float(sys.argv[1])
grid = np.indices([round(side / size) for side in (176, 232, 192)], np.float32)
middle = np.array(grid.shape[1:]).reshape(3, 1, 1, 1) / 2
axes = np.array([75, 95, 85]).reshape(3, 1, 1, 1)
inside = (((grid - middle) * size / axes) ** 2).sum(0) < 1
head = Volume(np.where(inside, 0.8, 0.01), np.diag([size, size, size, 1]))
network = Network.of(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
start = time.perf_counter()
network.label(head)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(f"| {size:g} mm | {seconds:.1f} | {peak:.2f} |")
"""


def cost(folder: Path | None) -> None:
    """Seconds and memory of a head of 176 x 232 x 192 mm, in a process of its own."""
    print(f"| a head of 176 x 232 x 192 mm, {os.cpu_count()} cores | s | peak, GB |\n|---|---|---|")
    for size in ("1", "2"):
        arguments = [sys.executable, "-c", COST, size, *([str(folder)] if folder else [])]
        print(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
