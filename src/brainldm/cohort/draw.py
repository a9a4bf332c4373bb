"""Drawing a plan: who the people of a cohort are.

Candidates are drawn from distributions, tied by a Gaussian copula where correlations are asked for,
or as whole rows of a table of people. Those within the limits fill the groups, in the order they
come, until each has its number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from brainldm._version import __version__
from brainldm.cohort.design import (
    Array,
    Design,
    Within,
    copula_of,
    groups_of,
    limits_of,
    variables_of,
)
from brainldm.cohort.plan import NOISES
from brainldm.cohort.row import ID, SEED
from brainldm.conditions import ConditionRanges, quantile
from brainldm.config import ModelConfig, Variable
from brainldm.dataset.columns import find_conditions
from brainldm.dataset.quantities import conditions_of
from brainldm.dataset.table import open_table
from brainldm.dataset.tsv import write_table
from brainldm.errors import DataError, UsageError
from brainldm.files import to_json, write_together

PATIENCE = 1000
"""Candidates for each row that is wanted, before it is given up."""


def draw_plan(design: Design, config: ModelConfig, out: Path) -> dict[str, int]:
    """Draw a plan and write it, with a JSON file beside it that says units, ranges and the design.

    Returns:
        The number of rows of each group, by its name.

    Raises:
        UsageError: a design that cannot be met, or that names what the model does not have.
        DataError: a table to draw from that is damaged or lacks what is needed.
        StorageError: the plan cannot be written.
    """
    if out.suffix != ".tsv":
        raise UsageError(f"Cannot write a plan as {out.name!r}: expected a name ending in .tsv.")
    if not 1 <= design.number < NOISES:
        raise UsageError(f"The number of volumes is {design.number}: expected 1 or more.")
    if design.seed < 0:
        raise UsageError(f"The seed is {design.seed}: expected a whole number from 0.")
    variables = variables_of(design, config)
    groups = groups_of(design, variables)
    limits = limits_of(design, variables)
    rng = np.random.default_rng(design.seed)
    if design.like:
        if design.distributions or design.correlations:
            raise UsageError(
                "A table to draw rows from has its own distributions and correlations: give the "
                "table, or these."
            )
        candidates = _rows_of(
            _people(design.like, variables, design.extrapolate), design.like, variables, limits, rng
        )
    elif design.extrapolate:
        raise UsageError(
            "Distributions stay within the model's ranges: extrapolation is for a table to draw "
            "from (--like)."
        )
    else:
        candidates = _independent(variables, copula_of(design, variables), rng)
    people, counts = _fill(candidates, variables, limits, groups, design.number)
    people = people[rng.permutation(len(people))]
    seeds = rng.choice(NOISES, len(people), replace=False)
    width = max(4, len(str(len(people))))
    rows = (
        (f"sub-{i:0{width}d}", str(seed), *map(_cell, variables, person))
        for i, (person, seed) in enumerate(zip(people, seeds, strict=True), 1)
    )
    write_together(
        {
            out: write_table((ID, SEED, *(v.name for v in variables)), rows),
            out.with_suffix(".json"): _description(design, config, variables),
        }
    )
    return counts


def _independent(
    variables: Sequence[Variable], root: Array, rng: np.random.Generator
) -> Iterator[Array]:
    """Blocks of candidates (N, V), labels by their number."""
    while True:
        uniform = ndtr(rng.standard_normal((4096, len(variables))) @ root.T)
        columns = []
        for variable, share in zip(variables, uniform.T, strict=True):
            if variable.distribution.kind == "bernoulli":
                share = 1 - share  # so that the first label is the low one, as in a correlation
            drawn = (quantile(variable, min(u, 1 - 1e-12)) for u in share.tolist())
            columns.append([_number(variable, value) for value in drawn])
        yield np.array(columns, np.float64).T


def _rows_of(
    people: Array,
    table: Path,
    variables: Sequence[Variable],
    limits: Mapping[str, Within],
    rng: np.random.Generator,
) -> Iterator[Array]:
    """Blocks of rows of a table, drawn with replacement."""
    inside = people[_inside(people, variables, limits)]
    if not len(inside):
        raise DataError(f"{table} has nobody within the limits: expected at least one row.")
    while True:
        yield inside[rng.integers(0, len(inside), 4096)]


def _people(file: Path, variables: Sequence[Variable], extrapolate: bool) -> Array:
    """The rows of a table that have every condition, within the model's ranges if not told else."""
    ranges = ConditionRanges(variables)
    table = open_table(file)
    columns, others = find_conditions(table, ranges)
    known = {column.name for column in columns}
    missing = [v.name for v in variables if v.name not in known]
    if missing:
        hints = [f"{name!r} {why}" for name, why in others.items() if "no condition" not in why]
        raise DataError(
            f"{file} has no column {', '.join(missing)}: expected every condition of the model. "
            + " ".join(hints)
        )
    rows, problems, incomplete = [], [], 0
    for row in table.rows():
        if row.misfit:
            problems.append(f"  line {row.number}: {row.misfit}.")
            continue
        person, wrong = conditions_of(row.cells, columns)
        given = person.given
        wrong = wrong or ranges.problems(person, extrapolate)
        if not wrong and len(given) == len(variables):
            rows.append([_number(v, given[v.name]) for v in variables])
        elif not wrong:
            incomplete += 1
        problems += [f"  line {row.number}: {problem}" for problem in wrong]
    if problems:
        raise DataError(f"{file} cannot be drawn from as it is:\n" + "\n".join(problems))
    if incomplete:
        warnings.warn(f"{incomplete} rows of {file} lack a condition: not drawn.", stacklevel=2)
    people: Array = np.array(rows, np.float64).reshape(len(rows), len(variables))
    return people


