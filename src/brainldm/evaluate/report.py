"""The report: one HTML page with everything in it, and one JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from brainldm.evaluate import plots
from brainldm.evaluate.figure import Figure, digits, unit_of
from brainldm.evaluate.result import Result, Sheet
from brainldm.evaluate.sets import Head
from brainldm.files import write_together
from brainldm.image.grid import Grid
from brainldm.image.page import page, picture
from brainldm.image.slices import draw_slices, encode

KNOWS = {
    "random": "The extractor is a small network with random weights, which needs no download. It "
    "tells images of other sharpness, noise or contrast apart; it knows no anatomy, and its "
    "figures compare with no published one.",
    "medicalnet": "The extractor is MedicalNet's ResNet-50 (Chen et al. 2019), as in the paper. "
    "It was trained on segmenting organs and tissue, at a coarser grid than 1 mm.",
    "resnet-2.5d": "The extractor is a 2-D ResNet-50 over slices in three planes; it sees texture "
    "and the outline of slices, nothing that spans them.",
}
SHEET_WIDTH = 380
"""Pixels of one scan's three slices."""
THROUGH = (2.0, -20.0, 20.0)
"""Where they cross, mm."""


def write_report(result: Result, out: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.json` into a folder, together.

    Returns:
        Their paths.

    Raises:
        StorageError: the folder cannot be written.
        DataError: a scan that is shown cannot be read any more.
    """
    html, machine = out / "report.html", out / "report.json"
    text = json.dumps(result.to_json(), indent=1, allow_nan=False)
    write_together({html: _report(result), machine: f"{text}\n".encode()})
    return html, machine


def _report(result: Result) -> bytes:
    sets = ", ".join(f"{of['scans']} {what}" for what, of in result.sets.items())
    extractor = result.protocol["extractor"]
    known = next(text for name, text in KNOWS.items() if extractor.startswith(name))
    return page(
        "Evaluation of generated heads",
        *(f'<p class="bad">{escape(warning)}</p>' for warning in result.warnings),
        f"<p>{sets} scans; {escape(result.protocol['grid'])}. In brackets: the middle 95 % of a "
        "bootstrap over scans or pairs, if no other is named. Under <i>real</i>: the same figure "
        f"for real scans, what a perfect generator would reach. {known}</p>",
        _table(result.figures),
        "<h2>Plots</h2>",
        *_plots(result),
        *(_sheet(sheet, result.grid) for sheet in result.sheets),
        "<h2>Protocol</h2>",
        _facts(result.protocol),
        "<h2>Scans</h2>",
        _facts({what: f"{of['scans']}, {of['sha256']}" for what, of in result.sets.items()}),
        '<p class="small">How many, and the SHA-256 of the sorted SHA-256 of the files.</p>',
        "<h2>Versions</h2>",
        _facts(result.versions),
    )


def _table(figures: Sequence[Figure]) -> str:
    rows = []
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            rows.append(
                f"<tr><th><h2>{section.capitalize()}</h2><th>value<th>interval<th>real<th></tr>"
            )
        unit = f" {figure.unit}" if figure.unit else ""
        value = "&ndash;" if figure.value is None else f"{digits(figure.value)}{unit}"
        between = "" if figure.interval is None else " to ".join(map(digits, figure.interval))
        real = "" if figure.real is None else f"{digits(figure.real)}{unit}"
        rows.append(
            f'<tr><td>{escape(figure.name)}<td class="n"><b>{value}</b><td class="n">{between}'
            f'<td class="n">{real}<td class="note">{escape(figure.note)}</tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def _plots(result: Result) -> Iterator[str]:
    diverse = [
        (figure.name.split(",")[0], figure.value, figure.interval, figure.real)
        for figure in result.figures
        if figure.section == "diversity" and "scale" not in figure.name
    ]
    complete = [each for each in diverse if None not in each]
    yield _plot(plots.intervals("similarity and coverage", complete), "Diversity")  # type: ignore[arg-type]
    for name, pairs in result.scatters.items():
        if pairs:
            yield _plot(plots.scatter(name, pairs), f"{name}: asked for against measured")
    for name in result.volumes.get("real", {}):
        values = {what: result.volumes[what][name] for what in ("generated", "real")}
        words = name.removesuffix("_ml").replace("_", " ")
        yield _plot(plots.histograms(f"{words} ({unit_of(name)})", values), f"{words}, measured")
    if result.distances:
        values = {what: result.distances[what] for what in ("generated", "held-out")}
        (line,) = result.distances["threshold"]
        label = "distance to the nearest training scan"
        yield _plot(plots.histograms(label, values, line), "Copies lie left of the line")


def _plot(svg: str, caption: str) -> str:
    return picture(svg.encode(), "svg+xml", caption)


def _sheet(sheet: Sheet, grid: Grid) -> str:
    shown = "".join(_scan(path, below, grid) for path, below in sheet.scans)
    return f"<h2>{escape(sheet.title)}</h2>{shown}"


def _scan(path: Path, below: str, grid: Grid) -> str:
    volume = Head(path, {}).read(grid)
    drawn = draw_slices(volume.array, volume.affine, THROUGH, SHEET_WIDTH)
    return picture(encode(drawn, "jpeg"), "jpeg", below)


def _facts(facts: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}<td>{escape(str(value))}</tr>"
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>"
