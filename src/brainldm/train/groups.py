"""Who belongs together: visits of a person, twins. They are held out together, and may be pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from brainldm.dataset.prepared import PreparedData
from brainldm.errors import UsageError


def groups_of(heads: PreparedData, column: str | None) -> tuple[str, ...]:
    """The group of each subject: its cell, or its label where there is none.

    Raises:
        UsageError: no such column.
    """
    if column is None:
        return heads.subjects
    if column not in heads.columns:
        raise UsageError(
            f"training.group is {column}, which is no column of "
            f"{heads.folder / 'participants.tsv'}: expected one of "
            f"{', '.join(heads.columns) or 'none'}."
        )
    cells = zip(heads.columns[column], heads.subjects, strict=True)
    return tuple(cell or subject for cell, subject in cells)


def held_out(groups: Sequence[str], share: float) -> frozenset[str]:
    """The groups held out: a share of them, one at least if it is above 0.

    Which ones depends on their names alone, so that both stages hold out the same.
    """
    names = sorted(set(groups), key=lambda name: hashlib.sha256(name.encode()).digest())
    count = min(max(1, round(share * len(names))), len(names) - 1) if share else 0
    return frozenset(names[:count])


def pairs(heads: Sequence[int], groups: Sequence[str]) -> list[tuple[int, ...]]:
    """Heads of a group two by two; one that is left over again with another, or with itself.

    Args:
        heads: numbers of some.
        groups: of all.

    Raises:
        UsageError: nobody belongs together.
    """
    together: dict[str, list[int]] = {}
    for head in heads:
        together.setdefault(groups[head], []).append(head)
    if all(len(members) == 1 for members in together.values()):
        raise UsageError(
            "pairs is true, but training.group puts no two heads together: expected a column with "
            "equal cells. Choose another one, or pairs=false."
        )
    return [
        (members[i], members[(i + 1) % len(members)])
        for members in together.values()
        for i in range(0, len(members), 2)
    ]