def _fill(
    candidates: Iterator[Array],
    variables: Sequence[Variable],
    limits: Mapping[str, Within],
    groups: Mapping[str, Mapping[str, Within]],
    number: int,
) -> tuple[Array, dict[str, int]]:
    """The people, (N, V), and how many are in each group."""
    share, rest = divmod(number, len(groups))
    wanted = {name: share + (i < rest) for i, name in enumerate(groups)}
    chosen: dict[str, list[Array]] = {name: [] for name in groups}
    counts = dict.fromkeys(groups, 0)
    looked = 0
    for block in candidates:
        inside = block[_inside(block, variables, limits)]
        for name, within in groups.items():
            missing = wanted[name] - counts[name]
            some = inside[_inside(inside, variables, within)][: max(missing, 0)]
            chosen[name].append(some)
            counts[name] += len(some)
        if counts == wanted:
            break
        looked += len(block)
        if looked > PATIENCE * (number + 1000):
            short = next(name for name in groups if counts[name] < wanted[name])
            raise UsageError(
                f"Of {looked} people drawn, {counts[short]} are "
                f"{short or 'within the limits'}, and {wanted[short]} are wanted. Widen the "
                "limits or the group, or choose distributions that reach it."
            )
    return np.concatenate([some for parts in chosen.values() for some in parts]), counts


def _inside(
    people: Array, variables: Sequence[Variable], limits: Mapping[str, Within]
) -> NDArray[np.bool_]:
    """Which people are within limits; an interval has its low end, and the model's high one."""
    inside = np.ones(len(people), bool)
    for variable, values in zip(variables, people.T, strict=True):
        within = limits.get(variable.name)
        if isinstance(within, tuple):
            low, high = within
            inside &= (values >= low) & ((values < high) | (high == variable.high))
        elif within is not None:
            inside &= np.isin(values, [_number(variable, label) for label in within])
    return inside


def _number(variable: Variable, value: str | float) -> float:
    return float(variable.labels.index(str(value))) if variable.labels else float(value)


def _cell(variable: Variable, number: float) -> str:
    if variable.labels:
        return variable.labels[int(number)]
    text = f"{number:.6g}"
    # Six digits can lie beyond an end of the range by a little.
    return text if variable.low <= float(text) <= variable.high else repr(float(number))


def _description(design: Design, config: ModelConfig, variables: Sequence[Variable]) -> bytes:
    asked = {
        "number": design.number,
        "seed": design.seed,
        "like": str(design.like) if design.like else None,
        "distributions": dict(design.distributions),
        "correlations": {f"{a}:{b}": r for (a, b), r in design.correlations.items()},
        "limits": dict(design.limits),
        "balance": dict(design.balance),
        **({"extrapolate": True} if design.extrapolate else {}),
    }
    content: dict[str, Any] = {
        SEED: {"Description": "Seed of the volume's noise"},
        **{v.name: describe(v) for v in variables},
        "brainldm": {"version": __version__, "model": config.name, "plan": asked},
    }
    return to_json(content)


def describe(variable: Variable) -> dict[str, Any]:
    """A condition as BIDS describes a column."""
    if variable.labels:
        return {"Description": f"{variable.name}, asked for", "Levels": _levels(variable.labels)}
    unit = {"Units": variable.unit} if variable.unit else {}
    ends = {"Minimum": variable.low, "Maximum": variable.high}
    return {"Description": f"{variable.name}, asked for", **unit, **ends}


def _levels(labels: Sequence[str]) -> dict[str, str]:
    words = {"F": "female", "M": "male"}
    return {label: words.get(label, label) for label in labels}
