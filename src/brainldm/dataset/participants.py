"""From a table's text to the people in it.

text -> rows of cells -> columns that are known -> persons, each checked -> people

Nothing is guessed, and nothing is dropped without a word: what is wrong is refused with its row,
and what is not read is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brainldm.dataset.columns import find_columns, find_identity
from brainldm.dataset.people import People
from brainldm.dataset.person import COVARIATES, Places, read_persons
from brainldm.dataset.table import open_table
from brainldm.errors import DataError

VISIT = "2"
"""UK Biobank's first imaging visit."""
MOST = 20
"""Problems that a message lists."""


def read_people(
    file: Path,
    *,
    sex_codes: Mapping[str, str] | None = None,
    visits: Mapping[str, str] | None = None,
    any_name: bool = False,
) -> People:
    """Read a table of people.

    Args:
        file: .tsv or .csv; one of `ID_COLUMNS` names the people. Covariates are the columns of
            `COVARIATES` or UK Biobank's fields (`brainldm.dataset.columns`).
        sex_codes: what stands for "F" and "M" beside these, female and male, and what the JSON file
            beside the table says.
        visits: UK Biobank's imaging visit of each person; `VISIT` elsewhere.
        any_name: where none of `ID_COLUMNS` is there, the first column names the people.

    Raises:
        StorageError: it cannot be read.
        DataError: it is no table, has no column that names people, or a cell is not what it should
            be; each is listed with its row and column.
    """
    table = open_table(file)
    rows = list(table.rows())
    name = find_identity(table, any_name)
    by_visit = {
        visit: find_columns(table, COVARIATES, codes=sex_codes, visit=visit)
        for visit in {VISIT, *(visits or {}).values()}
    }
    columns = by_visit[VISIT]
    # Fields of UK Biobank stay among the others: there are several visits of them.
    ours = {name, *(column.index for column in columns.known if not column.is_field)}
    other = {header: i for i, header in enumerate(table.header) if i not in ours}
    known = {visit: each.known for visit, each in by_visit.items()}
    persons, problems = read_persons(rows, Places(name, known, visits or {}, VISIT, other))
    problems = [f"column {header} {why}" for header, why in columns.wrong.items()] + problems
    if problems:
        more = f"\n  ... and {len(problems) - MOST} more" if len(problems) > MOST else ""
        listed = "\n".join(f"  {problem}" for problem in problems[:MOST])
        raise DataError(f"{file} cannot be used as it is:\n{listed}{more}")
    said = {header: table.descriptions[header] for header in other if header in table.descriptions}
    unread = {header: why for header, why in columns.unread.items() if why}
    return People(persons, tuple(other), said, unread, file)
