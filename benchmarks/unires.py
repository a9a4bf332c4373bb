"""UniRes on simulated heads: thick scans in three directions back to the head they were made of.

    python benchmarks/unires.py --subjects 20 --box 96 112 96 --label-maps maps --out build/unires
    python benchmarks/unires.py --subjects 2 --label-maps maps --out build/unires    # whole heads

Each subject has three contrasts of 1 mm. A scanner sees each in slices of 4 to 6 mm along another
axis, averaged over their thickness from ten cubic readings, moved by up to 10 mm and 10 degrees,
with the noise of a magnitude image. All methods have the registration that UniRes finds. Nothing of
the scanner is UniRes' own model of it. Whole heads are segmented as well: by the thick T1-weighted
scan, and by what was made of one and of three. A subject that was done is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.segment import both_sides
from brainldm.checkpoint.fetch import cache_dir
from brainldm.files import to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.metrics.similarity import C1, C2
from brainldm.segment.network import Network
from brainldm.simulate.contrast import Contrast
from brainldm.simulate.head import picture
from brainldm.simulate.run import grid_of
from brainldm.simulate.sources import find_sources, load_anatomy
from brainldm.simulate.subject import CENTRE, draw_subject
from brainldm.unires import Scan, solve
from brainldm.unires.align import align

Image = NDArray[np.float32]
CONTRASTS: tuple[Contrast, ...] = ("t1w", "t2w", "flair")
AXES = {"t1w": 2, "t2w": 1, "flair": 0}
METHODS = ("trilinear", "cubic", "single", "joint")
READINGS, MARGIN_MM = 10, 4.0


def subject_of(seed: int, label_maps: Path | None, folder: Path) -> tuple[Grid, dict[str, Image]]:
    """A head of 1 mm in three contrasts without noise, and its labels, kept in a folder."""
    grid, file = grid_of(1.0), folder / f"head-{seed}.npz"
    if not file.exists():
        sources = find_sources(label_maps)
        source = sources[seed % len(sources)]
        anatomy = load_anatomy(source.prepare(cache_dir() / "anatomies"), source.name)
        subject = draw_subject(anatomy, seed)
        heads = {name: picture(subject, grid, name) for name in CONTRASTS}
        folder.mkdir(parents=True, exist_ok=True)
        clean = {name: head.clean.numpy() for name, head in heads.items()}
        np.savez(file, labels=heads["t1w"].labels, **clean)
    return grid, dict(np.load(file))


def drawn_motion(rng: np.random.Generator) -> NDArray[np.float64]:
    """From the scanner to the head: up to 10 degrees about the brain, and 10 mm."""
    matrix, (turn, way) = np.eye(4), rng.normal(size=(2, 3))
    turn, way = (each / np.linalg.norm(each) * 10 * rng.uniform(0.3, 1) for each in (turn, way))
    matrix[:3, :3] = Rotation.from_rotvec(turn, degrees=True).as_matrix()
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ CENTRE + way
    return matrix


def scanned(
    truth: Image,
    grid: Grid,
    axis: int,
    motion: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Image, Grid]:
    """A head in thick slices, as a scanner gives it."""
    thickness, noise = rng.uniform(4, 6), rng.uniform(0.01, 0.03)
    spacing = np.ones(3)
    spacing[axis] = thickness
    low, high = grid.corners.min(axis=0) - MARGIN_MM, grid.corners.max(axis=0) + MARGIN_MM
    x, y, z = (int(side) for side in np.ceil((high - low) / spacing))
    place = np.diag([*spacing, 1.0])
    place[:3, 3] = (low + high) / 2 - spacing * (np.array((x, y, z)) - 1) / 2
    smooth = ndimage.spline_filter(truth, order=3, mode="constant")
    clean = np.zeros((x, y, z))
    for reading in range(READINGS):
        here = place.copy()
        here[axis, 3] += ((reading + 0.5) / READINGS - 0.5) * thickness
        to_head = np.linalg.inv(grid.matrix) @ motion @ here
        clean += ndimage.affine_transform(
            smooth, to_head, output_shape=(x, y, z), order=3, mode="constant", prefilter=False
        )
    channels = noise * rng.standard_normal((2, x, y, z))
    image = np.hypot(np.clip(clean / READINGS, 0, None) + channels[0], channels[1])
    return image.astype(np.float32), Grid.of((x, y, z), place)


def quality(image: Image, truth: Image, inside: NDArray[np.bool_]) -> tuple[float, float]:
    """PSNR in dB and SSIM (Gaussian of 1.5 voxels) within a mask."""
    image, truth = np.clip(image, 0, None).astype(np.float64), truth.astype(np.float64)
    psnr = -10 * np.log10(np.mean((image - truth)[inside] ** 2))

    def mean(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndimage.gaussian_filter(of, 1.5, truncate=2))

    a, b = mean(image), mean(truth)
    both = mean(image * truth) - a * b
    spread = mean(image**2) - a**2 + mean(truth**2) - b**2
    ssim = (2 * a * b + C1) * (2 * both + C2) / ((a**2 + b**2 + C1) * (spread + C2))
    return float(psnr), float(ssim[inside].mean())


def segmented(image: Image, grid: Grid, truth: NDArray[np.int16]) -> dict[str, float]:
    """Dice by group with the true labels, and the mL of ventricles and brain."""
    found = Network.of().label(Volume(image, grid.matrix))
    dice = both_sides(found.image.array, truth)
    return {**dice, "ventricles": found.total("ventricle"), "brain": found.total("brain")}


def off(found: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[float, float]:
    """By how many mm and degrees a motion is off at the middle of the brain."""
    rest = found @ np.linalg.inv(true)
    way = rest[:3, :3] @ CENTRE + rest[:3, 3] - CENTRE
    turn = Rotation.from_matrix(rest[:3, :3]).magnitude()
    return float(np.linalg.norm(way)), float(np.rad2deg(turn))


def measure(seed: int, label_maps: Path | None, box: tuple[int, ...], folder: Path) -> dict:
    """All figures of one subject."""
    grid, head = subject_of(seed, label_maps, folder)
    rng = np.random.default_rng((seed, 7))
    scans, motions = [], []
    for name in CONTRASTS:
        motions.append(drawn_motion(rng))
        image, place = scanned(head[name], grid, AXES[name], motions[-1], rng)
        scans.append(Scan(image, place, name, name=name))
    begun = time.perf_counter()
    scans, moves = align(scans, lowest_score=1)
    registered = time.perf_counter() - begun
    errors = [
        off(np.asarray(scan.motion), np.linalg.inv(motions[0]) @ motion)
        for scan, motion in zip(scans[1:], motions[1:], strict=True)
    ]
    part = tuple(
        slice((side - size) // 2, (side - size) // 2 + size)
        for side, size in zip(grid.shape, box or grid.shape, strict=True)
    )
    shift = np.eye(4)
    shift[:3, 3] = [side.start for side in part]
    shape = head["labels"][part].shape
    here = Grid.of(shape, np.linalg.inv(motions[0]) @ grid.matrix @ shift)
    inside = head["labels"][part] > 0
    begun = time.perf_counter()
    joint = solve(scans, here)
    seconds = time.perf_counter() - begun
    figures: dict[str, Mapping[str, tuple[float, float]]] = {}
    labels: dict[str, dict[str, float]] = {}
    for scan in scans:
        alone = solve([replace(scan)], here).volumes[scan.contrast]
        images = {
            "trilinear": np.nan_to_num(scan.reslice(here)),
            "cubic": np.nan_to_num(scan.reslice(here, order=3)),
            "single": alone.array,
            "joint": joint.volumes[scan.contrast].array,
        }
        truth = head[scan.contrast][part]
        figures[scan.contrast] = {k: quality(v, truth, inside) for k, v in images.items()}
        if scan.contrast == "t1w" and not box:
            images["truth"] = truth
            labels = {k: segmented(v, here, head["labels"]) for k, v in images.items()}
    return {
        "seed": seed,
        "errors": errors,
        "scores": [each.score for each in moves[1:]],
        "quality": figures,
        "labels": labels,
        "iterations": len(joint.course),
        "solve_seconds": seconds,
        "registration_seconds": registered,
    }


def report(results: list[dict]) -> str:
    """The table."""
    lines = [f"{len(results)} subjects; means, PSNR (dB) / SSIM"]
    lines.append("| | " + " | ".join(METHODS) + " | joint over cubic, least |")
    lines.append("|---" * (len(METHODS) + 2) + "|")
    for name in CONTRASTS:
        of = np.array([[r["quality"][name][m] for m in METHODS] for r in results])
        means = [f"{psnr:.2f} / {ssim:.3f}" for psnr, ssim in of.mean(axis=0)]
        least = (of[:, 3, 0] - of[:, 1, 0]).min()
        lines.append(f"| {name} | " + " | ".join(means) + f" | {least:+.2f} dB |")
    errors = np.array([error for r in results for error in r["errors"]])
    median, worst = np.median(errors, axis=0), errors.max(axis=0)
    lines.append(
        f"registration: median {median[0]:.2f} mm, {median[1]:.2f} degrees; worst {worst[0]:.2f} "
        f"mm, {worst[1]:.2f} degrees"
    )
    lines += list(of_labels([r["labels"] for r in results if r["labels"]]))
    return "\n".join(lines)


def of_labels(results: list[dict]) -> Iterator[str]:
    """The table of segmentations: means over subjects."""
    if not results:
        return
    names = list(results[0]["truth"])
    yield f"\n{len(results)} whole heads segmented: Dice, and mL"
    yield "| | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    for method in results[0]:
        means = [np.mean([result[method][name] for result in results]) for name in names]
        cells = [f"{mean:.3f}" if mean < 1 else f"{mean:.1f}" for mean in means]
        yield f"| {method} | {' | '.join(cells)} |"


def main() -> None:
    """Measure subjects, and print a table of all that are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label-maps", type=Path, help="folder; the MNI152 template if left out")
    parser.add_argument("--box", type=int, nargs=3, default=(), help="voxels in the middle")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    box, results = tuple(arguments.box), []
    for seed in range(arguments.seed, arguments.seed + arguments.subjects):
        file = arguments.out / f"result-{seed}-{'x'.join(map(str, box)) or 'whole'}.json"
        if not file.exists():
            found = measure(seed, arguments.label_maps, box, arguments.out)
            write_together({file: to_json(found)})
        results.append(json.loads(file.read_text()))
        print(report(results), flush=True)


if __name__ == "__main__":
    main()
