"""One scan, from its file to its place in the data set; runs in a process of its own."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import asdict, dataclass

import numpy as np

from brainldm.dataset.sidecar import Provenance, Registration, Source
from brainldm.errors import BrainLDMError, DataError
from brainldm.image.fit import fit_to_grid
from brainldm.image.reading import image_sha256
from brainldm.image.volume import Volume
from brainldm.prepare.folder import Folder, Settings
from brainldm.prepare.outcome import Outcome
from brainldm.prepare.quality import BINS, figure
from brainldm.prepare.reading import read_scan
from brainldm.prepare.sharp import sharpen, sources
from brainldm.prepare.subjects import Subject
from brainldm.register.images import correct_bias, moved
from brainldm.register.kept import load_reference
from brainldm.register.place import Place
from brainldm.register.rigid import outline
from brainldm.register.whole import Wholeness
from brainldm.segment.ants import Ants


@dataclass(frozen=True)
class Task:
    """What to do with a scan.

    Args:
        subject: whose it is.
        folder: the data set.
    """

    subject: Subject
    folder: Folder


def prepare_scan(task: Task) -> Outcome:
    """Prepare a scan; any failure is told, not raised."""
    scan = task.subject.scan
    # ANTs leaves files behind; they go with this folder.
    with tempfile.TemporaryDirectory() as place:
        before, tempfile.tempdir = tempfile.tempdir, place
        try:
            return Outcome(task.subject, _prepare(task))
        except BrainLDMError as error:
            return Outcome(task.subject, reason=str(error))
        except Exception as error:  # one bad scan never stops the rest
            return Outcome(
                task.subject,
                reason=f"{scan.path}: {type(error).__name__}: {error}. Expected a T1-weighted "
                "head; check the file in a viewer.",
            )
        finally:
            tempfile.tempdir = before


def _prepare(task: Task) -> Provenance:
    subject, settings = task.subject, task.folder.settings
    source = Source(name=subject.scan.path.name, sha256=image_sha256(subject.scan.path))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        scan = read_scan(subject.scan, settings.scaled)
    try:
        place = Place.of(scan, settings.registered)
        whole = place.whole
        _refuse(whole, settings)
        if settings.unires:
            placed = sharpen(subject.scan.path, place.motion, settings.grid)
        else:
            placed = moved(scan, place.motion)
        measured: dict[str, float] = {}
        doubts: tuple[str, ...] = ()
        if subject.missing and not whole.stripped:  # the head's size shows where the skull is
            measured, doubts = _measured(task, placed)
        image = fit_to_grid(correct_bias(placed) if settings.bias_field else placed, settings.grid)
    except BrainLDMError as error:
        raise DataError(f"{subject.scan.path}: {error}") from error
    histogram, _ = np.histogram(image.array, BINS, (0, 1))
    provenance = Provenance(
        source=source,
        companions=sources(subject.scan.path) if settings.unires else (),
        settings=settings.to_json(),
        registration=Registration(
            matrix=place.motion.tolist(), similarity=round(place.similarity, 4)
        ),
        intensity=dict(image.metadata or {}),
        measured={k: v for k, v in measured.items() if k in (*subject.missing, "head_scaling")},
        histogram=histogram.tolist(),
        skull_stripped=whole.stripped,
        incomplete=bool(whole.faults),
        notes=(*(str(each.message) for each in said), *_remarks(whole, subject), *doubts),
    )
    brain = outline(image, load_reference()).resample(settings.grid)
    task.folder.add(subject.label, image, provenance, figure(image, brain.array > 0.5))
    return provenance


def _measured(task: Task, scan: Volume) -> tuple[dict[str, float], tuple[str, ...]]:
    """What is measured on a scan in place, and why nothing is."""
    network = task.folder.settings.network
    if network is None:
        return asdict(Ants().measure(scan)), ()
    try:
        return asdict(network.measure(scan)), ()
    except DataError as error:
        return {}, (f"not measured: {error}",)


def _refuse(whole: Wholeness, settings: Settings) -> None:
    if whole.faults and not settings.incomplete:
        raise DataError(
            f"{' and '.join(whole.faults).capitalize()}: expected a whole head, which models of "
            "whole heads learn from. Give the scan as it was before, or take it as it is: "
            "--incomplete."
        )


def _remarks(whole: Wholeness, subject: Subject) -> tuple[str, ...]:
    unmeasured = whole.stripped and subject.missing
    return whole.remarks + (
        (f"without a skull, not measured: {', '.join(subject.missing)}",) if unmeasured else ()
    )
