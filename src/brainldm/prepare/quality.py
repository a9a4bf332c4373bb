"""The quality page: one HTML file with a picture of every scan, for a person to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from brainldm.prepare.dataset import COVARIATES, UNITS, Participant, Paths
from brainldm.preview import draw_slices
from brainldm.volume import Volume

BINS = 64
"""Bins of a histogram of intensities in [0, 1]."""
CONTOUR = (255, 160, 0)
STYLE = (
    "body{font:15px sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222}"
    "figure{display:inline-block;margin:0 1em 1.5em 0}img{display:block;background:#000}"
    "figcaption{font-size:13px;margin-top:.3em}td,th{text-align:left;padding:.2em 1em .2em 0;"
    "vertical-align:top}.bad{color:#a00}svg{vertical-align:top}"
)


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
    picture = Image.fromarray(np.uint8(plain * (1 - weight) + np.array(CONTOUR) * weight))
    picture = picture.resize((picture.width // 2, picture.height // 2))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=80)
    return file.getvalue()


def quality_page(
    out: Path,
    participants: Sequence[Participant],
    sidecars: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    notes: Sequence[str],
) -> bytes:
    """The page, with its pictures in it.

    Args:
        out: the data set.
        participants: those whose image is there.
        sidecars: what the sidecar of each says.
        failures: subject to reason.
        notes: what else a person should look at.
    """
    least = sorted(participants, key=lambda p: sidecars[p.subject]["registration"]["similarity"])
    body = [
        "<h1>Quality of the prepared scans</h1>",
        f"<p>{len(participants)} prepared, {len(failures)} failed. The contour is the "
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
    body += [_distribution(name, participants) for name in COVARIATES]
    body.append("<h2>Scans</h2>")
    body += [_scan(out, each, sidecars[each.subject]) for each in least]
    head = f'<meta charset="utf-8"><title>Quality</title><style>{STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(body)}</body></html>".encode()


def _scan(out: Path, participant: Participant, sidecar: Mapping[str, Any]) -> str:
    picture = Paths.of(out, participant.subject).figure
    encoded = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else ""
    said = ", ".join(
        f"{name.removesuffix('_ml').replace('_', ' ')} "
        + (value if isinstance(value, str) else f"{value:.4g} {UNITS[name]}")
        + (" (measured)" if name in participant.measured else "")
        for name, value in participant.covariates.items()
    )
    alike = sidecar["registration"]["similarity"]
    name = escape(f"sub-{participant.subject}")
    return (
        f'<figure><img alt="{name}" src="data:image/jpeg;base64,{encoded}">'
        f"<figcaption><b>{name}</b>, similarity {alike:.2f}<br>{escape(said)}<br>"
        f"intensities {_bars(sidecar['histogram'], '0', '1')}</figcaption></figure>"
    )


def _distribution(name: str, participants: Sequence[Participant]) -> str:
    values = [each.covariates[name] for each in participants if name in each.covariates]
    label = f"<p><b>{name}</b>: {len(values)} of {len(participants)} known"
    if not values:
        return f"{label}</p>"
    if name not in UNITS:
        levels = ", ".join(f"{values.count(level)} {level}" for level in ("F", "M"))
        return f"{label}, {levels}</p>"
    numbers = np.array(values, dtype=np.float64)
    counts, edges = np.histogram(numbers, 24)
    low, high = (f"{edge:.4g}" for edge in (edges[0], edges[-1]))
    return f"{label}, in {UNITS[name]} {_bars(counts.tolist(), low, high)}</p>"


def _bars(counts: Sequence[int], low: str, high: str) -> str:
    """A histogram between two labels; bars are as high as the square root of a count."""
    roots = np.sqrt(np.asarray(counts, dtype=np.float64))
    heights = 40 * roots / max(roots.max(), 1)
    width = 192 / len(counts)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{40 - h:.1f}" width="{width:.1f}" height="{h:.1f}"/>'
        for i, h in enumerate(heights)
        if h
    )
    return f'{low} <svg width="192" height="40" fill="#468">{bars}</svg> {high}'
