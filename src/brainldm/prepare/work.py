"""Preparing many scans: in parallel, resumable, and no bad one stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brainldm.errors import require
from brainldm.prepare.folder import Folder, Settings
from brainldm.prepare.outcome import Outcome, Results
from brainldm.prepare.scan import Task, prepare_scan
from brainldm.prepare.subjects import Subject
from brainldm.register.kept import load_reference
from brainldm.workers import one_by_one


def prepare_all(
    subjects: Sequence[Subject],
    folder: Folder,
    jobs: int,
    progress: Callable[[int, int], None],
) -> Results:
    """Prepare the scans that the folder does not have yet.

    Args:
        subjects: of the data set.
        folder: the data set, which is open.
        jobs: processes.
        progress: called with the number of scans that are done, and of all.

    Raises:
        StorageError: what is there cannot be read.
    """
    done = {
        subject.label: Outcome(subject, provenance)
        for subject, provenance in zip(subjects, folder.kept(subjects, jobs), strict=True)
        if provenance
    }
    progress(len(done), len(subjects))
    tasks = [Task(each, folder) for each in subjects if each.label not in done]
    if tasks:
        load_reference()  # drawn before several processes need it
    for task, outcome in one_by_one(prepare_scan, tasks, jobs):
        done[task.subject.label] = outcome or Outcome(
            task.subject,
            reason=f"{task.subject.scan.path}: its process was killed, as the system does when "
            "memory runs out. Prepare fewer at a time (--jobs).",
        )
        progress(len(done), len(subjects))
    return Results.of(done[subject.label] for subject in subjects)


def check_extras(subjects: Sequence[Subject], settings: Settings) -> None:
    """Raise a MissingExtraError unless all that preparing scans needs is installed."""
    measured = settings.network is None and any(each.missing for each in subjects)
    ants = not settings.registered or settings.bias_field or measured
    require("prepare", "Preparing scans", *(("ants", "nilearn") if ants else ("nilearn",)))
