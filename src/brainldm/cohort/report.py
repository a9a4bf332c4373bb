"""The page at the end: whom a cohort has, and if it was measured, whether it shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainldm.cohort.records import Record, Records
from brainldm.cohort.settings import Settings
from brainldm.config import Variable
from brainldm.image.page import bars, page, picture
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
    return page(
        "A cohort of synthetic heads",
        f"<p><b>{len(records)} volumes</b> of the model {escape(settings.model.name)}. They are "
        f"synthetic, and show no person. {redrawn} were drawn again with another seed; "
        f"{flagged} were flagged by the quality gate.</p>",
        "<h2>Conditions asked for</h2>",
        *(_asked(v, asked[v.name], counts[v.name]) for v in variables),
        *_measured(variables, asked, measured),
        *_notable(notable, named),
        "<h2>Some of them</h2>",
        picture(sheet, "png", "Contact sheet, evenly spread over the plan"),
        "<h2>How they were made</h2>",
        _facts(settings.to_json()),
    )


def _asked(variable: Variable, numbers: Array, counts: Mapping[str, int]) -> str:
    title = f"<p><b>{escape(variable.name)}</b>"
    if variable.labels:
        listed = ", ".join(f"{n} {escape(label)}" for label, n in counts.items() if n)
        return f"{title}: {listed}</p>"
    known = numbers[np.isfinite(numbers)]
    if not known.size:
        return f"{title}: none</p>"
    mean = f"mean {known.mean():.4g}, deviation {known.std():.3g}"
    return f"{title}, {escape(variable.unit)} {_histogram(known)} {mean}</p>"


def _histogram(values: Array) -> str:
    counts, edges = np.histogram(values, BINS)
    return bars(counts.tolist(), f"{edges[0]:.4g}", f"{edges[-1]:.4g}")


def _measured(
    variables: Sequence[Variable], asked: Mapping[str, Array], measured: Mapping[str, Array]
) -> Iterator[str]:
    units = {v.name: v.unit for v in variables}
    if measured:
        yield "<h2>Measured on the volumes</h2>"
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
        shown = _histogram(found[np.isfinite(found)]) if np.isfinite(found).any() else "none"
        yield f"<p><b>{escape(name)}</b>, {escape(units.get(name, ''))} {shown} {told}</p>"


def _notable(notable: Sequence[Record], of: int) -> Iterator[str]:
    if not notable:
        return
    yield "<h2>Quality gate</h2>"
    rows = "".join(
        f"<tr><td>sub-{record.label}<td class='n'>{record.redraws}<td>"
        f"{escape('; '.join(record.flags)) or 'passed'}</tr>"
        for record in notable
    )
    yield f"<table><tr><th>volume<th>redraws<th>faults</tr>{rows}</table>"
    if of > len(notable):
        yield f"<p class='note'>The first {len(notable)} of {of}; the manifest has all.</p>"


def _facts(settings: Mapping[str, Any]) -> str:
    rows = []
    for name, value in settings.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [
            f"<tr><td>{escape(f'{name} {part}'.replace('_', ' '))}<td>{escape(str(said))}</tr>"
            for part, said in parts
        ]
    return f"<table>{''.join(rows)}</table>"
