"""The page at the end: whom a cohort has, and if it was measured, whether it shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainldm.cohort.records import Record, Records
from brainldm.cohort.settings import Settings
from brainldm.config import Variable
from brainldm.image.page import histogram, render
from brainldm.metrics.agreement import agreement

BINS = 24
MOST = 100
"""Volumes that the page names, of those that were flagged or drawn again."""
Array = NDArray[np.float64]


def cohort_page(
    variables: Sequence[Variable], settings: Settings, records: Records, sheet: bytes
) -> bytes:
    """The page.

    Args:
        variables: the model's conditions.
        settings: what the cohort was begun with.
        records: of every volume.
        sheet: the contact sheet (PNG).
    """
    measures = settings.gate.measures
    asked: dict[str, Array] = {v.name: np.full(len(records), np.nan) for v in variables}
    counts = {v.name: dict.fromkeys(v.labels or (), 0) for v in variables}
    measured: dict[str, Array] = {name: np.full(len(records), np.nan) for name in measures}
    notable: list[Record] = []
    redrawn = flagged = named = 0
    for i, record in enumerate(records):
        for name, value in record.values.items():
            if isinstance(value, str):
                counts[name][value] += 1
            else:
                asked[name][i] = value
        for name, number in record.measured.items():
            measured[name][i] = number
        redrawn += bool(record.redraws)
        flagged += bool(record.flags)
        named += bool(record.redraws or record.flags)
        if (record.redraws or record.flags) and len(notable) < MOST:
            notable.append(record)
    return render(
        "cohort/report.html",
        count=len(records),
        model=settings.model.name,
        redrawn=redrawn,
        flagged=flagged,
        asked=[_asked(v, asked[v.name], counts[v.name]) for v in variables],
        measured=_measured(variables, asked, measured),
        notable=notable,
        named=named,
        sheet=sheet,
        settings=_flat(settings.to_json()),
    )


def _asked(variable: Variable, numbers: Array, counts: Mapping[str, int]) -> dict[str, Any]:
    if variable.labels:
        listed = ", ".join(f"{n} {label}" for label, n in counts.items() if n)
        return {"name": variable.name, "levels": listed}
    known = numbers[np.isfinite(numbers)]
    told = "not asked for"
    if known.size:
        told = f"mean {known.mean():.4g} {variable.unit}, deviation {known.std():.3g}"
    shown = histogram(known.tolist(), BINS)
    return {"name": variable.name, "unit": variable.unit, "told": told, **shown}


def _measured(
    variables: Sequence[Variable], asked: Mapping[str, Array], measured: Mapping[str, Array]
) -> list[dict[str, Any]]:
    units = {v.name: v.unit for v in variables}
    rows = []
    for name, found in measured.items():
        wanted = asked.get(name, np.full_like(found, np.nan))
        both = np.isfinite(found) & np.isfinite(wanted)
        told = ""
        if both.sum() > 2 and np.ptp(found[both]) and np.ptp(wanted[both]):
            agree = agreement(wanted[both], found[both])
            told = (
                f"against what was asked for: r {agree.r:.3f}, mean difference {agree.bias:+.3g}, "
                f"mean absolute difference {agree.absolute:.3g}"
            )
        shown = histogram(found[np.isfinite(found)].tolist(), BINS)
        rows.append({"name": name, "unit": units.get(name, ""), "told": told, **shown})
    return rows


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of settings by both names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        flat |= {f"{name} {part}".strip(): said for part, said in parts}
    return flat
