"""The demo model's figures: how near its heads are to simulated ones, and to what was asked for.

Heads of anatomies that the model has not seen are reconstructed, heads are generated as everybody
generates them (default sampler and steps), and the network that labels heads measures both. It has
learned from the same kind of heads as the model, and from other images: its own error on the
held-out heads stands beside the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainldm.conditions import STANDARD, Conditions
from brainldm.demo.figure import Figure
from brainldm.errors import DataError, UsageError
from brainldm.files import make_folder, to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.sheet import contact_sheet
from brainldm.image.slices import draw_slices, encode
from brainldm.image.volume import Volume
from brainldm.metrics.agreement import agreement
from brainldm.metrics.similarity import psnr
from brainldm.metrics.spectrum import band_power
from brainldm.pipeline.brain import BrainLDM
from brainldm.register.kept import load_template
from brainldm.register.reference import Reference
from brainldm.segment.network import Network
from brainldm.segment.segmenter import measured
from brainldm.simulate.heads import Heads

HELD_OUT = range(100_000, 100_030)
GENERATED = range(100)
SWEPT = range(1000, 1006)
MIDDLE = {"sex": 0.0, "age": 0.5, "ventricular_volume": 0.5, "brain_volume": 0.5}
SHOWN = 4
"""Heads of each kind on the contact sheet, cut through CUTS (mm)."""
CUTS = ((2.0, -20.0, 30.0), (32.0, 6.0, 48.0))
FINE = (0.12, 0.2)
"""Cycles per mm: folds of the cortex, and what lies between them."""
WINDOW_MM = (6.0, 16.0)
"""Inside the skull, between which an image comes to count for its fineness."""
Limits = tuple[float | None, float | None, float | None]
"""The least r, the least slope and the largest."""
VENTRICLES: Limits = (0.97, 0.92, 1.08)
BRAIN: Limits = (0.95, 0.85, 1.15)
NO_LIMITS: Limits = (None, None, None)
COLUMNS = (
    *("seed", "sex", "age", "ventricles_asked_ml", "ventricles_measured_ml"),
    *("brain_asked_ml", "brain_measured_ml"),
)


def evaluate(
    model: BrainLDM,
    heads: Heads,
    network: Network,
    out: Path,
    scan: Volume | None = None,
    say: Callable[[str], None] = print,
) -> list[Figure]:
    """Measure a model of simulated heads, and write figures.json, heads.csv and contact-sheet.png.

    Args:
        model: on any grid.
        heads: of anatomies that it was not trained on.
        network: measures volumes.
        out: a folder.
        scan: a real one, to be reconstructed as well.
        say: called with the line of each figure as it is known.

    Raises:
        UsageError: a model without the four conditions of the published one.
        StorageError: the folder cannot be written.
        DataError: the scan is not one that the model takes, or most heads cannot be measured.
    """
    missing = set(STANDARD) - {condition.name for condition in model.config.conditions}
    if missing:
        raise UsageError(
            f"The model has no condition {', '.join(sorted(missing))}: expected one with "
            f"{', '.join(STANDARD)}, which are asked for and measured."
        )
    make_folder(out)
    figures: list[Figure] = []

    def tell(*new: Figure) -> None:
        for figure in new:
            say(str(figure))
        figures.extend(new)

    if scan:
        real = model.prepare(scan)
        decibels = psnr(model.reconstruct(real).array, real.array)
        tell(Figure("PSNR of a real scan, reconstructed (dB)", decibels, 27))
    grid, window = model.grid, _window(model.grid)
    simulated = [heads.head(seed, grid) for seed in HELD_OUT]
    clean = [head.clean.numpy() for head in simulated]
    scans = [Volume(head.image.numpy(), model.affine, scaled=True) for head in simulated]
    copies = list(map(model.reconstruct, scans))
    each = [psnr(copy.array, truth) for copy, truth in zip(copies, clean, strict=True)]
    tell(
        Figure(f"PSNR of {len(scans)} held-out heads, reconstructed (dB)", mean(each), 29),
        Figure("  lowest (dB)", min(each)),
        _fineness("Reconstructed", copies, clean, window, grid, (0.8, 1.2)),
    )
    true = _volumes([head.conditions for head in simulated])
    for kind, images in (("as they are", scans), ("reconstructed", copies)):
        tell(*agreements(f"Held-out heads, {kind}", true, _measure(network, images)))

    people = [model.ranges.complete(Conditions(), seed)[0] for seed in GENERATED]
    made = model.generate(people, list(GENERATED))
    tell(_fineness("Generated", made, clean, window, grid, (0.75, 1.25)))
    measured = _measure(network, made)
    tell(
        *agreements(f"{len(made)} generated heads", _volumes(people), measured, VENTRICLES, BRAIN),
        *_leakage(model, network),
        _variety(model, clean),
    )
    write_together(
        {
            out / "figures.json": to_json(
                {"model": model.hash, "figures": [asdict(figure) for figure in figures]}
            ),
            out / "heads.csv": table(people, measured),
            out / "contact-sheet.png": side_by_side(made[:SHOWN], clean[:SHOWN]),
        }
    )
    return figures


def mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


def _window(grid: Grid) -> NDArray[np.float32]:
    """1 within the brain, falling off towards the skull."""
    depth = -Reference.from_template(load_template()).to_skull(grid)
    near, far = WINDOW_MM
    return np.asarray(np.clip((depth - near) / (far - near), 0, 1), np.float32)


def _fineness(
    kind: str,
    volumes: Sequence[Volume],
    clean: Sequence[NDArray[np.float32]],
    window: NDArray[np.float32],
    grid: Grid,
    limits: tuple[float, float],
) -> Figure:
    """The fine power of images over that of simulated heads without noise."""
    of_images, of_heads = (
        mean([band_power(image, window, grid.spacing, FINE) for image in each])
        for each in ([volume.array for volume in volumes], clean)
    )
    name = f"{kind}: power at {FINE[0]:g} to {FINE[1]:g} cycles/mm, over the simulation's"
    return Figure(name, of_images / of_heads, *limits)


def _volumes(people: Sequence[Conditions]) -> NDArray[np.float64]:
    """Ventricular and brain volumes in mL, (N, 2)."""
    return np.array([(p.ventricular_volume_ml, p.brain_volume_ml) for p in people], np.float64)


def _measure(network: Network, volumes: Sequence[Volume]) -> NDArray[np.float64]:
    """Both volumes of each in mL, (N, 2)."""
    return np.array([measured(network, volume) for volume in volumes])


def agreements(
    kind: str,
    true: NDArray[np.float64],
    measured: NDArray[np.float64],
    ventricles: Limits = NO_LIMITS,
    brain: Limits = NO_LIMITS,
) -> list[Figure]:
    """How measured volumes follow the true ones, or those that were asked for."""
    there = np.isfinite(measured[:, 0])
    if there.sum() < 3:
        raise DataError(
            f"{kind}: the segmenter measures {there.sum()} of {len(there)}, expected most of them. "
            "Look at the images in a viewer, or choose another --segmenter."
        )
    figures = [Figure(f"{kind}: without a measure", float((~there).sum()), None, 0)]
    for i, (what, (r, low, high)) in enumerate((("ventricles", ventricles), ("brain", brain))):
        agree = agreement(true[there, i], measured[there, i])
        figures += [
            Figure(f"  {what}: r", agree.r, r),
            Figure("  slope", agree.slope, low, high),
            Figure("  root mean square difference (mL)", agree.squared),
            Figure("  mean difference (mL)", mean(measured[there, i] - true[there, i])),
        ]
    return figures


def _leakage(model: BrainLDM, network: Network) -> list[Figure]:
    """How far the ventricles move while another condition crosses its range, seeds kept."""
    figures = []
    for other in ("sex", "age", "brain_volume"):
        low, high = (
            _measure(
                network,
                model.generate(Conditions.from_normalised(**{**MIDDLE, other: end}), list(SWEPT)),
            )[:, 0]
            for end in (0.0, 1.0)
        )
        moved = 200 * (high - low) / (low + high)
        moved = moved[np.isfinite(moved)]
        if not len(moved):
            raise DataError(f"The segmenter measures no head whose {other} moves.")
        name = f"Ventricles moved by {other} across its range, mean of {len(moved)} seeds (%)"
        figures += [
            Figure(name, mean(moved)),
            Figure("  furthest seed", moved[np.abs(moved).argmax()], -5, 5),
        ]
    return figures


def _variety(model: BrainLDM, clean: Sequence[NDArray[np.float32]]) -> Figure:
    """The difference between seeds at the same conditions, relative to that between subjects."""
    volumes = model.generate(Conditions.from_normalised(**MIDDLE), list(SWEPT))
    between_seeds = _differences([volume.array for volume in volumes])
    between_heads = _differences(clean[: len(SWEPT)])
    return Figure(
        "Difference between seeds, over that between simulated subjects",
        between_seeds / between_heads,
        0.5,
    )


def _differences(images: Sequence[NDArray[np.float32]]) -> float:
    """The mean over pairs of the root mean square difference."""
    return mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.combinations(images, 2)])


def side_by_side(volumes: Sequence[Volume], clean: Sequence[NDArray[np.float32]]) -> bytes:
    """A PNG: generated heads at the left, simulated ones at the right, one of each in a row."""
    pictures = [
        (kind, draw_slices(array, volume.affine, cut))
        for volume, truth in zip(volumes, clean, strict=True)
        for cut in CUTS
        for kind, array in (
            ("generated", volume.array),
            ("simulated, without noise", truth),
        )
    ]
    return encode(contact_sheet(pictures, columns=2))


def table(people: Sequence[Conditions], measured: NDArray[np.float64]) -> bytes:
    """A row a head; n/a where it could not be measured."""
    rows = [",".join(COLUMNS)]
    volumes = np.stack([_volumes(people), measured], -1).reshape(len(people), -1)
    for seed, (person, numbers) in enumerate(zip(people, volumes, strict=True), GENERATED.start):
        cells = ("n/a" if np.isnan(number) else f"{number:.2f}" for number in numbers)
        rows.append(",".join((str(seed), str(person.sex), f"{person.age:.2f}", *cells)))
    return ("\n".join(rows) + "\n").encode()
