"""Preparing many scans: in parallel, resumable, and no bad one stops the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from brainldm.dataset.people import People, Person, read_people
from brainldm.errors import BrainLDMError
from brainldm.files import write_together
from brainldm.prepare.dataset import (
    Covariates,
    Participant,
    Settings,
    check_cells,
    open_dataset,
    write_tables,
)
from brainldm.prepare.inputs import Failure, Inputs, Scan, find_scans
from brainldm.prepare.quality import quality_page
from brainldm.prepare.scan import Outcome, Task, missing_covariates, prepare_scan, prepared_before
from brainldm.register.reference import Reference
from brainldm.workers import pool_of


@dataclass(frozen=True)
class Summary:
    """The outcome of preparing.

    Args:
        prepared: how many scans are in the data set.
        failures: those that are not, and why.
        notes: what a person should look at.
        layout: how the input was read.
    """

    prepared: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    layout: str


def prepare(
    source: Path,
    out: Path,
    *,
    model: str = "published",
    table: Path | None = None,
    sex_codes: Mapping[str, str] | None = None,
    registered: bool = False,
    bias_field: bool = False,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Bring scans to a model's grid and intensities, as a BIDS derivative with a table.

    A scan that was prepared from the same file with the same settings is not prepared again.

    Args:
        source: as in `find_scans`.
        out: the folder of the data set.
        model: whose grid to use: "published" (need not be downloaded), "demo" or a directory.
        table: of participants (`read_people`); None takes the participants.tsv of a data set.
        sex_codes: codes in the table beside F, M, female and male.
        registered: the images are in MNI152 space already and are only resampled, after a check.
        bias_field: correct bias fields (N4).
        jobs: processes, about 3 GB each.
        progress: called with the number of scans that are done, and of all.

    Raises:
        BrainLDMError: nothing can be prepared: no scans, a table with mistakes, an output folder
            that holds something else, a missing extra.
    """
    inputs = find_scans(source)
    _check_place(source, out, inputs)
    instances = {scan.subject: scan.instance for scan in inputs.scans if scan.instance}
    file = table or inputs.table
    table_of = read_people(file, sex_codes=sex_codes, visits=instances) if file else People()
    check_cells(table_of)
    people = {scan.subject: table_of.find(scan.names) for scan in inputs.scans}
    given = {subject: each.known if each else {} for subject, each in people.items()}
    settings = _settings(model, registered, bias_field)
    if not registered or bias_field or any(missing_covariates(each) for each in given.values()):
        from brainldm.register.images import import_ants

        import_ants()
    open_dataset(out, settings)

    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        tasks = [
            Task(scan, out, template, settings, missing_covariates(given[scan.subject]))
            for scan in inputs.scans
        ]
        outcomes = _outcomes(tasks, jobs, progress)

    failures = [*inputs.failures, *_failures(inputs.scans, outcomes)]
    reasons = {failure.subject: failure.reason for failure in failures}
    participants = [
        _participant(subject, given[subject], outcomes[subject], each.other if each else {})
        for subject, each in people.items()
        if subject not in reasons
    ]
    notes = _notes(table_of, people, inputs)
    write_tables(out, settings, participants, table_of.columns, table_of.descriptions, reasons)
    provenance = {
        name: each.provenance for name, each in outcomes.items() if each.provenance is not None
    }
    page = quality_page(out, participants, provenance, reasons, notes)
    write_together({out / "quality.html": page})
    return Summary(len(participants), tuple(failures), tuple(notes), inputs.layout)


def _participant(
    subject: str, given: Covariates, outcome: Outcome, other: Mapping[str, str]
) -> Participant:
    found = outcome.provenance.measured if outcome.provenance else {}
    measured = {name: found[name] for name in missing_covariates(given)}
    return Participant(subject, {**given, **measured}, frozenset(measured), other)


def _check_place(source: Path, out: Path, inputs: Inputs) -> None:
    """A data set inside a folder that is searched for scans would be found as scans."""
    inside = source.is_dir() and out.resolve().is_relative_to(source.resolve())
    if inside and (inputs.layout != "BIDS" or out.name.startswith("sub-")):
        raise BrainLDMError(
            f"{out} lies within {source}, where scans are looked for. Choose a folder outside."
        )


def _settings(model: str, registered: bool, bias_field: bool) -> Settings:
    from brainldm.checkpoint import load_config

    config = load_config(model)
    return Settings(config.name, config.shape, config.affine, registered, bias_field)


def _outcomes(
    tasks: Sequence[Task], jobs: int, progress: Callable[[int, int], None]
) -> dict[str, Outcome]:
    """The outcome of each scan, by subject: what was prepared before, then the rest."""
    with ThreadPoolExecutor(jobs) as threads:  # which wait for hashes of files
        before = list(threads.map(prepared_before, tasks))
    outcomes = {each.subject: each for each in before if each}
    progress(len(outcomes), len(tasks))
    rest = [task for task in tasks if task.scan.subject not in outcomes]
    if rest:
        Reference.write(rest[0].reference)
        for outcome in _run(rest, jobs):
            outcomes[outcome.subject] = outcome
            progress(len(outcomes), len(tasks))
    return outcomes


def _run(tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """Each task in a process of a pool; one that dies with its process (no memory) fails alone."""
    waiting = dict(enumerate(tasks))
    with pool_of(min(jobs, len(tasks))) as pool:
        futures = {pool.submit(prepare_scan, task): index for index, task in waiting.items()}
        try:
            for future in as_completed(futures):
                outcome = future.result()
                del waiting[futures[future]]
                yield outcome
        except BrokenProcessPool:
            pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for task in waiting.values():  # one by one, to see which it was
        with pool_of(1) as pool:
            try:
                yield pool.submit(prepare_scan, task).result()
            except BrokenProcessPool:
                yield Outcome(
                    task.scan.subject,
                    f"{task.scan.path}: its process was killed, as the system does when memory "
                    "runs out. Prepare fewer at a time (--jobs).",
                )


def _failures(scans: Sequence[Scan], outcomes: Mapping[str, Outcome]) -> Iterator[Failure]:
    """Scans that failed, and those whose file is another subject's as well."""
    first: dict[str, Scan] = {}
    for scan in scans:
        outcome = outcomes[scan.subject]
        if outcome.provenance is None:
            line = f" (line {scan.line})" if scan.line else ""
            yield Failure(scan.subject, str(scan.path), outcome.reason + line)
            continue
        source = outcome.provenance.source
        other = first.setdefault(source.sha256 if source else "", scan)
        if other is not scan:
            yield Failure(
                scan.subject,
                str(scan.path),
                f"{scan.path} is the same file as {other.path}, of subject {other.subject!r}. "
                "Remove one: one image can be of one person only.",
            )


def _notes(table: People, people: Mapping[str, Person | None], inputs: Inputs) -> list[str]:
    if table.file is None:
        return ["No table: sex and age are not known (n/a)."]
    name = table.file.name
    notes = [f"In {name} the column {column} {why}" for column, why in table.unread.items()]
    absent = [subject for subject, person in people.items() if person is None]
    if absent:
        notes.append(f"Not in {name}, so sex and age are not known (n/a): {_some(absent)}.")
    failed = [table.find((failure.subject,)) for failure in inputs.failures]
    rest = table.without([person for person in (*people.values(), *failed) if person])
    if rest:
        notes.append(f"In {name} without a scan: {_some(rest)}.")
    return notes


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
