"""Simulated heads with known truth: everything about one follows from its anatomy and its seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainldm.conditions import Conditions
from brainldm.image.grid import Grid
from brainldm.simulate.anatomy import Anatomy
from brainldm.simulate.contrast import CONTRASTS, Contrast, draw_palette
from brainldm.simulate.priors import Priors
from brainldm.simulate.render import Blemishes, render, render_labels, render_means
from brainldm.simulate.subject import (
    TEMPLATE_INTRACRANIAL_ML,
    Ranges,
    Subject,
    draw_subject,
)
from brainldm.simulate.tissues import NUMBERS, of_kind


@dataclass(frozen=True)
class SimulatedHead:
    """One head.

    Args:
        clean: the image without noise, (X, Y, Z), float32 in [0, 1].
        image: the same with the noise of a magnitude image.
        labels: the numbers of `TISSUES`, int16, (X, Y, Z).
        conditions: measured on the labels.
        subject: what was drawn.
    """

    clean: Tensor
    image: Tensor
    labels: NDArray[np.int16]
    conditions: Conditions
    subject: Subject


def simulate(
    anatomy: Anatomy,
    seed: int,
    grid: Grid,
    contrast: Contrast = "t1w",
    *,
    priors: Priors | None = None,
    ranges: Ranges | None = None,
    targets: tuple[float, float] | None = None,
) -> SimulatedHead:
    """Draw a subject and an image of its head; another contrast is of the same head.

    Sex changes the size of the head a little, age the contrast between grey and white matter. The
    volumes depend on neither.

    Raises:
        UsageError: as `draw_subject`, or a grid that is oblique.
    """
    subject = draw_subject(anatomy, seed, ranges, targets=targets)
    return picture(subject, grid, contrast, priors)


def picture(
    subject: Subject, grid: Grid, contrast: Contrast, priors: Priors | None = None
) -> SimulatedHead:
    """An image of a subject; what is random about it follows from the subject's seed."""
    rng = np.random.default_rng((subject.seed, 2, CONTRASTS.index(contrast)))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    palette = draw_palette(contrast, subject.age, priors, rng)
    blemishes = _any_blemishes(rng) if contrast == "random" else Blemishes()
    places = render_labels(subject, grid)
    means = render_means(subject, grid, palette.means)
    clean, image = render(means, places, grid, palette, blemishes, generator)
    return SimulatedHead(clean, image, NUMBERS[places], _measured(subject, places, grid), subject)


def _any_blemishes(rng: np.random.Generator) -> Blemishes:
    """Of an image for training a segmenter (Billot et al. 2023)."""
    bias, noise, blur = rng.uniform((0, 0, 0), (0.3, 0.06, 1.5)).tolist()
    return Blemishes(bias, noise, blur, gamma=float(np.exp(rng.normal(0, 0.3))))


def _measured(subject: Subject, places: NDArray[np.uint8], grid: Grid) -> Conditions:
    """The volumes of the published model's meaning, counted on the labels.

    Ventricles are the fluid of the lateral ventricles with their temporal horns, without the
    choroid plexus, the third and the fourth ventricle (UK Biobank field 25004). The brain is grey
    and white matter with cerebellum and brain-stem, scaled by the template's intracranial volume
    over the head's own (field 25009).
    """
    counts = np.bincount(places.ravel(), minlength=len(NUMBERS))
    ventricles, brain, within = (
        int(counts[of_kind(*kinds)].sum())
        for kinds in (("ventricle",), ("brain",), ("ventricle", "brain", "fluid"))
    )
    return Conditions(
        sex=subject.sex,
        age=subject.age,
        ventricular_volume_ml=ventricles * grid.voxel_ml,
        brain_volume_ml=brain / within * TEMPLATE_INTRACRANIAL_ML,
    )
