"""The plan of a cohort: a table with a row for each volume, checked whole before anything is made.

participant_id   sub-LABEL or LABEL, letters and digits, each once
seed             each once, in its lowest 32 bits (`brainldm.sampling.noise`)
...              conditions, as `cohort.columns` reads them; one that is left out is drawn

Of each row only its place in the file is kept in memory, and a hash while it is checked.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.dataset.columns import Column, conditions_of, find_conditions, read_header, split
from brainldm.errors import BrainLDMError
from brainldm.sampling.noise import SEED_LIMIT

ID, SEED = "participant_id", "seed"
_LABEL = re.compile(r"[A-Za-z0-9]+")
NOISES = 2**32
"""As many different seeds as draw different noise."""


@dataclass(frozen=True)
class Row:
    """One volume to make.

    Args:
        index: of the row, from 0.
        label: of the participant, without "sub-".
        seed: of its noise, and of conditions that were left out.
        conditions: asked for, in the model's units.
    """

    index: int
    label: str
    seed: int
    conditions: Conditions


@dataclass(frozen=True, eq=False)
class Plan:
    """A table that was checked.

    Args:
        file: the table.
        delimiter: between its cells.
        width: cells of a row.
        columns: its conditions.
        places: (id, seed): indices of these columns.
        offsets: where each row begins, in bytes.
        sha256: of the rows and of what their columns mean.
    """

    file: Path
    delimiter: str
    width: int
    columns: tuple[Column, ...]
    places: tuple[int, int]
    offsets: NDArray[np.uint64]
    sha256: str

    def __len__(self) -> int:
        return len(self.offsets)

    def at(self, file: Path) -> Plan:
        """The same plan, read from a copy of its file."""
        return replace(self, file=file)

    def rows(self, start: int, stop: int) -> list[Row]:
        """Read rows again, in order."""
        with self.file.open("rb") as stream:
            return [self._row(stream, index) for index in range(start, min(stop, len(self)))]

    def _row(self, stream: object, index: int) -> Row:
        stream.seek(int(self.offsets[index]))  # type: ignore[attr-defined]
        row, problems = self.parse(stream.readline(), index)  # type: ignore[attr-defined]
        if row is None:
            raise BrainLDMError(f"{self.file} was changed while it was in use: {problems[0]}")
        return row

    def parse(
        self,
        line: bytes,
        index: int,
        check: Callable[[Conditions], list[str]] = lambda conditions: [],
    ) -> tuple[Row | None, list[str]]:
        """A row, or None; and a message for each thing wrong with it, by `check` as well."""
        try:
            cells = split(line.rstrip(b"\r\n"), self.delimiter)
        except BrainLDMError as error:
            return None, [str(error)]
        if len(cells) != self.width:
            return None, [f"has {len(cells)} cells: expected {self.width}, as in the header."]
        conditions, problems = conditions_of(cells, self.columns)
        problems += check(conditions)
        name, text = (cells[place].strip() for place in self.places)
        label = name.removeprefix("sub-")
        if not _LABEL.fullmatch(label):
            problems.append(
                f"{ID} is {name!r}: expected sub- with letters and digits only, such as sub-0001, "
                "since files are named by it."
            )
        seed = int(text) if text.isascii() and text.isdigit() else -1
        if not 0 <= seed < SEED_LIMIT:
            problems.append(f"{SEED} is {text!r}: expected a whole number from 0 to 2**63 - 1.")
        return (None if problems else Row(index, label, seed, conditions)), problems


def read_plan(file: Path, ranges: ConditionRanges, *, extrapolate: bool = False) -> Plan:
    """Read and check a table.

    Args:
        file: .tsv, or .csv; with a header.
        ranges: the model's conditions.
        extrapolate: accept values outside the model's ranges.

    Raises:
        BrainLDMError: anything is wrong; every column and every row is listed with its line.
    """
    header, delimiter = read_header(file)
    columns, others = find_conditions(file, header, ranges)
    problems = [
        f"line 1, column {name!r} {problem}"
        for name, problem in others.items()
        if name not in (ID, SEED)
    ]
    problems += [
        f"line 1: there is no column {name!r}. Expected {ID}, {SEED} and conditions; "
        "`brainldm cohort plan` draws such a table."
        for name in (ID, SEED)
        if name not in header
    ]
    if problems:
        raise _refusal(file, problems)
    places = (header.index(ID), header.index(SEED))
    empty = np.zeros(0, np.uint64)
    plan = Plan(file, delimiter, len(header), columns, places, empty, "")
    check = partial(ranges.problems, extrapolate=extrapolate)

    meaning = hashlib.sha256(repr((delimiter, columns, places)).encode())
    offsets, labels, noises, lines = array("Q"), array("Q"), array("Q"), array("Q")
    for number, offset, line in _lines(file):
        meaning.update(line)
        row, wrong = plan.parse(line, len(offsets), check)
        if row is not None:
            # Some disks take "a" and "A" for one name.
            digest = hashlib.blake2b(row.label.lower().encode(), digest_size=8).digest()
            labels.append(int.from_bytes(digest))
            noises.append(row.seed % NOISES)
            lines.append(number)
        offsets.append(offset)
        problems += [f"line {number}: {problem}" for problem in wrong]
    problems += _twice(labels, lines, ID, "files are named by it")
    problems += _twice(noises, lines, SEED, "a multiple of 2**32 more is the same")
    if problems:
        raise _refusal(file, sorted(problems, key=_line_of))
    if not offsets:
        raise BrainLDMError(f"{file} has no rows: expected one for each volume.")
    found = np.frombuffer(offsets, np.uint64)
    return Plan(file, delimiter, len(header), columns, places, found, meaning.hexdigest())


def _lines(file: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and content of each row that is not blank."""
    with file.open("rb") as stream:
        offset = len(stream.readline())
        for number, line in enumerate(stream, 2):
            if line.strip():
                yield number, offset, line
            offset += len(line)


def _twice(hashes: Sequence[int], lines: Sequence[int], name: str, why: str) -> Iterator[str]:
    """A message for each line that has what an earlier line has."""
    values = np.frombuffer(hashes, np.uint64) if len(hashes) else np.zeros(0, np.uint64)  # type: ignore
    order = values.argsort(kind="stable")
    same = np.flatnonzero(values[order[1:]] == values[order[:-1]])
    for at in same:
        first, second = lines[order[at]], lines[order[at + 1]]
        yield f"line {second}: {name} is that of line {first} again; {why}. Change one."


def _line_of(problem: str) -> int:
    return int(problem.removeprefix("line ").split(":")[0].split(",")[0])


def _refusal(file: Path, problems: Sequence[str]) -> BrainLDMError:
    listed = "\n".join(f"  {problem}" for problem in problems)
    return BrainLDMError(f"{file} cannot be used as it is; nothing was started:\n{listed}")
