"""A scan from its file to its place in MNI152 space."""

from __future__ import annotations

from pathlib import Path

from brainldm.dataset.bids import SPACE
from brainldm.dataset.sidecar import MNI152, Provenance, Source, read_provenance
from brainldm.edit.original import Original
from brainldm.errors import DataError
from brainldm.image.plausible import load_scan
from brainldm.image.reading import image_sha256, image_stem
from brainldm.register.place import Place


def sidecar_of(scan: Path) -> Provenance:
    """What brainldm wrote beside a scan; empty where it did not; errors as `read_provenance`."""
    return read_provenance(scan.with_name(f"{image_stem(scan)}.json"))


def read_original(file: Path, *, registered: bool = False, scaled: bool = False) -> Original:
    """Read a scan, and find out where it lies.

    What brainldm prepared or generated lies in MNI152 space, and its sidecar says whether it is
    whole. Any other is looked at, and registered.

    Args:
        file: NIfTI or MGH.
        registered: it lies in MNI152 space.
        scaled: its intensities are in [0, 1], whoever wrote them.

    Raises:
        StorageError: it cannot be read.
        DataError: it is no scan of a whole head, or cannot be registered.
        MissingExtraError: what registers, or holds the template, is not installed.
    """
    volume = load_scan(file, scaled)
    source = Source(name=file.name, sha256=image_sha256(file))
    said = sidecar_of(file)
    if said.space == MNI152 or said.settings.get("space") == SPACE:
        if said.skull_stripped:
            raise DataError(_stripped(file))
        return Original(volume, source)
    try:
        place = Place.of(volume, registered)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    if place.whole.stripped:
        raise DataError(_stripped(file))
    return Original(volume, source, place.motion, round(place.similarity, 4), place.whole.remarks)


def _stripped(file: Path) -> str:
    return (
        f"{file} is skull-stripped: expected a whole head, which the model knows alone. Give the "
        "scan as it was before."
    )
