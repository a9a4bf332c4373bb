"""The quality page: one HTML file with a picture of every scan, for a person to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray as Array
from PIL import Image
from scipy import ndimage

from brainldm.image.page import histogram, render, words
from brainldm.image.slices import draw_slices
from brainldm.image.volume import Volume
from brainldm.prepare.outcome import Prepared
from brainldm.prepare.tables import UNITS

BINS = 64
"""Bins of a histogram of intensities in [0, 1]."""
CONTOUR = (255, 160, 0)


def figure(image: Volume, brain: Bool[Array, "x y z"]) -> bytes:
    """A JPEG of three slices with the outline of the template's brain.

    Args:
        image: in [0, 1].
        brain: where the template's brain is on the same grid, without holes.
    """
    edge = brain & ~ndimage.binary_erosion(brain)
    # Drawn with a white and with a black contour, pictures differ by just that contour.
    white, black = (
        np.asarray(draw_slices(np.where(edge, value, image.array), image.affine), np.float32)
        for value in (np.float32(1), np.float32(0))
    )
    weight = 0.7 * (white - black)[..., None] / 255
    plain = np.asarray(draw_slices(image.array, image.affine), np.float32)[..., None]
    drawn = Image.fromarray(np.uint8(plain * (1 - weight) + np.array(CONTOUR) * weight))
    drawn = drawn.resize((drawn.width // 2, drawn.height // 2))
    file = io.BytesIO()
    drawn.save(file, format="JPEG", quality=80)
    return file.getvalue()


def quality_page(
    prepared: Sequence[Prepared],
    values: Mapping[str, Sequence[str | float]],
    figures: Mapping[str, Path],
    images: Mapping[str, Path],
    failures: Mapping[str, str],
    notes: Sequence[str],
) -> bytes:
    """The page, with its pictures in it.

    Args:
        prepared: those whose image is there.
        values: each covariate of those of whom it is known.
        figures: of each, by subject.
        images: where the image of each lies beside the page, by subject.
        failures: subject to reason.
        notes: what else a person should look at.
    """
    return render(
        "prepare/quality.html",
        scans=[
            _scan(each, figures[each.subject.label], images[each.subject.label])
            for each in sorted(prepared, key=lambda each: each.similarity)
        ],
        covariates=[_covariate(name, known) for name, known in values.items()],
        failures=failures,
        notes=notes,
    )


def _scan(prepared: Prepared, figure: Path, image: Path) -> dict[str, Any]:
    said = (
        f"{words(name)} "
        + (value if isinstance(value, str) else f"{value:.4g} {UNITS[name]}")
        + (" (measured)" if name in prepared.measured else "")
        for name, value in prepared.covariates.items()
    )
    return {
        "name": f"sub-{prepared.subject.label}",
        "figure": figure.read_bytes() if figure.is_file() else b"",
        "file": image.as_posix(),
        "similarity": prepared.similarity,
        "covariates": ", ".join(said),
        "roots": np.sqrt(prepared.provenance.histogram).tolist(),
    }


def _covariate(name: str, values: Sequence[str | float]) -> dict[str, Any]:
    if name not in UNITS:
        levels = ", ".join(f"{values.count(each)} {each}" for each in ("F", "M"))
        return {"name": name, "known": len(values), "levels": levels}
    numbers = [float(value) for value in values]
    return {"name": name, "known": len(values), "unit": UNITS[name], **histogram(numbers, 24)}
