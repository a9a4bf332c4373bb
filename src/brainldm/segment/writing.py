"""What a segmentation leaves on disk: labels, their names, what they come to, and a picture.

STEM_dseg.nii.gz   STEM_dseg.tsv   STEM_dseg.json   STEM_dseg.png
volumes.tsv        a row for every image of the folder
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from brainldm._version import __version__
from brainldm.dataset.sidecar import OURS
from brainldm.dataset.tsv import write_table
from brainldm.files import read_json, to_json, write_together
from brainldm.image.nifti import nifti_bytes
from brainldm.image.reading import image_stem
from brainldm.image.slices import draw_slices, encode
from brainldm.image.volume import Volume
from brainldm.segment.labelled import Labelled
from brainldm.segment.network import Network
from brainldm.segment.structures import column, table

SUFFIX = "_T1w"
"""That gives way to _dseg."""
TABLE = "volumes.tsv"
TOTALS = ("ventricular_volume_ml", "brain_volume_ml", "intracranial_volume_ml")
WINDOW = (1.0, 99.5)
"""Percentiles of an image that are black and white in its picture."""
OPACITY = 0.45
"""Of the labels over the image."""


def dseg_files(folder: Path, image: Path) -> tuple[Path, Path, Path, Path]:
    """The labels of an image, their names, the sidecar and the picture."""
    stem = image_stem(image).removesuffix(SUFFIX)
    nifti, tsv, json, png = (
        folder / f"{stem}_dseg.{end}" for end in ("nii.gz", "tsv", "json", "png")
    )
    return nifti, tsv, json, png


@dataclass(frozen=True)
class Labeller:
    """Labels images, and writes what it finds into a folder.

    Args:
        network: that labels.
        folder: where to.
        space: that the images lie in, as NIfTI names it: mni, or scanner for anywhere.
    """

    network: Network
    folder: Path
    space: str = "mni"

    def write(self, volume: Volume, image: Path) -> str:
        """Write an image's labels and what is known of them, the sidecar last.

        Args:
            volume: the image.
            image: its file.

        Returns:
            A line on what was found.

        Raises:
            DataError: it is no image of a head.
            StorageError: they cannot be written; nothing is kept of them.
        """
        found = self.network.label(volume)
        nifti, tsv, json, png = dseg_files(self.folder, image)
        write_together(
            {
                nifti: nifti_bytes(found.image.array, volume.affine, space=self.space),
                tsv: names_table(),
                png: encode(picture(volume, found)),
                json: to_json(sidecar(found, image.name, self.network.identity)),
            }
        )
        if not found.quality.trusted:
            return f"{image.name}: no volumes are given: {'; '.join(found.quality.faults)}"
        ventricles, brain = found.measures.volumes
        return (
            f"{image.name}: quality {found.quality.score:.2f}, lateral ventricles "
            f"{ventricles:.1f} mL, brain normalised for head size {brain:.0f} mL"
        )


def names_table() -> bytes:
    """The names of the labels, as BIDS has them."""
    rows = ((str(number), *words) for number, *words in table())
    return write_table(("index", "name", "abbreviation", "color"), rows)


def sidecar(found: Labelled, source: str, by: str) -> dict[str, Any]:
    """What the JSON file beside the labels says; volumes only of what is to be trusted."""
    names = {number: name for number, name, _, _ in table()}
    volumes: dict[str, float] = {}
    if found.quality.trusted:
        measures = found.measures
        totals = (*measures.volumes, found.total("brain", "ventricle", "fluid"))
        volumes = dict(zip(TOTALS, totals, strict=True))
        volumes |= {column(names[n]): v for n, v in found.volumes.items()}
    return {
        "Description": "Structures of a head; those of dseg.tsv",
        "Sources": [source],
        OURS: {
            "version": __version__,
            "segmenter": by,
            "quality": round(found.quality.score, 4),
            "faults": list(found.quality.faults),
            "volumes_ml": {name: round(volume, 3) for name, volume in volumes.items()},
        },
    }


def write_volumes(folder: Path) -> Path:
    """Write the table of all images of a folder, from what lies beside their labels.

    Raises:
        StorageError: a file cannot be read or written.
        DataError: a sidecar is damaged.
    """
    names = {number: name for number, name, _, _ in table() if number}
    columns = (*TOTALS, *map(column, names.values()))
    rows = []
    for file in sorted(folder.glob("*_dseg.json")):
        said = read_json(file, "what `brainldm segment` wrote; segment the image again")
        own = said.get(OURS)
        if not isinstance(own, dict) or "quality" not in own:
            continue
        volumes = own.get("volumes_ml") or {}
        sources = said.get("Sources") or [""]
        note = "; ".join(map(str, own.get("faults") or ()))
        cells = (volumes.get(name) for name in columns)
        rows.append((str(sources[0]), own["quality"], note, *cells))
    path = folder / TABLE
    write_together({path: write_table(("image", "quality", "faults", *columns), rows)})
    return path


def picture(volume: Volume, found: Labelled) -> Image.Image:
    """Three slices through the middle of the brain, with the labels in their colours."""
    low, high = np.percentile(volume.array, WINDOW)
    grey = np.clip((volume.array - low) / max(high - low, 1e-12), 0, 1)
    inside = found.image.array > 0
    middle = ndimage.center_of_mass(inside) if inside.any() else (np.array(grey.shape) - 1) / 2
    x, y, z = (volume.affine[:3] @ [*middle, 1]).tolist()
    colours = np.zeros((int(found.image.array.max()) + 1, 3), np.float32)
    for number, _, _, colour in table():
        if number < len(colours):
            colours[number] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    shown = np.where(inside, np.float32(1 - OPACITY), np.float32(1)) * grey
    channels = [
        draw_slices(
            shown + OPACITY * inside * colours[found.image.array, i], volume.affine, (x, y, z)
        )
        for i in range(3)
    ]
    return Image.merge("RGB", channels)
