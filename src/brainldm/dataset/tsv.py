"""Writing tables, so that `brainldm.dataset.table` reads what was meant."""

from __future__ import annotations

from collections.abc import Iterable


def write_table(header: Iterable[str], rows: Iterable[Iterable[str | float | None]]) -> bytes:
    """The content of a .tsv."""
    return b"".join((write_row(header), *map(write_row, rows)))


def write_row(values: Iterable[str | float | None]) -> bytes:
    """A line of a .tsv: n/a for what is not known, six digits for a number."""
    return ("\t".join(_quoted(_cell(each)) for each in values) + "\n").encode()


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "n/a" if value is None or value == "" else str(value)


def _quoted(text: str) -> str:
    if any(mark in text for mark in '\t"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
