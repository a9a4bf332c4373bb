"""Columns of a table become conditions of a model."""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainldm.conditions import STANDARD
from brainldm.config import Bernoulli, Categorical, LogNormal, Normal, Uniform, Variable
from brainldm.dataset.columns import UNITS
from brainldm.dataset.prepared import PreparedData
from brainldm.errors import DataError, UsageError

CATEGORY = "category"
"""Stands in the place of a unit."""
MOST_LABELS = 20
"""More are taken for a mistake; each costs the context a number."""
NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")
SKEWED = 1.0
"""Above this skewness a positive quantity is drawn from a lognormal distribution."""
FEW = 20
"""With fewer values no shape is read from them, and the distribution is uniform."""


@dataclass(frozen=True)
class Covariates:
    """The conditions of those subjects who have all of them.

    Args:
        variables: in the order of the context.
        index: of the subjects in the data set.
        context: theirs, (len(index), V), scaled by each variable's low and high; V as in
            `ConditionRanges.normalise`.
        left_out: subjects who lack a value, by label.
    """

    variables: tuple[Variable, ...]
    index: tuple[int, ...]
    context: Tensor
    left_out: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The SHA-256 of all values."""
        return hashlib.sha256(self.context.numpy().tobytes()).hexdigest()


def parse_condition(text: str) -> tuple[str, str]:
    """`NAME`, `NAME:UNIT` or `NAME:category`, which may have numbers for labels."""
    name, _, unit = text.partition(":")
    if not name.strip():
        raise UsageError(
            f"--condition {text}: expected a column of participants.tsv, with its unit if it has "
            "one, for instance age:years or scanner:category."
        )
    return name.strip(), _spelt(unit.strip())


def read_covariates(
    data: PreparedData,
    conditions: Sequence[str] = (),
    known: Sequence[Variable] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Covariates:
    """Make conditions of columns.

    Args:
        data: whose table it is.
        conditions: as `parse_condition` each; the standard four if empty, or those of `known`.
        known: variables of a model to start from. A condition of the same name keeps its range,
            unit and labels.
        ranges: the low and high of others, in place of the least and the greatest value.

    Raises:
        UsageError: no such column, or a unit other than the table's or the model's.
        DataError: a cell that is neither a number nor a label, with its row, a column that is
            constant, or no subject with all conditions.
    """
    earlier = {variable.name: variable for variable in known}
    chosen = [parse_condition(each) for each in conditions] or [
        (name, "") for name in earlier or STANDARD
    ]
    names = [name for name, _ in chosen]
    if len(set(names)) != len(names):
        raise UsageError(f"A condition was given twice: {', '.join(names)}. Give each once.")
    for name in names:
        if name not in data.columns:
            raise UsageError(
                f"{data.folder / 'participants.tsv'} has no column {name}: expected one for each "
                f"condition; it has {', '.join(data.columns) or 'none'}. Add it, or train a model "
                "on other conditions (--condition)."
            )
    index = tuple(
        i for i in range(len(data)) if all(data.columns[name][i] is not None for name in names)
    )
    if not index:
        raise DataError(
            f"{data.folder / 'participants.tsv'}: no participant has a value in all of "
            f"{', '.join(names)}. Add them, or train a model on other conditions (--condition)."
        )
    ranges = ranges or {}
    for name, ends in ranges.items():
        if name not in names:
            raise UsageError(f"ranges has {name}: expected conditions, {', '.join(names)}.")
        if name in earlier and ends != (earlier[name].low, earlier[name].high):
            raise UsageError(
                f"ranges.{name} is {ends[0]:g} to {ends[1]:g}, and the model to start from has "
                f"{earlier[name].low:g} to {earlier[name].high:g}: expected the same, or none."
            )
    variables = tuple(
        _agree(data, earlier[name], unit)
        if name in earlier
        else _variable(data, name, unit, index, ranges.get(name))
        for name, unit in chosen
    )
    columns = [column for variable in variables for column in _scaled(data, variable, index)]
    return Covariates(
        variables,
        index,
        torch.tensor(columns, dtype=torch.float64).T.float().contiguous(),
        tuple(data.subjects[i] for i in sorted(set(range(len(data))) - set(index))),
    )


def _unit(data: PreparedData, name: str) -> str:
    return _spelt(str(data.descriptions.get(name, {}).get("Units", "")))


def _spelt(unit: str) -> str:
    """A unit as it is written here; none is converted."""
    name, factor = UNITS.get(unit.lower(), (unit, 1.0))
    return name if factor == 1 else unit


def _agree(data: PreparedData, variable: Variable, unit: str) -> Variable:
    """The model's variable, if the table's unit is not another one."""
    expected = CATEGORY if variable.labels else variable.unit
    for got in (unit, _unit(data, variable.name)):
        if got and got != expected:
            raise UsageError(
                f"{variable.name} is {_in(got)}, and the model to start from has it "
                f"{_in(expected)}: convert the column, or give it another name."
            )
    return variable


def _in(unit: str) -> str:
    if unit == CATEGORY:
        return "a category"
    return f"in {unit}" if unit else "without a unit"


def _variable(
    data: PreparedData,
    name: str,
    unit: str,
    index: Sequence[int],
    ends: tuple[float, float] | None,
) -> Variable:
    described = _unit(data, name)
    if unit and described and unit != described:
        raise UsageError(
            f"--condition {name}:{unit}: participants.json says that the unit is {described}. Give "
            "the same one, or none."
        )
    if not NAME.fullmatch(name):
        raise DataError(
            f"{data.folder / 'participants.tsv'}: {name} cannot be the name of a condition: "
            "expected a letter, then letters, digits and _. Rename the column."
        )
    source = f"{len(index)} subjects of the training data"
    if labels := _labels(data, name, unit, index):
        if ends:
            raise UsageError(f"ranges has {name}, which has labels: {', '.join(labels)}.")
        cells = [data.columns[name][i] for i in index]
        shares = tuple(cells.count(label) / len(cells) for label in labels)
        return Variable(
            name=name,
            kind="category",
            labels=labels,
            distribution=Bernoulli(probability=shares[1], source=source)
            if len(labels) == 2
            else Categorical(probabilities=shares, source=source),
        )
    values = [_number(data, name, i) for i in index]
    low, high = ends or (min(values), max(values))
    if ends and not low < high:
        raise UsageError(f"ranges.{name} is {low:g} to {high:g}: expected a low and a high.")
    if not min(values) < max(values):
        raise DataError(
            f"{data.folder / 'participants.tsv'}: {name} is {values[0]:g} for everybody, so that "
            "nothing can be learned of it. Leave it out of the conditions."
        )
    return Variable(
        name=name,
        unit=unit or described,
        low=low,
        high=high,
        distribution=_distribution(values, source),
    )


def _labels(
    data: PreparedData, name: str, unit: str, index: Sequence[int]
) -> tuple[str, ...] | None:
    """The labels of a category that somebody has, None for numbers."""
    levels = data.descriptions.get(name, {}).get("Levels") or ()
    cells = sorted({str(data.columns[name][i]) for i in index})
    if not levels and unit != CATEGORY:
        numbers = [i for i in index if _is_number(str(data.columns[name][i]))]
        if len(numbers) == len(index):
            return None
        if unit or numbers:  # a number mistyped must not make a category of a column
            _number(data, name, next(i for i in index if i not in set(numbers)))
    unknown = [i for i in index if levels and data.columns[name][i] not in levels]
    if unknown:
        raise DataError(
            f"{data.folder / 'participants.tsv'}, row {data.row(unknown[0])}: {name} is "
            f"{data.columns[name][unknown[0]]!r}: expected one of {', '.join(levels)}, which "
            "participants.json lists."
        )
    if len(cells) > MOST_LABELS:
        raise DataError(
            f"{data.folder / 'participants.tsv'}: {name} has {len(cells)} labels, for instance "
            f"{cells[0]!r} and {cells[1]!r}: expected numbers, or a category of {MOST_LABELS} at "
            "most. Correct the cells, or join labels."
        )
    if len(cells) == 1:
        raise DataError(
            f"{data.folder / 'participants.tsv'}: {name} is {cells[0]} for everybody, so that "
            "nothing can be learned of it. Leave it out of the conditions."
        )
    return tuple(cells)


def _scaled(data: PreparedData, variable: Variable, index: Sequence[int]) -> list[list[float]]:
    if not variable.labels:
        return [[variable.normalise(_number(data, variable.name, i)) for i in index]]
    cells = [str(data.columns[variable.name][i]) for i in index]
    for i, cell in zip(index, cells, strict=True):
        if cell not in variable.labels:
            raise DataError(
                f"{data.folder / 'participants.tsv'}, row {data.row(i)}: {variable.name} is "
                f"{cell!r}: expected {' or '.join(variable.labels)}."
            )
    ones = variable.labels[1:] if len(variable.labels) == 2 else variable.labels
    return [[float(cell == label) for cell in cells] for label in ones]


def _is_number(cell: str) -> bool:
    try:
        return "_" not in cell and math.isfinite(float(cell))  # 1_000 is a number to Python
    except ValueError:
        return False


def _number(data: PreparedData, name: str, i: int) -> float:
    cell = str(data.columns[name][i])
    if not _is_number(cell):
        raise DataError(
            f"{data.folder / 'participants.tsv'}, row {data.row(i)}: {name} is {cell!r}: expected "
            "a finite number without unit or comma, or n/a. If these are labels, say so: "
            f"--condition {name}:category."
        )
    return float(cell)


def _distribution(values: Sequence[float], source: str) -> Normal | LogNormal | Uniform:
    """What suits the values: their skewness tells a lognormal, their tails a uniform one."""
    if len(values) < FEW:
        return Uniform(source=f"uniform over the range of {source}")
    mean, sd = statistics.fmean(values), statistics.pstdev(values)
    skewness = statistics.fmean(((v - mean) / sd) ** 3 for v in values)
    if min(values) > 0 and skewness > SKEWED:
        logarithms = [math.log(v) for v in values]
        return LogNormal(
            median=math.exp(statistics.fmean(logarithms)),
            sd=statistics.pstdev(logarithms),
            source=f"fitted to {source}",
        )
    kurtosis = statistics.fmean(((v - mean) / sd) ** 4 for v in values)
    if kurtosis < 2.2:  # 1.8 is uniform, 3 is normal
        return Uniform(source=f"uniform over the range of {source}")
    return Normal(mean=mean, sd=sd, source=f"fitted to {source}")
