"""Two evaluations side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from brainldm.errors import DataError
from brainldm.evaluate.figure import Figure, digits
from brainldm.files import read_json
from brainldm.image.page import render

OWN = ("model",)
"""What may differ: the protocol is the same for whatever model."""


@dataclass(frozen=True)
class Row:
    """A figure of both, each with its interval, as text; empty where one does not have it."""

    name: str
    first: str
    second: str
    real: str
    note: str


class _Report(BaseModel):
    """What is read of a report.json."""

    protocol: dict[str, Any]
    figures: list[Figure]


def compare_reports(first: Path, second: Path) -> list[Row]:
    """Put the figures of two `report.json` side by side.

    Raises:
        StorageError: a file cannot be read.
        DataError: a file is no report, or the two did not follow one protocol.
    """
    a, b = _read(first), _read(second)
    differ = [
        f"{name} is {a.protocol.get(name)!r} and {b.protocol.get(name)!r}"
        for name in a.protocol | b.protocol
        if name not in OWN and a.protocol.get(name) != b.protocol.get(name)
    ]
    if differ:
        raise DataError(
            f"{first} and {second} do not compare: expected one protocol and one real set, but "
            f"{'; '.join(differ)}. Evaluate both again alike."
        )
    ours, theirs = ({(f.section, f.name): f for f in x.figures} for x in (a, b))
    return [_row(": ".join(key), ours.get(key), theirs.get(key)) for key in ours | theirs]


def _read(file: Path) -> _Report:
    expected = "a report.json of `brainldm evaluate`"
    try:
        return _Report.model_validate(read_json(file, expected))
    except ValidationError as error:
        first = error.errors()[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DataError(f"{file} is no report: {wrong}. Expected {expected}.") from error


def _row(name: str, first: Figure | None, second: Figure | None) -> Row:
    some = first or second
    real = None if some is None else some.real
    overlap = first and second and _overlap(first, second)
    note = "" if overlap is None else "intervals overlap" if overlap else "intervals apart"
    return Row(name, _text(first), _text(second), "" if real is None else digits(real), note)


def _text(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return ""
    interval = f" ({' to '.join(map(digits, figure.interval))})" if figure.interval else ""
    return f"{digits(figure.value)}{interval}"


def _overlap(x: Figure, y: Figure) -> bool | None:
    if not (x.interval and y.interval):
        return None
    (a, b), (c, d) = x.interval, y.interval
    return a <= d and c <= b


def comparison_page(rows: list[Row], first: Path, second: Path) -> bytes:
    """The table as HTML."""
    return render("evaluate/comparison.html", rows=rows, first=first, second=second)
