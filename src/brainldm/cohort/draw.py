"""Drawing a plan: who the people of a cohort are.

Candidates are drawn from distributions, tied by a Gaussian copula where correlations are asked for,
or as whole rows of a table of people. Those within the limits fill the groups, in the order they
come, until each has its number.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from brainldm import __version__
from brainldm.cohort.columns import conditions_of, find_conditions, read_header, split
from brainldm.cohort.plan import ID, NOISES, SEED
from brainldm.conditions import ConditionRanges, quantile
from brainldm.config import (
    Bernoulli,
    Categorical,
    LogNormal,
    ModelConfig,
    Normal,
    Uniform,
    Variable,
)
from brainldm.errors import BrainLDMError
from brainldm.files import write_together

ASKED = "asked for in the plan"
PATIENCE = 1000
"""Candidates for each row that is wanted, before it is given up."""
Array = NDArray[np.float64]
Within = frozenset[str] | tuple[float, float]


@dataclass(frozen=True)
class Design:
    """What a cohort should be like.

    Args:
        number: of volumes.
        seed: of everything drawn here; the same design and seed give the same table.
        like: a table of people, whose rows are drawn in place of the distributions.
        distributions: condition to "uniform", "normal:MEAN:SD", "lognormal:MEDIAN:SD" or, for a
            category, "F:0.5,M:0.5", over its range; the model's own for others.
        correlations: of normal scores, by two conditions.
        limits: condition to "LOW:HIGH" (HIGH itself only where the range ends), or labels "F,M".
        balance: condition to the edges of its groups, "70:76:82", or to nothing for a category;
            every combination of groups gets the same number.
    """

    number: int
    seed: int = 0
    like: Path | None = None
    distributions: Mapping[str, str] = field(default_factory=dict)
    correlations: Mapping[tuple[str, str], float] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    balance: Mapping[str, str] = field(default_factory=dict)


def draw_plan(design: Design, config: ModelConfig, out: Path) -> dict[str, int]:
    """Draw a plan and write it, with a JSON file beside it that says units, ranges and the design.

    Returns:
        The number of rows of each group, by its name.

    Raises:
        BrainLDMError: a design that cannot be met, or that names what the model does not have.
    """
    if out.suffix != ".tsv":
        raise BrainLDMError(f"Cannot write a plan as {out.name!r}: expected a name ending in .tsv.")
    if not 1 <= design.number < NOISES:
        raise BrainLDMError(f"The number of volumes is {design.number}: expected 1 or more.")
    if design.seed < 0:
        raise BrainLDMError(f"The seed is {design.seed}: expected a whole number from 0.")
    variables = _variables(design, config)
    groups = _groups(design, variables)
    limits = {name: _within(_named(variables, name), text) for name, text in design.limits.items()}
    rng = np.random.default_rng(design.seed)
    if design.like:
        if design.distributions or design.correlations:
            raise BrainLDMError(
                "A table to draw rows from has its own distributions and correlations: give the "
                "table, or these."
            )
        candidates = _rows_of(design.like, variables, limits, rng)
    else:
        candidates = _independent(variables, _copula(design, variables), rng)
    people, counts = _fill(candidates, variables, limits, groups, design.number)
    people = people[rng.permutation(len(people))]
    seeds = rng.choice(NOISES, len(people), replace=False)
    width = max(4, len(str(len(people))))
    lines = ["\t".join((ID, SEED, *(v.name for v in variables)))]
    for i, (person, seed) in enumerate(zip(people, seeds, strict=True), 1):
        cells = (_cell(v, x) for v, x in zip(variables, person, strict=True))
        lines.append("\t".join((f"sub-{i:0{width}d}", str(seed), *cells)))
    write_together(
        {
            out: ("\n".join(lines) + "\n").encode(),
            out.with_suffix(".json"): _description(design, config, variables),
        }
    )
    return counts


def _variables(design: Design, config: ModelConfig) -> tuple[Variable, ...]:
    """The model's conditions, with the distributions that were asked for."""
    for name in design.distributions:
        _named(config.conditions, name)
    return tuple(
        v.model_copy(update={"distribution": _distribution(v, design.distributions[v.name])})
        if v.name in design.distributions
        else v
        for v in config.conditions
    )


def _named(variables: Sequence[Variable], name: str) -> Variable:
    for variable in variables:
        if variable.name == name:
            return variable
    raise BrainLDMError(
        f"This model has no condition {name!r}: expected {', '.join(v.name for v in variables)}."
    )


def _distribution(variable: Variable, text: str) -> Any:
    if variable.labels:
        shares = dict(part.rpartition(":")[::2] for part in text.split(","))
        try:
            chances = [float(shares.pop(label)) for label in variable.labels]
        except (KeyError, ValueError):
            chances = []
        if shares or not chances or min(chances) < 0 or not math.isclose(sum(chances), 1):
            expected = ",".join(
                f"{label}:{1 / len(variable.labels):.3g}" for label in variable.labels
            )
            raise BrainLDMError(
                f"The distribution of {variable.name} is {text!r}: expected a share for each "
                f"label, together 1, as in {expected}."
            )
        if len(chances) == 2:
            return Bernoulli(probability=chances[1], source=ASKED)
        return Categorical(probabilities=tuple(chances), source=ASKED)
    kind, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
        if not all(map(math.isfinite, values)):
            raise ValueError
        if kind == "uniform" and not values:
            return Uniform(source=ASKED)
        first, second = values
        if kind == "normal" and second > 0:
            return Normal(mean=first, sd=second, source=ASKED)
        if kind == "lognormal" and min(first, second, variable.low) > 0:
            return LogNormal(median=first, sd=second, source=ASKED)
    except ValueError:
        pass
    raise BrainLDMError(
        f"The distribution of {variable.name} is {text!r}: expected uniform, normal:MEAN:SD or, "
        "for what is above 0, lognormal:MEDIAN:SD with the deviation of the natural logarithm."
    )


