"""One scan, from its file to its place in the data set; runs in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from brainldm.dataset.sidecar import (
    Provenance,
    Registration,
    Source,
    prepared_sidecar,
    read_provenance,
)
from brainldm.errors import BrainLDMError
from brainldm.files import sha256, to_json, write_together
from brainldm.image.fit import fit_to_grid
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.prepare.dataset import MEASURABLE, Paths, Settings
from brainldm.prepare.inputs import Scan
from brainldm.prepare.quality import BINS, figure
from brainldm.prepare.reading import read_scan
from brainldm.register.reference import Reference


@dataclass(frozen=True)
class Task:
    """What to do with a scan.

    Args:
        scan: the input.
        out: the data set.
        reference: the folder with the reference's maps.
        settings: of the data set.
        measure: the covariates to measure.
    """

    scan: Scan
    out: Path
    reference: Path
    settings: Settings
    measure: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """The outcome of it.

    Args:
        subject: the label.
        reason: why it failed; empty if it did not.
        provenance: of a prepared image, what its sidecar says.
    """

    subject: str
    reason: str = ""
    provenance: Provenance | None = None


def prepared_before(task: Task) -> Outcome | None:
    """The outcome of the same file with the same settings, if it is there still."""
    paths = Paths.of(task.out, task.scan.subject)
    try:
        done = read_provenance(paths.sidecar)
    except BrainLDMError:
        return None  # as good as none: it is written again
    if (
        not paths.image.is_file()
        or done.settings != task.settings.to_json()
        or not set(task.measure) <= set(done.measured)
        or not task.scan.path.is_file()
        or done.source != _source(task.scan)
    ):
        return None
    return Outcome(task.scan.subject, provenance=done)


def prepare_scan(task: Task) -> Outcome:
    """Prepare a scan; any failure is told, not raised."""
    subject = task.scan.subject
    # ANTs leaves files behind; they go with this folder.
    with tempfile.TemporaryDirectory() as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            return Outcome(subject, provenance=_prepare(task, Paths.of(task.out, subject)))
        except BrainLDMError as error:
            return Outcome(subject, str(error))
        except Exception as error:  # one bad scan never stops the rest
            return Outcome(
                subject,
                f"{task.scan.path}: {type(error).__name__}: {error}. Expected a T1-weighted head; "
                "check the file in a viewer.",
            )
        finally:
            tempfile.tempdir = before


def _source(scan: Scan) -> Source:
    return Source(name=scan.path.name, sha256=sha256(scan.path))


def _prepare(task: Task, paths: Paths) -> Provenance:
    from brainldm.register.images import correct_bias, moved
    from brainldm.register.rigid import check_place, register

    settings, reference = task.settings, _reference(task.reference)
    source = _source(task.scan)
    scan = read_scan(task.scan)
    motion = np.eye(4)
    try:
        if settings.registered:
            alike = check_place(scan, reference)
        else:
            motion, alike = register(scan, reference)
        measured = {}
        if task.measure:
            from brainldm.segment.ants import Ants

            measured = asdict(Ants(task.reference).measure(moved(scan, motion)))
        corrected = correct_bias(scan) if settings.bias_field else scan
        affine = np.array(settings.affine)
        image = fit_to_grid(moved(corrected, motion), Grid.of(settings.shape, affine))
    except BrainLDMError as error:
        raise BrainLDMError(f"{task.scan.path}: {error}") from error
    histogram, _ = np.histogram(image.array, BINS, (0, 1))
    provenance = Provenance(
        source=source,
        settings=settings.to_json(),
        registration=Registration(matrix=motion.tolist(), similarity=round(alike, 4)),
        intensity=dict(image.metadata or {}),
        measured={k: v for k, v in measured.items() if k in (*task.measure, "head_scaling")},
        histogram=histogram.tolist(),
    )
    brain = Volume(reference.brain, reference.grid.matrix).resample(Grid.of(settings.shape, affine))
    write_together(
        {
            paths.figure: figure(image, brain.array > 0.5),
            paths.image: Volume(image.array, affine).to_nifti(),
            # The sidecar last: it says that the rest is there.
            paths.sidecar: to_json(prepared_sidecar(provenance)),
        }
    )
    return provenance


@cache
def _reference(folder: Path) -> Reference:
    return Reference.load(folder)


def missing_covariates(given: Mapping[str, str | float]) -> tuple[str, ...]:
    """Those that are to be measured."""
    return tuple(name for name in MEASURABLE if name not in given)
