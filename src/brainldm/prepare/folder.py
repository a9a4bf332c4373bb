"""The prepared data set on disk: a BIDS derivative.

dataset_description.json   .bidsignore   participants.tsv   participants.json
prepare.json   quality.html
sub-ID/anat/sub-ID_space-MNI152NLin2009aSym_T1w.nii.gz, .json
sub-ID/figures/sub-ID_desc-quality_T1w.jpg
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainldm._version import __version__
from brainldm.dataset.bids import SPACE, t1w
from brainldm.dataset.derivative import open_derivative
from brainldm.dataset.sidecar import Provenance, Source, prepared_sidecar, read_provenance
from brainldm.errors import BrainLDMError
from brainldm.files import to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.reading import files_of, image_sha256
from brainldm.image.volume import Volume
from brainldm.prepare.outcome import Prepared
from brainldm.prepare.quality import quality_page
from brainldm.prepare.sharp import sources
from brainldm.prepare.subjects import Subject, Subjects
from brainldm.prepare.tables import (
    count_measured,
    describe_columns,
    known_values,
    participants_table,
    summarise_covariates,
)
from brainldm.segment.network import Network

NOT_BIDS = ("prepare.json", "quality.html", "sub-*/figures")
"""What a validator of BIDS passes over."""


@dataclass(frozen=True)
class Settings:
    """What the images are brought to, and how.

    Args:
        model: whose grid it is.
        grid: in MNI152 space.
        registered: the images were registered before and were only resampled.
        bias_field: N4 was applied.
        scaled: intensities were taken as they were, in [0, 1].
        incomplete: skull-stripped and cropped heads were taken too.
        network: measures what the table lacks, in place of ANTs.
        unires: each head was made of all scans of its person.
    """

    model: str
    grid: Grid
    registered: bool
    bias_field: bool
    scaled: bool = False
    incomplete: bool = False
    network: Network | None = None
    unires: bool = False

    def to_json(self) -> dict[str, Any]:
        """What all images have in common, lists for tuples."""
        segmenter = {"segmenter": self.network.identity} if self.network else {}
        return {
            "model": self.model,
            "shape": list(self.grid.shape),
            "affine": self.grid.matrix.tolist(),
            "registered": self.registered,
            "scaled": self.scaled,
            "bias_field": self.bias_field,
            "unires": self.unires,
            "space": SPACE,
            "brainldm_version": __version__,
            **segmenter,
        }


@dataclass(frozen=True)
class Folder:
    """A data set that is being prepared.

    Args:
        path: of the folder.
        settings: of all its images.
    """

    path: Path
    settings: Settings

    def open(self) -> AbstractContextManager[None]:
        """Make the folder, or go on with the one that is there; errors as `open_derivative`."""
        return open_derivative(
            self.path,
            "T1-weighted heads prepared for brainldm",
            "brainldm prepare",
            self.settings.to_json(),
            NOT_BIDS,
        )

    def kept(self, subjects: Sequence[Subject], jobs: int) -> list[Provenance | None]:
        """Of each scan that was prepared before, from the same file, its image's provenance."""
        with ThreadPoolExecutor(jobs) as threads:  # which wait for hashes of files
            return list(threads.map(self._kept, subjects))

    def _kept(self, subject: Subject) -> Provenance | None:
        image, sidecar = t1w(self.path, subject.label)
        file = subject.scan.path
        try:
            done = read_provenance(sidecar)
        except BrainLDMError:
            return None  # as good as none: it is written again
        if (
            not image.is_file()
            or done.settings != self.settings.to_json()
            or (done.incomplete and not self.settings.incomplete)
            or not (done.skull_stripped or set(subject.missing) <= set(done.measured))
            or not all(each.is_file() for each in files_of(file))
            or done.source != Source(name=file.name, sha256=image_sha256(file))
            or done.companions != (sources(file) if self.settings.unires else ())
        ):
            return None
        return done

    def add(self, label: str, image: Volume, provenance: Provenance, figure: bytes) -> None:
        """Write a subject's files, all or none.

        Args:
            label: without sub-.
            image: on the data set's grid.
            provenance: of the image.
            figure: for the quality page.

        Raises:
            StorageError: they cannot be written.
        """
        nifti, sidecar = t1w(self.path, label)
        write_together(
            {
                self._figure(label): figure,
                nifti: image.to_nifti(),
                # The sidecar last: it says that the rest is there.
                sidecar: to_json(prepared_sidecar(provenance)),
            }
        )

    def finish(
        self,
        found: Subjects,
        prepared: Sequence[Prepared],
        failures: Mapping[str, str],
        notes: Sequence[str],
    ) -> None:
        """Write the tables, prepare.json and the quality page.

        Args:
            found: what was to be prepared.
            prepared: the subjects whose image is there.
            failures: subject to reason.
            notes: what a person should look at.

        Raises:
            StorageError: they cannot be written.
        """
        values, measured = known_values(prepared), count_measured(prepared)
        settings = self.settings.to_json()
        report = {
            "brainldm_version": __version__,
            "space": SPACE,
            "grid": {"shape": settings["shape"], "affine": settings["affine"]},
            "settings": settings,
            "subjects": len(prepared),
            "covariates": summarise_covariates(values, measured),
            "failures": dict(failures),
        }
        described = describe_columns(values, measured, found.people.descriptions)
        table = participants_table(prepared, found.people.columns)
        figures = {each.subject.label: self._figure(each.subject.label) for each in prepared}
        images = {
            each.subject.label: t1w(self.path, each.subject.label)[0].relative_to(self.path)
            for each in prepared
        }
        page = quality_page(prepared, values, figures, images, failures, notes)
        write_together(
            {
                self.path / "participants.tsv": table,
                self.path / "participants.json": to_json(described),
                self.path / "prepare.json": to_json(report),
                self.path / "quality.html": page,
            }
        )

    def _figure(self, label: str) -> Path:
        return self.path / f"sub-{label}" / "figures" / f"sub-{label}_desc-quality_T1w.jpg"
