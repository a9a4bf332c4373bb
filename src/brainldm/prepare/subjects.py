"""Whose scans are prepared, and what is known of them before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainldm.dataset.participants import read_people
from brainldm.dataset.people import People
from brainldm.dataset.person import Person
from brainldm.dataset.scans import Inputs, Scan, find_scans
from brainldm.segment.measures import VOLUMES


@dataclass(frozen=True)
class Subject:
    """A scan, and the row about its person, if there is one."""

    scan: Scan
    person: Person | None = None

    @property
    def label(self) -> str:
        """Without sub-."""
        return self.scan.subject

    @property
    def known(self) -> Mapping[str, str | float]:
        """The covariates that the table has."""
        return self.person.known if self.person else {}

    @property
    def other(self) -> Mapping[str, str]:
        """The table's other cells."""
        return self.person.other if self.person else {}

    @property
    def missing(self) -> tuple[str, ...]:
        """The covariates to measure."""
        return tuple(name for name in VOLUMES if name not in self.known)


@dataclass(frozen=True)
class Subjects:
    """What was found.

    Args:
        there: the subjects.
        inputs: where their scans are.
        people: the table.
        notes: what a person should know of before the scans are prepared.
    """

    there: tuple[Subject, ...]
    inputs: Inputs
    people: People
    notes: tuple[str, ...]


def find_subjects(
    source: Path, out: Path, table: Path | None, sex_codes: Mapping[str, str] | None
) -> Subjects:
    """Find scans, and for each its row of the table.

    Args:
        source: as in `find_scans`.
        out: the folder that is written.
        table: of participants; None takes the participants.tsv of a data set.
        sex_codes: as in `read_people`.

    Raises:
        BrainLDMError: as `find_scans` and `read_people`; or the table has cells that the one to be
            written cannot hold.
    """
    inputs = find_scans(source, out)
    visits = {scan.subject: scan.instance for scan in inputs.scans if scan.instance}
    file = table or inputs.table
    people = read_people(file, sex_codes=sex_codes, visits=visits) if file else People()
    people.refuse_breaks()
    subjects = tuple(Subject(scan, people.find(scan.names)) for scan in inputs.scans)
    failed = (people.find((failure.subject,)) for failure in inputs.failures)
    notes = people.unused({s.label: s.person for s in subjects}, [p for p in failed if p])
    return Subjects(subjects, inputs, people, tuple(notes))
