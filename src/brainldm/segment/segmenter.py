"""The project's own measures of ventricular and brain volume, for the heads of a report."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from brainldm.checkpoint import load_config
from brainldm.errors import BrainLDMError, require
from brainldm.files import make_folder, write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.template import load_template
from brainldm.segment.rule import VolumeRule
from brainldm.simulate.template_head import simulate

NAMES = ("ants", "simulated", "none")
NEEDED = {"ants": ("nilearn", "ants"), "simulated": ("nilearn",)}
"""Packages that may not be installed."""
RULE_HEADS = range(60)
"""Simulated heads that the rule is learned from; the demo model's training has them too."""


class Segmenter(Protocol):
    """Measures heads; travels to worker processes."""

    @property
    def identity(self) -> str:
        """Its name in the report."""

    def measure(self, volume: Volume) -> tuple[float, float]:
        """Ventricular volume and brain volume normalised for head size, in mL."""


@dataclass(frozen=True)
class Ants:
    """What `brainldm prepare` measures with (`brainldm.segment.ants`); minutes a head.

    Args:
        folder: the template's maps, as `Reference.save` writes them.
    """

    folder: Path
    identity: str = "ants"

    def measure(self, volume: Volume) -> tuple[float, float]:
        """Of a head that lies in MNI152 space."""
        from brainldm.register.reference import Reference
        from brainldm.segment.ants import measure

        found = measure(volume, np.eye(4), Reference.load(self.folder))
        return found.ventricular_volume_ml, found.brain_volume_ml


@dataclass(frozen=True)
class Simulated:
    """Thresholds for heads with the contrast of simulated ones (`VolumeRule`)."""

    rule: VolumeRule
    identity: str = "simulated"

    def measure(self, volume: Volume) -> tuple[float, float]:
        """Of a head on the rule's grid."""
        return self.rule.measure(volume.array)


def segmenter(
    name: str, grid: Grid, cache: Path, progress: Callable[[int, int], None]
) -> Segmenter | None:
    """One of `NAMES`; what it needs is made once, in the cache.

    Raises:
        BrainLDMError: as `check_segmentation`.
    """
    check_segmentation(name, grid)
    if name == "none":
        return None
    if name == "ants":
        folder = cache / "template"
        if not folder.is_dir():
            from brainldm.register.reference import Reference

            aside = cache / "template.partial"
            make_folder(aside)
            Reference.from_template(load_template()).save(aside)
            aside.rename(folder)
        return Ants(folder)
    return Simulated(_rule(_demo_grid(), cache / "rule.npz", progress))


def check_segmentation(name: str, grid: Grid) -> None:
    """Whether a segmentation can be had on a grid.

    Raises:
        BrainLDMError: an unknown name, or `simulated` on another grid than the demo model's; or
            what it needs is not installed.
    """
    if name not in NAMES:
        raise BrainLDMError(f"No segmentation is {name!r}: expected {', '.join(NAMES)}.")
    if name in NEEDED:
        require("evaluate", "Measuring volumes", *NEEDED[name])
    if name != "simulated":
        return
    known = _demo_grid()
    if not known.equals(grid):
        raise BrainLDMError(
            f"The segmentation of simulated heads expects the demo model's grid, "
            f"{known}; got {grid}. Choose ants."
        )


def _demo_grid() -> Grid:
    demo = load_config("demo")
    return Grid.of(demo.shape, demo.affine)


def _rule(grid: Grid, file: Path, progress: Callable[[int, int], None]) -> VolumeRule:
    template = load_template()
    if file.is_file():
        with np.load(file) as kept:
            (a, b), (c, d) = kept["lines"].tolist()
            return VolumeRule(grid, template.intracranial_ml, kept["ventricle"], ((a, b), (c, d)))
    heads = []
    for done, seed in enumerate(RULE_HEADS, 1):
        heads.append(simulate(seed, template, grid))
        progress(done, len(RULE_HEADS))
    rule = VolumeRule.learn(heads, grid, template.intracranial_ml)
    content = io.BytesIO()
    np.savez(content, ventricle=rule.ventricle, lines=np.array(rule.lines))
    write_together({file: content.getvalue()})
    return rule
