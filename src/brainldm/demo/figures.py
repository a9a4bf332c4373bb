"""The demo model's figures: how near its heads are to simulated ones, and to what was asked for.

Held-out simulated heads are reconstructed, heads are generated with DDIM at 50 steps, and both are
measured by the rule for simulated heads.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainldm.conditions import Conditions
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
from brainldm.register.template import Template
from brainldm.segment.rule import VolumeRule
from brainldm.simulate.template_head import SimulatedHead, simulate

RULE_HEADS = range(60)
"""Of the training cohort; the rule is learned from them."""
HELD_OUT = range(100_000, 100_030)
GENERATED = range(100)
SWEPT = range(1000, 1006)
MIDDLE = {"sex": 0.0, "age": 0.5, "ventricular_volume": 0.5, "brain_volume": 0.5}
SETTING: dict[str, Any] = {"sampler": "ddim", "steps": 50}
"""The paper's, so that the figures are the model's, whatever the default is."""
SHOWN = 4
"""Heads of each kind on the contact sheet, cut through CUTS (mm)."""
CUTS = ((2.0, -20.0, 30.0), (32.0, 6.0, 48.0))
FINE = (0.12, 0.2)
"""Cycles per mm: folds of the cortex, and what lies between them."""
WINDOW_MM = (6.0, 16.0)
"""Inside the skull, between which an image comes to count for its fineness."""
COLUMNS = (
    *("seed", "sex", "age", "ventricles_asked_ml", "ventricles_measured_ml"),
    *("brain_asked_ml", "brain_measured_ml"),
)


@dataclass(frozen=True)
class Figure:
    """A number, and where it should lie (None: it is there to read the others by)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the number lies where it should, or nothing if it need not."""
        if self.low is None and self.high is None:
            return ""
        above = self.low is None or self.value >= self.low
        below = self.high is None or self.value <= self.high
        return "reached" if above and below else "MISSED"

    def __str__(self) -> str:
        """One line of the table."""
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("at least", self.low), ("at most", self.high))
            if limit is not None
        ]
        return f"{self.name:<72}{self.value:>9.3f}  {', '.join(limits):<30}{self.verdict}".rstrip()


def evaluate(model: BrainLDM, out: Path, say: Callable[[str], None] = print) -> list[Figure]:
    """Measure a model of simulated heads, and write figures.json, heads.csv and contact-sheet.png.

    Args:
        model: on the demo model's grid.
        out: a folder.
        say: called with the line of each figure as it is known.

    Raises:
        StorageError: the folder cannot be written.
        DataError: a generated image has no brain in it.
    """
    make_folder(out)
    template = load_template()
    grid = Grid.of(model.config.shape, model.config.affine)
    heads = [simulate(seed, template, grid) for seed in HELD_OUT]
    rule = VolumeRule.learn(
        (simulate(seed, template, grid) for seed in RULE_HEADS), grid, template.intracranial_ml
    )

    figures: list[Figure] = []

    def tell(*new: Figure) -> None:
        for figure in new:
            say(str(figure))
        figures.extend(new)

    scans = [Volume(head.image.numpy(), model.affine, scaled=True) for head in heads]
    copies = [model.reconstruct(scan).array for scan in scans]
    decibels = [psnr(copy, h.clean.numpy()) for copy, h in zip(copies, heads, strict=True)]
    tell(
        Figure(
            f"PSNR of {len(heads)} held-out heads, reconstructed, mean (dB)", mean(decibels), 28
        ),
        Figure("  lowest (dB)", min(decibels)),
    )
    clean = [head.clean.numpy() for head in heads]
    window = _window(template, grid)
    tell(_fineness("Reconstructed", copies, clean, window, grid, (0.8, 1.2)))
    true = _volumes([head.conditions for head in heads])
    for kind, images in (
        ("without noise", clean),
        ("with noise", [head.image.numpy() for head in heads]),
        ("reconstructed", copies),
    ):
        tell(*_rule_errors(kind, true, np.array([rule.measure(image) for image in images])))

    people = [model.ranges.complete(Conditions(), seed)[0] for seed in GENERATED]
    volumes = model.generate(people, list(GENERATED), **SETTING)
    asked = _volumes(people)
    measured = np.array([rule.measure(volume.array) for volume in volumes])
    made = [volume.array for volume in volumes]
    tell(_fineness("Generated", made, clean, window, grid, (0.75, 1.25)))
    tell(*_fidelity(asked, measured))
    tell(*_leakage(model, rule))
    tell(_variety(model, heads))
    write_together(
        {
            out / "figures.json": _json(model, figures),
            out / "heads.csv": _table(people, measured),
            out / "contact-sheet.png": side_by_side(volumes[:SHOWN], heads[:SHOWN]),
        }
    )
    return figures


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


def _window(template: Template, grid: Grid) -> NDArray[np.float32]:
    """1 within the brain, falling off towards the skull."""
    reference = Reference.from_template(template)
    depth = Volume(-reference.skull, reference.grid.matrix).resample(grid).array
    near, far = WINDOW_MM
    return np.asarray(np.clip((depth - near) / (far - near), 0, 1), np.float32)


def _fineness(
    kind: str,
    images: Sequence[NDArray[np.float32]],
    clean: Sequence[NDArray[np.float32]],
    window: NDArray[np.float32],
    grid: Grid,
    limits: tuple[float, float],
) -> Figure:
    """The fine power of images over that of simulated heads without noise."""
    of_images, of_heads = (
        mean([band_power(image, window, grid.spacing, FINE) for image in each])
        for each in (images, clean)
    )
    name = f"{kind}: power at {FINE[0]:g} to {FINE[1]:g} cycles/mm, over the simulation's"
    return Figure(name, of_images / of_heads, *limits)


def _volumes(people: Sequence[Conditions]) -> NDArray[np.float64]:
    """Ventricular and brain volumes in mL, (N, 2)."""
    return np.array([(p.ventricular_volume_ml, p.brain_volume_ml) for p in people], np.float64)


def _rule_errors(
    kind: str, true: NDArray[np.float64], measured: NDArray[np.float64]
) -> list[Figure]:
    figures = []
    for i, what in enumerate(("ventricles", "brain")):
        agree = agreement(true[:, i], measured[:, i])
        figures += [
            Figure(f"Rule on held-out heads {kind}: {what}, r", agree.r),
            Figure("  slope", agree.slope),
            Figure("  root mean square error (mL)", agree.squared),
        ]
    return figures


def _fidelity(asked: NDArray[np.float64], measured: NDArray[np.float64]) -> list[Figure]:
    figures = []
    for i, (what, r_low, slope_low, slope_high) in enumerate(
        (("ventricles", 0.95, 0.85, 1.15), ("brain", 0.85, 0.7, 1.2))
    ):
        agree = agreement(asked[:, i], measured[:, i])
        figures += [
            Figure(f"{len(asked)} generated heads, measured on asked: {what}, r", agree.r, r_low),
            Figure("  slope", agree.slope, slope_low, slope_high),
            Figure("  root mean square difference (mL)", agree.squared),
        ]
    return figures


def _leakage(model: BrainLDM, rule: VolumeRule) -> list[Figure]:
    """How far the ventricles move while another condition crosses its range, seeds kept."""
    figures = []
    for other in ("sex", "age", "brain_volume"):
        ends = [
            np.array(
                [
                    rule.measure(volume.array)[0]
                    for volume in model.generate(
                        Conditions.from_normalised(**{**MIDDLE, other: end}),
                        list(SWEPT),
                        **SETTING,
                    )
                ]
            )
            for end in (0.0, 1.0)
        ]
        moved = 200 * (ends[1] - ends[0]) / (ends[0] + ends[1])
        name = f"Ventricles moved by {other} across its range, mean of {len(SWEPT)} seeds (%)"
        figures += [
            Figure(name, mean(moved), -10, 10),
            Figure("  furthest seed", moved[np.abs(moved).argmax()]),
        ]
    return figures


def _variety(model: BrainLDM, heads: Sequence[SimulatedHead]) -> Figure:
    """The difference between seeds at the same conditions, relative to that between subjects."""
    volumes = model.generate(Conditions.from_normalised(**MIDDLE), list(SWEPT), **SETTING)
    between_seeds = _differences([volume.array for volume in volumes])
    between_heads = _differences([head.clean.numpy() for head in heads[: len(SWEPT)]])
    return Figure(
        "Difference between seeds, over that between simulated subjects",
        between_seeds / between_heads,
        0.5,
    )


def _differences(images: Sequence[NDArray[np.float32]]) -> float:
    """The mean over pairs of the root mean square difference."""
    return mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.combinations(images, 2)])


def side_by_side(volumes: Sequence[Volume], heads: Sequence[SimulatedHead]) -> bytes:
    """A PNG: generated heads at the left, simulated ones at the right, one of each in a row."""
    pictures = [
        (kind, draw_slices(array, volume.affine, cut))
        for volume, head in zip(volumes, heads, strict=True)
        for cut in CUTS
        for kind, array in (
            ("generated", volume.array),
            ("simulated, without noise", head.clean.numpy()),
        )
    ]
    return encode(contact_sheet(pictures, columns=2))


def _json(model: BrainLDM, figures: Sequence[Figure]) -> bytes:
    content = {"model": model.hash, "figures": [asdict(figure) for figure in figures]}
    return to_json(content)


def _table(people: Sequence[Conditions], measured: NDArray[np.float64]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for seed, p, (ventricles, brain) in zip(GENERATED, people, measured, strict=True):
        numbers = (p.age, p.ventricular_volume_ml, ventricles, p.brain_volume_ml, brain)
        writer.writerow([seed, p.sex, *(f"{number:.2f}" for number in numbers)])
    return file.getvalue().encode()
