"""What an edit leaves on disk.

STEM_TAG.nii.gz, .json, .png    for each result
STEM_edit.html                  all of them beside the scan
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainldm.conditions import Conditions
from brainldm.dataset.sidecar import MNI152, Provenance
from brainldm.edit.inverted import Inverted
from brainldm.edit.picture import comparison
from brainldm.files import write_together
from brainldm.image.nifti import nifti_bytes
from brainldm.image.page import render, words
from brainldm.image.reading import image_stem
from brainldm.image.slices import encode
from brainldm.image.volume import Volume, output_paths


@dataclass
class Edited:
    """The results of a scan in a folder.

    Args:
        folder: of the results.
        scan: the file that was edited.
        tags: what the name of each result ends in.
    """

    folder: Path
    scan: Path
    tags: Sequence[str]
    _figures: list[tuple[str, bytes, str]] = field(default_factory=list)

    @property
    def images(self) -> list[Path]:
        """The NIfTI of each result."""
        stem = image_stem(self.scan)
        return [self.folder / f"{stem}_{tag}.nii.gz" for tag in self.tags]

    @property
    def page(self) -> Path:
        """All results beside the scan."""
        return self.folder / f"{image_stem(self.scan)}_edit.html"

    def files(self) -> Iterator[Path]:
        """All that will be written."""
        for image in self.images:
            yield from output_paths(image)
        yield self.page

    def write(self, place: int, before: Volume, after: Volume) -> None:
        """Write a result, the NIfTI last.

        Args:
            place: of the result among them.
            before: the scan, on the result's grid.
            after: the result.

        Raises:
            StorageError: it cannot be written.
        """
        nifti, sidecar, png = output_paths(self.images[place])
        picture = comparison(before, after)
        space = "mni" if Provenance.of(after.metadata).space == MNI152 else "scanner"
        content = nifti_bytes(after.array, after.affine, space=space)
        write_together({sidecar: after.to_sidecar(), png: encode(picture), nifti: content})
        self._figures.append((nifti.name, encode(picture, "jpeg"), caption(after)))

    def finish(self, said: dict[str, str], doubts: Sequence[str]) -> None:
        """Write the page.

        Args:
            said: what it begins with, by name.
            doubts: why the results are not to be trusted.
        """
        title = f"{self.scan.name}, edited"
        content = render(
            "edit/edit.html", title=title, facts=said, doubts=doubts, figures=self._figures
        )
        write_together({self.page: content})


def tag(conditions: Conditions, names: Sequence[str]) -> str:
    """What the name of a result says of its conditions, as age-75_ventricular-volume-40."""
    parts = []
    for name in names:
        value = conditions.given[name]
        text = value if isinstance(value, str) else f"{value:.6g}"
        parts.append(f"{words(name).replace(' ', '-')}-{text}")
    return "_".join(parts)


def caption(after: Volume) -> str:
    """A line on a result: its conditions, and what of the scan stayed."""
    said = Provenance.of(after.metadata)
    parts = []
    for name, condition in said.conditions.items():
        parts.append(f"{words(name)} {_with_unit(condition.value, condition.unit)}")
    for name, value in said.measured.items():
        parts.append(f"{words(name)} measured {_with_unit(value, 'mL')}")
    if said.edit and said.edit.kept is not None:
        parts.append(f"{said.edit.kept:.2%} of the voxels are the scan's")
    if said.edit and said.edit.farthest_mm:
        parts.append(f"moved by {said.edit.farthest_mm:.1f} mm at most")
    return ", ".join(parts)


def facts(inverted: Inverted) -> dict[str, str]:
    """What the page says of the scan, by name."""
    known = inverted.known
    described = inverted.model.ranges.describe(known.conditions)
    said = {
        name: f"{_with_unit(each['value'], each['unit'])} ({known.origins[name]})"
        for name, each in described.items()
    }
    return {
        "scan": f"{inverted.original.source.name}, {inverted.original.volume.grid}",
        **said,
        "model": inverted.model.config.name,
        "autoencoder alone": f"{inverted.floor_psnr:.2f} dB",
        "noise that gives it back": f"root mean square {inverted.noise_rms:.2f}, where the model "
        "knows such heads 1",
    }


def _with_unit(value: str | float, unit: str) -> str:
    return value if isinstance(value, str) else f"{value:.4g} {unit}".rstrip()
