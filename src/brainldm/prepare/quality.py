"""The quality page: one HTML file with a picture of every scan, for a person to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from brainldm.image.page import bars, page, picture
from brainldm.image.slices import draw_slices
from brainldm.image.volume import Volume
from brainldm.prepare.outcome import Prepared
from brainldm.prepare.tables import UNITS

BINS = 64
"""Bins of a histogram of intensities in [0, 1]."""
CONTOUR = (255, 160, 0)


def figure(image: Volume, brain: NDArray[np.bool_]) -> bytes:
    """A JPEG of three slices with the contour of the template's brain.

    Args:
        image: in [0, 1].
        brain: where the template's brain is on the same grid.
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
    failures: Mapping[str, str],
    notes: Sequence[str],
) -> bytes:
    """The page, with its pictures in it.

    Args:
        prepared: those whose image is there.
        values: each covariate of those of whom it is known.
        figures: of each, by subject.
        failures: subject to reason.
        notes: what else a person should look at.
    """
    least = sorted(prepared, key=_similarity)
    body = [
        f"<p>{len(prepared)} prepared, {len(failures)} failed. The contour is the "
        "template's brain; L and R are the person's left and right, as the header says: the "
        "template is symmetric and cannot tell a scan that is mirrored. The scans least like "
        "the template come first.</p>",
        *(f'<p class="bad">{escape(note)}</p>' for note in notes),
    ]
    if failures:
        rows = "".join(
            f"<tr><th>{escape(subject)}<td>{escape(reason)}" for subject, reason in failures.items()
        )
        body.append(f'<h2>Failed</h2><table class="bad">{rows}</table>')
    body.append("<h2>Covariates</h2>")
    body += [_distribution(*covariate, len(prepared)) for covariate in values.items()]
    body.append("<h2>Scans</h2>")
    body += [_scan(each, figures[each.subject.label]) for each in least]
    return page("Quality of the prepared scans", *body)


def _similarity(prepared: Prepared) -> float:
    registration = prepared.provenance.registration
    return registration.similarity if registration else 0.0


def _scan(prepared: Prepared, figure: Path) -> str:
    content = figure.read_bytes() if figure.is_file() else b""
    said = ", ".join(
        f"{name.removesuffix('_ml').replace('_', ' ')} "
        + (value if isinstance(value, str) else f"{value:.4g} {UNITS[name]}")
        + (" (measured)" if name in prepared.measured else "")
        for name, value in prepared.covariates.items()
    )
    name = f"sub-{prepared.subject.label}"
    intensities = bars(np.sqrt(prepared.provenance.histogram).tolist(), "0", "1")
    below = (
        f"<b>{escape(name)}</b>, similarity {_similarity(prepared):.2f}<br>{escape(said)}<br>"
        f"intensities {intensities} (roots of counts)"
    )
    return picture(content, "jpeg", name, below)


def _distribution(name: str, values: Sequence[str | float], of: int) -> str:
    label = f"<p><b>{name}</b>: {len(values)} of {of} known"
    if not values:
        return f"{label}</p>"
    if name not in UNITS:
        levels = ", ".join(f"{values.count(level)} {level}" for level in ("F", "M"))
        return f"{label}, {levels}</p>"
    numbers = np.array(values, dtype=np.float64)
    counts, edges = np.histogram(numbers, 24)
    low, high = (f"{edge:.4g}" for edge in (edges[0], edges[-1]))
    return f"{label}, in {UNITS[name]} {bars(counts.tolist(), low, high)}</p>"
