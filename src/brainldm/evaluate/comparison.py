"""Two evaluations side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from brainldm.errors import BrainLDMError
from brainldm.evaluate.figures import digits
from brainldm.image.page import page

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


def compare_reports(first: Path, second: Path) -> list[Row]:
    """Put the figures of two `report.json` side by side.

    Raises:
        BrainLDMError: a file is no report, or the two did not follow one protocol.
    """
    a, b = _read(first), _read(second)
    differ = [
        f"{name} is {a['protocol'].get(name)!r} and {b['protocol'].get(name)!r}"
        for name in a["protocol"] | b["protocol"]
        if name not in OWN and a["protocol"].get(name) != b["protocol"].get(name)
    ]
    if differ:
        raise BrainLDMError(
            f"{first} and {second} do not compare: expected one protocol and one real set, but "
            f"{'; '.join(differ)}. Evaluate both again alike."
        )
    ours, theirs = ({(f["section"], f["name"]): f for f in x["figures"]} for x in (a, b))
    rows = []
    for key in ours | theirs:
        x, y = ours.get(key), theirs.get(key)
        some = x or y or {}
        overlap = x and y and _overlap(x, y)
        note = "intervals overlap" if overlap else "" if overlap is None else "intervals apart"
        real = some.get("real")
        rows.append(
            Row(
                ": ".join(key), _text(x), _text(y), "" if real is None else digits(real), note or ""
            )
        )
    return rows


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if content["protocol"] and content["figures"][0]["section"]:
            return content
    except OSError as error:
        raise BrainLDMError(f"Cannot read {file}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    raise BrainLDMError(f"{file} is no report: expected a report.json of `brainldm evaluate`.")


def _text(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    between = figure["interval"]
    interval = f" ({' to '.join(map(digits, between))})" if between else ""
    return f"{digits(figure['value'])}{interval}"


def _overlap(x: dict[str, Any], y: dict[str, Any]) -> bool | None:
    if not (x["interval"] and y["interval"]):
        return None
    (a, b), (c, d) = x["interval"], y["interval"]
    return bool(a <= d and c <= b)


def comparison_page(rows: list[Row], first: Path, second: Path) -> bytes:
    """The table as HTML."""
    names = "".join(f"<th>{escape(str(x))}" for x in ("figure", first, second, "real", ""))
    body = "".join(
        f'<tr><td>{escape(row.name)}<td class="n">{row.first}<td class="n">{row.second}'
        f'<td class="n">{row.real}<td class="note">{row.note}</tr>'
        for row in rows
    )
    return page("Two evaluations side by side", f"<table><tr>{names}</tr>{body}</table>")
