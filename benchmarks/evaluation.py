"""Whether the figures of `brainldm evaluate` move the right way, and what they cost.

    python benchmarks/evaluation.py --label-maps DIR --only NAME,NAME     # an hour on two cores
    python benchmarks/evaluation.py --label-maps DIR --only NAME,NAME --heads 40

Sets of equal size against one real set of simulated heads: other simulated heads, the demo
model's, the demo model's with 4 steps, simulated heads blurred and with noise; then labels
shuffled, and one half of the population (the larger ventricles) left out. What was made before is
kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.heads import FIRST_HEAD, add_options, write_heads
from brainldm import BrainLDM
from brainldm.conditions import Conditions
from brainldm.evaluate import conditioning
from brainldm.evaluate.extractors import Extractor
from brainldm.evaluate.measures import Measuring, measure
from brainldm.evaluate.sets import common_grid, find_heads
from brainldm.image.volume import FWHM, Volume
from brainldm.metrics.distances import coverage, fid, mmd
from brainldm.metrics.resampling import against_floor
from brainldm.segment.segmenter import segmenter
from brainldm.workers import spread

FEW_STEPS = 4
BLURS_MM, NOISES = (4.0, 6.0), (0.1, 0.3)


def generate(folder: Path, number: int, **how: object) -> None:
    """Heads of the demo model, each with conditions drawn with its seed."""
    missing = [s for s in range(number) if not (folder / f"sub-{s:06d}_T1w.nii.gz").exists()]
    if not missing:
        return
    model = BrainLDM.from_pretrained("demo", device="cpu")
    for seed in missing:
        people = [model.ranges.complete(Conditions(), seed)[0]]
        folder.mkdir(parents=True, exist_ok=True)
        (volume,) = model.generate(people, [seed], **how)
        volume.save(folder / f"sub-{seed:06d}_T1w.nii.gz")


def spoil(source: Path, folder: Path, spoiled: Callable[[Volume], np.ndarray]) -> None:
    """Other versions of the heads in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for head in find_heads(source, "real", scaled=True):
        path = folder / head.path.name
        if not path.exists():
            volume = Volume.load(head.path)
            Volume(spoiled(volume).astype(np.float32), volume.affine).save(path)


def blurred(volume: Volume, mm: float) -> np.ndarray:
    """By a Gaussian of so many millimetres at half its height."""
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    return ndimage.gaussian_filter(volume.array, mm / FWHM / spacing)


def noisy(volume: Volume, deviation: float) -> np.ndarray:
    """With Gaussian noise, another for each head."""
    rng = np.random.default_rng(zlib.crc32(volume.array.tobytes()))
    return np.clip(volume.array + rng.normal(0, deviation, volume.array.shape), 0, 1)


def main() -> None:
    """Make the sets, measure them, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--heads", type=int, default=100, help="of each set")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/evaluation"))
    arguments = parser.parse_args()
    n, work = arguments.heads, arguments.work
    for name, seed in (("real", FIRST_HEAD), ("other-real", FIRST_HEAD + n)):
        write_heads(work / name, n, arguments, seed, jobs=arguments.jobs)
    generate(work / "demo", n)
    generate(work / "demo-few-steps", n, sampler="ddim", steps=FEW_STEPS)
    spoiled = {f"blurred, {mm:g} mm": partial(blurred, mm=mm) for mm in BLURS_MM}
    spoiled |= {f"noise, {sd:g}": partial(noisy, deviation=sd) for sd in NOISES}
    for name, spoils in spoiled.items():
        spoil(work / "other-real", work / name, spoils)

    names = ("other-real", "demo", "demo-few-steps", *spoiled)
    heads = {name: find_heads(work / name, name, scaled=True) for name in ("real", *names)}
    grid = common_grid({"real": heads["real"], "generated": heads["demo"]}, False)
    cache = work / "cache"
    plain = Measuring(grid, Extractor(), cache / "plain", None, "cpu")
    full = Measuring(grid, plain.extractor, cache / "volumes", segmenter("network"), "cpu")
    volumes = {}
    features = {}
    for name, scans in heads.items():
        how = full if name in ("real", "demo") else plain
        tasks = [(head, how) for head in scans]
        found = spread(measure, tasks, arguments.jobs, lambda done: None)
        features[name] = np.array([head.features for head in found], np.float64)
        volumes[name] = np.array([head.volumes for head in found if head.volumes])

    print("| against real | FID | MMD | precision | recall |\n|---|---|---|---|---|")
    report: dict[str, object] = {}
    for name in names:
        row = dict(rows(features[name], features["real"]))
        report[name] = row
        print(f"| {name} | " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")

    asked = np.array([float(h.known["ventricular_volume_ml"]) for h in heads["demo"]])
    order = np.random.default_rng(0).permutation(len(asked))
    for label, labels in (("as asked", asked), ("shuffled", asked[order])):
        pairs = np.stack([labels, volumes["demo"][:, 0]], 1)
        r = next(conditioning.figures("ventricles", pairs, None))
        report[f"r, labels {label}"] = r.value
        print(f"conditioning r, labels {label}: {r.value:.3f}")

    real = volumes["real"][:, 0]
    other = features["other-real"]
    known = [float(h.known["ventricular_volume_ml"]) for h in heads["other-real"]]
    half = np.array(known) < np.nanmedian(real)  # not where the segmenter does not trust itself
    size = int(half.sum())
    rng = np.random.default_rng(0)
    draws = {
        "whole": [rng.permutation(len(other))[:size] for _ in range(20)],
        "half": [np.flatnonzero(half)],
    }
    for label, some in draws.items():
        recall = np.mean([coverage(other[x], features["real"])["recall"] for x in some])
        report[f"recall, {label} population"] = float(recall)
        print(f"recall with the {label} population, {size} heads: {recall:.3f}")
    (work / "evaluation.json").write_text(json.dumps(report, indent=1))


def rows(generated: np.ndarray, real: np.ndarray) -> Iterator[tuple[str, float]]:
    """Figures at half the real set's size, means of 20 draws."""
    for name, figure in (("FID", fid), ("MMD", mmd)):
        yield name, float(against_floor(figure, generated, real)[0].mean())
    for name in ("precision", "recall"):

        def share(a: np.ndarray, b: np.ndarray, name: str = name) -> float:
            return coverage(a, b)[name]

        yield name, float(against_floor(share, generated, real)[0].mean())


if __name__ == "__main__":
    main()