def _within(variable: Variable, text: str) -> Within:
    """Labels, or the ends of an interval."""
    if variable.labels:
        labels = frozenset(text.split(","))
        if not labels <= set(variable.labels):
            raise BrainLDMError(
                f"The limit of {variable.name} is {text!r}: expected labels among "
                f"{', '.join(variable.labels)}, with commas between."
            )
        return labels
    low, high = _edges(variable, text, "limit")[:2]
    return low, high


def _edges(variable: Variable, text: str, what: str) -> list[float]:
    try:
        edges = [float(edge) for edge in text.split(":")]
    except ValueError:
        edges = []
    rising = all(a < b for a, b in pairwise(edges))
    if len(edges) < 2 or (what == "limit" and len(edges) > 2) or not rising:
        more = "" if what == "limit" else ":...:HIGH, its groups' edges"
        raise BrainLDMError(
            f"The {what} of {variable.name} is {text!r}: expected LOW:HIGH{more}, in "
            f"{variable.unit or 'its unit'}, rising."
        )
    if edges[0] < variable.low or edges[-1] > variable.high:
        raise BrainLDMError(
            f"The {what} of {variable.name} is {text!r}: expected it within what the model knows, "
            f"{variable.low:g} to {variable.high:g} {variable.unit}."
        )
    return edges


def _groups(design: Design, variables: Sequence[Variable]) -> dict[str, dict[str, Within]]:
    """Every combination of the groups to balance, by its name."""
    parts: list[list[tuple[str, str, Within]]] = []
    for name, text in design.balance.items():
        variable = _named(variables, name)
        if variable.labels:
            if text:
                raise BrainLDMError(f"To balance {name}, name it alone: its groups are its labels.")
            allowed = design.limits.get(name, "").split(",")
            labels = [x for x in variable.labels if allowed == [""] or x in allowed]
            parts.append([(name, label, frozenset({label})) for label in labels])
        else:
            edges = _edges(variable, text, "balance")
            parts.append([(name, f"{a:g}-{b:g}", (a, b)) for a, b in pairwise(edges)])
    return {
        ", ".join(f"{name} {label}" for name, label, _ in combination): {
            name: within for name, _, within in combination
        }
        for combination in product(*parts)
    }


def _copula(design: Design, variables: Sequence[Variable]) -> Array:
    """The root of the matrix of correlations."""
    names = [v.name for v in variables]
    matrix = np.eye(len(names))
    for (a, b), r in design.correlations.items():
        i, j = names.index(_named(variables, a).name), names.index(_named(variables, b).name)
        if i == j or not -1 < r < 1:
            raise BrainLDMError(
                f"The correlation of {a} and {b} is {r:g}: expected two conditions, and a number "
                "between -1 and 1."
            )
        matrix[i, j] = matrix[j, i] = r
    try:
        root: Array = np.linalg.cholesky(matrix).astype(np.float64)
    except np.linalg.LinAlgError:
        raise BrainLDMError(
            "No people have these correlations together: expected a positive definite matrix, "
            f"came {matrix.tolist()}. Choose smaller ones."
        ) from None
    return root


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
    table: Path,
    variables: Sequence[Variable],
    limits: Mapping[str, Within],
    rng: np.random.Generator,
) -> Iterator[Array]:
    """Blocks of rows of a table, drawn with replacement."""
    people = _people(table, variables)
    inside = people[_inside(people, variables, limits)]
    if not len(inside):
        raise BrainLDMError(f"{table} has nobody within the limits: expected at least one row.")
    while True:
        yield inside[rng.integers(0, len(inside), 4096)]


def _people(table: Path, variables: Sequence[Variable]) -> Array:
    """The rows of a table that have every condition, within the model's ranges."""
    ranges = ConditionRanges(variables)
    header, delimiter = read_header(table)
    columns, others = find_conditions(table, header, ranges)
    known = {column.name for column in columns}
    missing = [v.name for v in variables if v.name not in known]
    if missing:
        hints = [f"{name!r} {why}" for name, why in others.items() if "no condition" not in why]
        raise BrainLDMError(
            f"{table} has no column {', '.join(missing)}: expected every condition of the model. "
            + " ".join(hints)
        )
    rows, problems, incomplete = [], [], 0
    with table.open("rb") as stream:
        stream.readline()
        for number, line in enumerate(stream, 2):
            if not line.strip():
                continue
            cells = split(line.rstrip(b"\r\n"), delimiter)
            if len(cells) != len(header):
                problems.append(f"  line {number}: expected {len(header)} cells.")
                continue
            person, wrong = conditions_of(cells, columns)
            given = person.given
            wrong = wrong or ranges.problems(person)
            if not wrong and len(given) == len(variables):
                rows.append([_number(v, given[v.name]) for v in variables])
            elif not wrong:
                incomplete += 1
            problems += [f"  line {number}: {problem}" for problem in wrong]
    if problems:
        raise BrainLDMError(f"{table} cannot be drawn from as it is:\n" + "\n".join(problems))
    if incomplete:
        warnings.warn(f"{incomplete} rows of {table} lack a condition: not drawn.", stacklevel=2)
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
            raise BrainLDMError(
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
    }
    content: dict[str, Any] = {
        SEED: {"Description": "Seed of the volume's noise"},
        **{v.name: describe(v) for v in variables},
        "brainldm": {"version": __version__, "model": config.name, "plan": asked},
    }
    return (json.dumps(content, indent=2) + "\n").encode()


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
