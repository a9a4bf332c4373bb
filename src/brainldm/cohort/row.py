"""A row of a plan: one volume to make."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from brainldm.conditions import Conditions
from brainldm.dataset.bids import LONGEST_LABEL
from brainldm.dataset.quantities import Column, conditions_of
from brainldm.dataset.table import Row as Line
from brainldm.sampling.noise import SEED_LIMIT

ID, SEED = "participant_id", "seed"
_LABEL = re.compile(r"[A-Za-z0-9]+")


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


def read_row(
    line: Line,
    index: int,
    *,
    columns: Sequence[Column],
    places: tuple[int, int],
    check: Callable[[Conditions], list[str]] = lambda conditions: [],
) -> tuple[Row | None, list[str]]:
    """Read a line of the table.

    Args:
        line: of the table.
        index: of the row, from 0.
        columns: its conditions.
        places: (id, seed): indices of these columns.
        check: gives a message for each thing wrong with conditions.

    Returns:
        The row, or None; and a message for each thing wrong with it.
    """
    if line.misfit:
        return None, [f"{line.misfit}."]
    conditions, problems = conditions_of(line.cells, columns)
    problems += check(conditions)
    name, text = (line.cells[place].strip() for place in places)
    label = name.removeprefix("sub-")
    if not _LABEL.fullmatch(label) or len(label) > LONGEST_LABEL:
        problems.append(
            f"{ID} is {name!r}: expected sub- with letters and digits only, such as sub-0001, "
            f"at most {LONGEST_LABEL}, since files are named by it."
        )
    short = text.isascii() and text.isdigit() and len(text) <= len(str(SEED_LIMIT))
    seed = int(text) if short else -1
    if not 0 <= seed < SEED_LIMIT:
        problems.append(f"{SEED} is {text!r}: expected a whole number from 0 to 2**63 - 1.")
    return (None if problems else Row(index, label, seed, conditions)), problems
