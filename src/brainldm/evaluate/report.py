"""The report: one HTML page with everything in it, and one JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from brainldm.evaluate import plots
from brainldm.evaluate.figure import Figure, digits, unit_of
from brainldm.evaluate.result import Result, Sheet
from brainldm.evaluate.sets import Head
from brainldm.files import write_together
from brainldm.image.page import render, words
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
    return render(
        "evaluate/report.html",
        warnings=result.warnings,
        sets=sets,
        known=f"{known} {_measured(result.protocol['volumes'])}",
        sections=_sections(result.figures),
        plots=[(caption, svg.encode()) for caption, svg in _plots(result)],
        sheets=[(sheet.title, list(_pictures(sheet, result))) for sheet in result.sheets],
        protocol=result.protocol,
        scans={what: f"{of['scans']}, {of['sha256']}" for what, of in result.sets.items()},
        versions=result.versions,
    )


def _measured(how: str) -> str:
    """What measured the volumes, for those who wonder whether a model judges itself."""
    if how == "none":
        return "No volumes were measured."
    return (
        f"Volumes were measured by: {how}; none of it took part in making heads. How far it is off "
        "itself, where that is known, stands in the notes."
    )


def _sections(figures: Sequence[Figure]) -> list[tuple[str, list[dict[str, str]]]]:
    """The figures of each section, as text."""
    return [
        (section, [_row(figure) for figure in some])
        for section, some in groupby(figures, lambda figure: figure.section)
    ]


def _row(figure: Figure) -> dict[str, str]:
    unit = f" {figure.unit}" if figure.unit else ""
    return {
        "name": figure.words,
        "value": "" if figure.value is None else f"{digits(figure.value)}{unit}",
        "interval": "" if figure.interval is None else " to ".join(map(digits, figure.interval)),
        "real": "" if figure.real is None else f"{digits(figure.real)}{unit}",
        "note": figure.note,
    }


def _plots(result: Result) -> Iterator[tuple[str, str]]:
    """Captions and SVG."""
    diverse = [
        (figure.name.split(",")[0], figure.value, figure.interval, figure.real)
        for figure in result.figures
        if figure.section == "diversity" and "scale" not in figure.name
    ]
    complete = [each for each in diverse if None not in each]
    yield "Diversity", plots.intervals("similarity and coverage", complete)  # type: ignore[arg-type]
    for name, pairs in result.scatters.items():
        if pairs:
            yield f"{words(name)}: asked for against measured", plots.scatter(name, pairs)
    for name in result.volumes.get("real", {}):
        values = {what: result.volumes[what][name] for what in ("generated", "real")}
        if not all(values.values()):
            continue
        said = words(name)
        yield f"{said}, measured", plots.histograms(f"{said} ({unit_of(name)})", values)
    if result.distances:
        values = {what: result.distances[what] for what in ("generated", "held-out")}
        (line,) = result.distances["threshold"]
        label = "distance to the nearest training scan"
        yield "Copies lie left of the line", plots.histograms(label, values, line)


def _pictures(sheet: Sheet, result: Result) -> Iterator[tuple[str, bytes]]:
    """Lines, and the pictures (JPEG) that they stand below."""
    for path, below in sheet.scans:
        volume = Head(path, {}, bool(result.protocol["scaled"])).read(result.grid)
        drawn = draw_slices(volume.array, volume.affine, THROUGH, SHEET_WIDTH)
        yield below, encode(drawn, "jpeg")
