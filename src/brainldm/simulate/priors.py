"""Priors of T1-weighted intensities that lie beside label maps, as SynthSeg's do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainldm.errors import DataError

LABELS, CLASSES = "generation_labels.npy", "generation_classes_contrast_specific.npy"
MEANS = "prior_means_t1.npy"


@dataclass(frozen=True)
class Priors:
    """The usual mean intensity of a tissue and the deviation of that between scans, by its number.

    Args:
        rows: (mean, deviation), in any unit.
    """

    rows: Mapping[int, tuple[float, float]]


def read_priors(folder: Path) -> Priors | None:
    """Those of a folder of label maps; None where it has none.

    Raises:
        DataError: one of the three files is missing or not as expected.
    """
    if not (folder / MEANS).is_file():
        return None
    try:
        labels, classes, means = (
            np.load(folder / name, allow_pickle=False) for name in (LABELS, CLASSES, MEANS)
        )
        if means.ndim != 2 or len(means) != 2 or len(labels) != len(classes):
            raise ValueError(f"shapes {labels.shape}, {classes.shape} and {means.shape}")
        rows = {
            int(label): (float(means[0, each]), float(means[1, each]))
            for label, each in zip(labels, classes, strict=True)
        }
        if rows[2][0] <= 0:
            raise ValueError("white matter (2) has no intensity")
    except (OSError, ValueError, IndexError, KeyError, EOFError) as error:
        raise DataError(
            f"Cannot read the priors of intensities in {folder}: {error}. Expected {MEANS}, of "
            f"shape (2, classes), with {LABELS} and {CLASSES}, which give each label its class. "
            "Fetch them again, or remove all three."
        ) from error
    return Priors(rows)
