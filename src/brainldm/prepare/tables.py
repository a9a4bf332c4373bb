"""The tables of a prepared data set: who is in it, what is known of them, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainldm.dataset.tsv import write_table
from brainldm.prepare.outcome import Prepared

MEANINGS = {
    "sex": "Sex",
    "age": "Age at the scan",
    "ventricular_volume_ml": "Volume of the ventricular cerebrospinal fluid",
    "brain_volume_ml": "Brain volume (grey and white matter) normalised for head size: the volume "
    "times the template's intracranial volume over the person's",
}
"""Of the covariates, in the order of the table."""
UNITS = {"age": "year", "ventricular_volume_ml": "mL", "brain_volume_ml": "mL"}


def known_values(prepared: Sequence[Prepared]) -> dict[str, list[str | float]]:
    """Each covariate of those of whom it is known."""
    return {
        name: [each.covariates[name] for each in prepared if name in each.covariates]
        for name in MEANINGS
    }


def count_measured(prepared: Sequence[Prepared]) -> dict[str, int]:
    """Of how many each covariate was measured."""
    return {name: sum(name in each.measured for each in prepared) for name in MEANINGS}


def summarise_covariates(
    values: Mapping[str, Sequence[str | float]], measured: Mapping[str, int]
) -> dict[str, Any]:
    """How many are known of each, and their range."""
    summaries: dict[str, Any] = {}
    for name, known in values.items():
        counts = {"known": len(known), "measured": measured[name]}
        if name not in UNITS:
            levels = {label: known.count(label) for label in ("F", "M")}
            summaries[name] = {"kind": "category", **counts, "levels": levels}
            continue
        unit = "years" if name == "age" else UNITS[name]
        summaries[name] = {"kind": "continuous", "unit": unit, **counts}
        if known:
            numbers = np.array(known, dtype=np.float64)
            summaries[name] |= {
                "low": float(numbers.min()),
                "high": float(numbers.max()),
                "mean": float(numbers.mean()),
                "sd": float(numbers.std()),
            }
    return summaries


def describe_columns(
    values: Mapping[str, Sequence[str | float]],
    measured: Mapping[str, int],
    descriptions: Mapping[str, Any],
) -> dict[str, Any]:
    """participants.json: the covariates, and what is said of the other columns."""
    content: dict[str, Any] = {}
    for name, meaning in MEANINGS.items():
        entry: dict[str, Any] = {"Description": meaning}
        if name in UNITS:
            entry["Units"] = UNITS[name]
        else:
            entry["Levels"] = {"F": "female", "M": "male"}
        given = len(values[name]) - measured[name]
        content[name] = {**entry, "Given": given, "Measured": measured[name]}
    return {**content, **descriptions}


def participants_table(prepared: Sequence[Prepared], columns: Sequence[str]) -> bytes:
    """participants.tsv, with these columns of the given table after the covariates."""
    rows = (
        (
            f"sub-{each.subject.label}",
            *(each.covariates.get(name) for name in MEANINGS),
            *(each.subject.other.get(name) for name in columns),
        )
        for each in prepared
    )
    return write_table(("participant_id", *MEANINGS, *columns), rows)
